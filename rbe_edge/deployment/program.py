"""The program and the wheel for a device: which target it is, and what `rbe build` makes for that, kept for the next
device by the hash of the sources. The one file here that knows the builder."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rbe_edge._version import __version__
from rbe_edge.building import sources
from rbe_edge.building.build import BuildOptions, build
from rbe_edge.building.compile import compile_sources
from rbe_edge.building.compilers import INSTALL, plan
from rbe_edge.building.targets import REFUSED, TARGETS, Target
from rbe_edge.deployment.device import Device
from rbe_edge.errors import BuildError, DeployError
from rbe_edge.files.new_file import NewFile
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.progress import Listener, Progress
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
        if self._program is not None:
            self._check_given(self._program)
            return self._program
        kept = cache_directory() / f"{self.target_name}-{_sources_key()}"
        if kept.is_file():
            self._told(f"program for {self.target_name}: built before, from the same sources")
            return kept
        began = time.monotonic()
        try:
            self._compile(kept)
        except (BuildError, OSError) as error:
            raise DeployError(f"the program for {self.target_name} cannot be built: {error}") from None
        self._told(f"program for {self.target_name}: built in {time.monotonic() - began:.0f} s")
        return kept

    def _compile(self, kept: Path) -> None:
        """Puts the program alone into the cache: libraries and wheels, which `rbe build` makes too, take twice as
        long."""
        platform = self._target.platform
        step = next(step for step in plan(platform) if step.program)
        progress = Progress(self._listener, f"compiling for {self.target_name} by {step.kind}")
        progress.tell(None, 0, 1)
        with scratch_directory("deploy") as scratch:
            tree = compile_sources(step, platform, sources.directory(), scratch / "tree", progress)
            kept.parent.mkdir(parents=True, exist_ok=True)
            for old in kept.parent.glob(f"{self.target_name}-*"):  # of other sources
                old.unlink()
            with NewFile(kept, DeployError, replace=True) as file:
                file.write(tree.program.read_bytes())
                file.commit()

    def wheel(self, scratch: Path, *, musl: bool) -> Path:
        """Makes the Python wheel for the device's C library, in a new folder below `scratch`. Raises DeployError."""
        (made,) = build([self._target], BuildOptions(output=scratch / "build"), self._listener)
        if made.error:
            raise DeployError(f"the Python package for {self.target_name} cannot be built: {made.error}")
        wanted = "musllinux" if musl else "manylinux"
        for path in sorted((scratch / "build" / self.target_name).glob("*.whl")):
            if wanted in path.name:
                return path
        raise DeployError(f"`rbe build --target {self.target_name}` makes no {wanted} wheel here; {INSTALL}")

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
