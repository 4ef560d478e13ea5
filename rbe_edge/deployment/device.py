"""What a device is and what room it has, asked by one script for its shell."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from rbe_edge.deployment.channel import Link
from rbe_edge.errors import DeployError
from rbe_edge.terminal_text import one_line, size

_NEW_FEATURES = ("neon", "asimd", "asimddp", "i8mm", "sve", "avx2", "avx512f", "avx512_vnni")  # shown to people
_LONGEST = 4096  # characters of a value


@dataclass(frozen=True)
class Device:
    """machine, system: of uname. bits: of its userland, which may be fewer than the kernel's. android: level of the
    interface, 0 where it is no Android. model: of the board, or "". Sizes in bytes, None where it does not say.
    there: what of the directory's path exists. refused: why nothing can be written there, or "". runs: whether programs
    may run there. hash: the command that computes SHA-256, or "". python: version, or ""."""

    name: str
    directory: str
    system: str
    machine: str
    bits: int
    android: int
    cores: int
    features: tuple[str, ...]
    model: str
    memory_bytes: int | None
    available_bytes: int | None
    free_bytes: int | None
    there: str
    refused: str
    runs: bool
    hash: str
    python: str
    has_systemd: bool
    is_root: bool

    @property
    def python_version(self) -> tuple[int, ...]:
        """Empty where there is no Python."""
        parts = self.python.split(".")
        return tuple(map(int, parts)) if all(part.isdigit() for part in parts) else ()

    def path(self, name: str) -> str:
        """Of a file in the directory."""
        return f"{self.directory.rstrip('/')}/{name}"

    def line(self) -> str:
        """One line for people."""
        known = [name for name in _NEW_FEATURES if name in self.features]
        memory = "memory unknown" if self.available_bytes is None else f"{size(self.available_bytes)} of memory free"
        disk = "disk unknown" if self.free_bytes is None else f"{size(self.free_bytes)} of disk free in {self.there}"
        what = [self.model, f"{self.machine} ({self.bits} bit)", f"{self.cores} cores", " ".join(known), memory, disk]
        return one_line(", ".join(part for part in what if part), 400)


def probe(link: Link, directory: str) -> Device:
    """Asks the device. Raises DeployError where its shell does not answer as one."""
    script = files("rbe_edge.deployment").joinpath("probe.sh").read_text(encoding="ascii")
    answer = link.run(script, [directory])
    facts: dict[str, str] = {}
    for line in answer.out.splitlines():
        key, equals, value = line.removeprefix("rbe:").partition("=")
        if line.startswith("rbe:") and equals:
            facts[key] = value.strip()[:_LONGEST]
    if not facts.get("machine") or not facts.get("directory", "").startswith("/"):
        said = one_line(answer.err or answer.out, 200) or "nothing"
        raise DeployError(f"{link.name}: its login shell ends at once, or is no POSIX sh; it says: {said}")
    return _device(link.name, facts)


def _device(name: str, facts: dict[str, str]) -> Device:
    def number(key: str) -> int | None:
        value = facts.get(key, "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None

    def kibibytes(key: str) -> int | None:
        value = number(key)
        return None if value is None else value << 10

    return Device(
        name=name,
        directory=facts["directory"],
        system=facts.get("system", ""),
        machine=facts["machine"],
        bits=number("bits") or 0,
        android=number("android") or 0,
        cores=number("cores") or 1,
        features=tuple(facts.get("features", "").split()),
        model=facts.get("model", ""),
        memory_bytes=kibibytes("memory_kib"),
        available_bytes=kibibytes("available_kib"),
        free_bytes=kibibytes("free_kib"),
        there=facts.get("there", ""),
        refused=facts.get("refused", ""),
        runs=facts.get("runs") != "no",
        hash=facts.get("hash", ""),
        python=facts.get("python", ""),
        has_systemd=facts.get("systemd") == "yes",
        is_root=facts.get("root") == "0",
    )
