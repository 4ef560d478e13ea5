"""The program and the wheel for a device: which target it is, and what `rbe build` makes for that, kept for the next
device by the hash of the sources. The one file here that knows the builder."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from rbe_edge._version import __version__
from rbe_edge.building import sources
from rbe_edge.building.build import BuildOptions, build
from rbe_edge.building.targets import REFUSED, TARGETS, Target
from rbe_edge.deployment.device import Device
from rbe_edge.errors import DeployError
from rbe_edge.progress import Listener
from rbe_edge.terminal_text import printable

# What `uname -m` says otherwise than the table. A 32-bit ARM system on a 64-bit core calls itself armv8l.
_MACHINES = {"arm64": "aarch64", "amd64": "x86_64", "armv8l": "armv7l"}


def target_for(device: Device) -> Target:
    """The target whose program runs there. Raises DeployError where there is none."""
    machine = _MACHINES.get(device.machine, device.machine)
    system = "Android" if device.android else device.system
    found = [target for target in TARGETS if (target.platform.machine, target.platform.system) == (machine, system)]
    if not found or system not in ("Linux", "Android"):
        raise DeployError(_no_target(device))
    if machine == "armv7l" and "neon" not in device.features:
        raise DeployError(f"{device.name}: its processor has no NEON, which the program for 32-bit ARM needs")
    # Targets of one platform get the same files; the one that names the platform says so plainest.
    return next((target for target in found if target.name.startswith(("linux-", "android-"))), found[0])


def _no_target(device: Device) -> str:
    is_armv6 = device.machine.startswith(("armv6", "armv5"))
    reason = f" ({REFUSED['armv6']})" if is_armv6 else ""
    known = ", ".join(dict.fromkeys(t.platform.machine for t in TARGETS if t.platform.system == "Linux"))
    if device.system not in ("Linux", "Android"):
        return (
            f"{device.name}: runs {printable(device.system)}, and `rbe deploy` knows Linux and Android; see `rbe build`"
        )
    return f"{device.name}: no target is for its processor, {printable(device.machine)}; there are {known}{reason}"


class Maker:
    """Makes what the device lacks. For one thread."""

    def __init__(
        self, target: Target, program: Path | None, listener: Listener | None, told: Callable[[str], object]
    ) -> None:
        """program: the one to take, None: it is built, or was."""
        self.target_name = target.name
        self._target = target
        self._program = program
        self._listener = listener
        self._told = told

    def program(self) -> Path:
        """The static program. Raises DeployError where it cannot be built, or the given one is of another processor."""
        if self._program is None:
            return self._built() / "bin" / self._target.program_name
        self._check_given(self._program)
        return self._program

    def wheel(self, *, musl: bool) -> Path:
        """The Python wheel for its C library. Raises DeployError."""
        wanted = "musllinux" if musl else "manylinux"
        for path in sorted(self._built().glob("*.whl")):
            if wanted in path.name:
                return path
        raise DeployError(
            f"no {wanted} wheel was built for {self.target_name}; see `rbe build --target {self.target_name}`"
        )

    def _built(self) -> Path:
        """The folder of `rbe build` for the target."""
        place = cache_directory() / _sources_key()
        folder = place / self._target.name
        if (folder / "bin" / self._target.program_name).is_file():
            self._told(f"{self.target_name}: built before, from the same sources")
            return folder
        (made,) = build([self._target], BuildOptions(output=place), self._listener)
        if made.error:
            raise DeployError(f"the program for {self.target_name} cannot be built: {made.error}")
        self._told(f"{self.target_name}: built in {made.seconds:.0f} s by {', '.join(made.compilers)}")
        return folder

    def _check_given(self, program: Path) -> None:
        try:
            with open(program, "rb") as file:
                head = file.read(20)
        except OSError as reason:
            raise DeployError(f"{program}: cannot be read ({reason.strerror}); give a program of `rbe build`") from None
        wanted = _ELF[self._target.platform.machine]
        if head[:4] != b"\x7fELF" or int.from_bytes(head[18:20], "little") != wanted:
            raise DeployError(
                f"{program}: is no program for {self._target.platform.machine}, which the device is; make one with "
                f"`rbe build --target {self.target_name}`, or leave out --program"
            )


_ELF = {"aarch64": 183, "armv7l": 40, "x86_64": 62, "riscv64": 243}  # e_machine


def cache_directory() -> Path:
    """Where programs for devices are kept; it need not exist."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "rbe_edge" / "programs"
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "rbe_edge" / "programs"


def _sources_key() -> str:
    """Of all that the program is made of."""
    root = sources.directory()
    digest = hashlib.sha256(__version__.encode())
    for name in sources.files(root):
        content = (root / name).read_bytes()
        digest.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]
