"""Which compilers this machine has, and which of them makes what of a target.

zig comes from PyPI and brings the C libraries of all systems but Android's; Debian's cross gcc brings glibc; Google's
NDK brings Android's. For each platform the first found wins, in this order.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rbe_edge.building.targets import Platform
from rbe_edge.errors import BuildError, OptionError

Kind = Literal["zig", "gcc", "ndk"]
KINDS: tuple[Kind, ...] = get_args(Kind)

INSTALL = "pip install 'rbe-edge[build]'"
_NDK_LINE = "install Android's NDK (developer.android.com/ndk) and set ANDROID_NDK_HOME to its folder"


@dataclass(frozen=True)
class Step:
    """One compilation of the sources, and what of it is kept.

    compiler: the command of the C compiler, without flags of ours. archiver, indexer: the commands of `ar` and
    `ranlib`. program, library: whether they are kept. wheel: platform tag of the wheel that is made with the shared
    library, "" for none; audited: whether that is of Linux, where auditwheel finds the tag.
    """

    kind: Kind
    triple: str
    compiler: tuple[str, ...]
    archiver: tuple[str, ...]
    indexer: tuple[str, ...]
    program: bool
    library: bool
    wheel: str = ""
    audited: bool = False


@functools.cache
def zig() -> Path | None:
    """The program zig of the package ziglang."""
    found = importlib.util.find_spec("ziglang")
    for place in found.submodule_search_locations or () if found is not None else ():
        program = Path(place) / ("zig.exe" if sys.platform == "win32" else "zig")
        if program.is_file():
            return program
    return None


def gcc(platform: Platform) -> str | None:
    """Debian's gcc for that platform: its command."""
    return shutil.which(f"{platform.gcc}-gcc") if platform.gcc else None


def ndk(platform: Platform) -> Path | None:
    """The NDK's clang for that platform. BuildError where ANDROID_NDK_HOME is set and leads to none."""
    home = os.environ.get("ANDROID_NDK_HOME", "")
    if not home or not platform.ndk:
        return None
    found = sorted(Path(home).glob(f"toolchains/llvm/prebuilt/*/bin/{platform.ndk}-clang"))
    if not found:
        raise BuildError(f"ANDROID_NDK_HOME={home} holds no {platform.ndk}-clang; set it to the folder of an NDK")
    return found[0]


def found_for(platform: Platform) -> tuple[Kind, ...]:
    """The compilers of this machine that can do something for the platform, first choice first."""
    there = {"zig": zig() is not None, "gcc": gcc(platform) is not None, "ndk": _has_ndk(platform)}
    return tuple(kind for kind in KINDS if there[kind])


def plan(platform: Platform, wanted: Kind | None = None) -> tuple[Step, ...]:
    """What is compiled for the platform. wanted: only with that compiler. Raises BuildError with what to install where
    no compiler is found, OptionError where the wanted one never makes this platform."""
    if wanted is not None:
        return _steps(platform, wanted)
    if platform.system == "Android":
        steps = () if zig() is None else _zig_steps(platform)
        if ndk(platform) is not None:
            steps += _ndk_steps(platform, program=not steps)
        return steps or _none(platform)
    for kind in found_for(platform):
        return _steps(platform, kind)
    return _none(platform)


def _none(platform: Platform) -> tuple[Step, ...]:
    others = f", or apt install {platform.gcc_packages}" if platform.gcc else ""
    raise BuildError(f"no compiler for {platform.name} here; {INSTALL} brings one (zig){others}")


def _has_ndk(platform: Platform) -> bool:
    try:
        return ndk(platform) is not None
    except BuildError:
        return False


def _steps(platform: Platform, kind: Kind) -> tuple[Step, ...]:
    if kind == "zig":
        if zig() is None:
            raise BuildError(f"zig is not installed here; {INSTALL}")
        return _zig_steps(platform)
    if kind == "gcc":
        if not platform.gcc:
            raise OptionError(f"no gcc makes {platform.name}; leave --compiler out, or take zig")
        if gcc(platform) is None:
            raise BuildError(f"{platform.gcc}-gcc is not installed here; apt install {platform.gcc_packages}")
        return _gcc_steps(platform)
    if not platform.ndk:
        raise OptionError(f"the NDK makes Android's targets only, not {platform.name}; leave --compiler out")
    if ndk(platform) is None:
        raise BuildError(f"no NDK is known here; {_NDK_LINE}")
    return _ndk_steps(platform, program=True)


def _zig_steps(platform: Platform) -> tuple[Step, ...]:
    """Of Linux two: a program with musl in it, which runs everywhere, and libraries for glibc, which most have."""

    def step(triple: str, *, program: bool, library: bool, wheel: str) -> Step:
        path = str(zig())
        compiler = (path, "cc", "-target", triple, f"-mcpu={platform.zig_cpu}")
        audited = bool(wheel) and platform.system == "Linux"
        return Step("zig", triple, compiler, (path, "ar"), (path, "ranlib"), program, library, wheel, audited)

    if platform.zig_program == platform.zig_library:
        return (step(platform.zig_program, program=True, library=True, wheel=platform.library_wheel),)
    steps: tuple[Step, ...] = (step(platform.zig_program, program=True, library=False, wheel=platform.musl_wheel),)
    if platform.zig_library:
        steps += (step(platform.zig_library, program=False, library=True, wheel=platform.library_wheel),)
    return steps


def _gcc_steps(platform: Platform) -> tuple[Step, ...]:
    """The wheel's tag depends on the glibc of this machine: auditwheel says it."""
    command = str(gcc(platform))
    archiver, indexer = ((command.removesuffix("gcc") + name,) for name in ("ar", "ranlib"))
    return (Step("gcc", platform.gcc, (command,), archiver, indexer, True, True, wheel="linux", audited=True),)


def _ndk_steps(platform: Platform, *, program: bool) -> tuple[Step, ...]:
    clang = ndk(platform)
    assert clang is not None
    archiver, indexer = ((str(clang.with_name(name)),) for name in ("llvm-ar", "llvm-ranlib"))
    return (Step("ndk", platform.ndk, (str(clang),), archiver, indexer, program, True, wheel=platform.ndk_wheel),)
