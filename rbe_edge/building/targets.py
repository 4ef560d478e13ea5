"""The one table of targets: what can be built, for which devices, and which cores must run it.

A platform is what the compilers are told; a target is a device, or a kind of devices, with a platform. Targets of one
platform get the same files. The baseline of a platform is the least processor that runs its files; kernels for more
are chosen at run time. No processor of the building machine ever counts.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from rbe_edge.errors import OptionError

System = Literal["Linux", "Android", "Darwin", "Windows"]


@dataclass(frozen=True)
class Platform:
    """machine: as `uname -m` says it there. baseline: the instruction set, for people.

    zig_cpu: the baseline for `zig cc -mcpu`. zig_program: triple of the program. zig_library: triple of the libraries
    and of the first wheel, with the oldest C library that runs them; "" where zig has none for the system. gcc: prefix
    of Debian's cross compiler, "" where there is none; gcc_packages: what installs it. ndk: triple and API level of the
    Android NDK's compilers, or "".

    static_program: whether the program needs no library of the system at all. encoder: whether `rbe pack` can make
    trellis planes there. library_wheel: platform tag of the wheel with zig_library's library; musl_wheel: of the one
    with zig_program's, or ""; ndk_wheel: of that with the NDK's, or "".

    emulator: runs its programs here, or "". emulator_package: Debian's package of it.
    """

    name: str
    system: System
    machine: str
    baseline: str
    zig_cpu: str
    zig_program: str
    zig_library: str
    library_wheel: str
    musl_wheel: str = ""
    gcc: str = ""
    gcc_packages: str = ""
    ndk: str = ""
    ndk_wheel: str = ""
    static_program: bool = True
    encoder: bool = True
    emulator: str = ""
    emulator_package: str = "qemu-user-static"


@dataclass(frozen=True)
class Target:
    """what: the device, for people. cores: processors that must run it, as the emulator's -cpu names them; empty where
    there is no emulator. memory_gib: of typical devices."""

    name: str
    what: str
    platform: Platform
    cores: tuple[str, ...]
    memory_gib: tuple[float, ...]

    @property
    def program_name(self) -> str:
        """File name of the program."""
        return "rbe.exe" if self.platform.system == "Windows" else "rbe"


_AARCH64 = Platform(
    name="linux-aarch64",
    system="Linux",
    machine="aarch64",
    baseline="armv8-a",
    zig_cpu="generic",
    zig_program="aarch64-linux-musl",
    zig_library="aarch64-linux-gnu.2.17",
    library_wheel="manylinux_2_17_aarch64.manylinux2014_aarch64",
    musl_wheel="musllinux_1_2_aarch64",
    gcc="aarch64-linux-gnu",
    gcc_packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    emulator="qemu-aarch64-static",
)

_ARMV7 = Platform(
    name="linux-armv7",
    system="Linux",
    machine="armv7l",
    baseline="armv7-a, NEON, hard float",
    zig_cpu="generic+v7a+neon",
    zig_program="arm-linux-musleabihf",
    zig_library="arm-linux-gnueabihf.2.17",
    library_wheel="manylinux_2_17_armv7l.manylinux2014_armv7l",
    musl_wheel="musllinux_1_2_armv7l",
    gcc="arm-linux-gnueabihf",
    gcc_packages="gcc-arm-linux-gnueabihf libc6-dev-armhf-cross",
    encoder=False,
    emulator="qemu-arm-static",
)

_X86_64 = Platform(
    name="linux-x86_64",
    system="Linux",
    machine="x86_64",
    baseline="x86-64",
    zig_cpu="x86_64",
    zig_program="x86_64-linux-musl",
    zig_library="x86_64-linux-gnu.2.17",
    library_wheel="manylinux_2_17_x86_64.manylinux2014_x86_64",
    musl_wheel="musllinux_1_2_x86_64",
    gcc="x86_64-linux-gnu",
    gcc_packages="gcc-x86-64-linux-gnu libc6-dev-amd64-cross",
    emulator="qemu-x86_64-static",
)

_RISCV64 = Platform(
    name="linux-riscv64",
    system="Linux",
    machine="riscv64",
    baseline="rv64gc",
    zig_cpu="baseline_rv64",
    zig_program="riscv64-linux-musl",
    zig_library="riscv64-linux-gnu.2.31",
    library_wheel="manylinux_2_31_riscv64",
    musl_wheel="musllinux_1_2_riscv64",
    gcc="riscv64-linux-gnu",
    gcc_packages="gcc-riscv64-linux-gnu libc6-dev-riscv64-cross",
    emulator="qemu-riscv64-static",
)

# zig has no C library of Android: it makes the program, which needs none, and the NDK the libraries.
_ANDROID_AARCH64 = Platform(
    name="android-aarch64",
    system="Android",
    machine="aarch64",
    baseline="armv8-a",
    zig_cpu="generic",
    zig_program="aarch64-linux-musl",
    zig_library="",
    library_wheel="",
    ndk="aarch64-linux-android26",
    ndk_wheel="android_26_arm64_v8a",
    emulator="qemu-aarch64-static",
)

_ANDROID_X86_64 = Platform(
    name="android-x86_64",
    system="Android",
    machine="x86_64",
    baseline="x86-64",
    zig_cpu="x86_64",
    zig_program="x86_64-linux-musl",
    zig_library="",
    library_wheel="",
    ndk="x86_64-linux-android26",
    ndk_wheel="android_26_x86_64",
    emulator="qemu-x86_64-static",
)

_MACOS_ARM64 = Platform(
    name="macos-arm64",
    system="Darwin",
    machine="arm64",
    baseline="Apple M1",
    zig_cpu="apple_m1",
    zig_program="aarch64-macos.11.0",
    zig_library="aarch64-macos.11.0",
    library_wheel="macosx_11_0_arm64",
    static_program=False,
)

_WINDOWS_X86_64 = Platform(
    name="windows-x86_64",
    system="Windows",
    machine="AMD64",
    baseline="x86-64",
    zig_cpu="x86_64",
    zig_program="x86_64-windows-gnu",
    zig_library="x86_64-windows-gnu",
    library_wheel="win_amd64",
    static_program=False,
    emulator="wine",
    emulator_package="wine64",
)

_ARM_CORES = ("cortex-a53", "cortex-a72", "cortex-a76", "max")

TARGETS = (
    Target("rpi5", "Raspberry Pi 5, 500 (64 bit)", _AARCH64, ("cortex-a76",), (2, 4, 8, 16)),
    Target("rpi4", "Raspberry Pi 4, 400 (64 bit)", _AARCH64, ("cortex-a72",), (1, 2, 4, 8)),
    Target("rpi3", "Raspberry Pi 3 (64 bit)", _AARCH64, ("cortex-a53",), (1,)),
    Target("rpi-zero2", "Raspberry Pi Zero 2 W (64 bit)", _AARCH64, ("cortex-a53",), (0.5,)),
    Target("rpi-armv7", "Raspberry Pi 2 and later (32 bit)", _ARMV7, ("cortex-a7", "max"), (0.5, 1, 2)),
    Target("linux-arm64", "64-bit ARM, any Linux", _AARCH64, _ARM_CORES, (1, 2, 4, 8)),
    Target("linux-x86_64", "PC, any Linux", _X86_64, ("Nehalem", "Haswell"), (4, 8, 16)),
    Target("linux-riscv64", "64-bit RISC-V, any Linux", _RISCV64, ("rv64",), (2, 4, 8)),
    Target("android-arm64", "phone, Android 8 or later", _ANDROID_AARCH64, _ARM_CORES, (4, 6, 8, 12)),
    Target("android-x86_64", "Android's emulator, Chromebook", _ANDROID_X86_64, ("Nehalem",), (2, 4)),
    Target("macos-arm64", "Mac with an M1 or later", _MACOS_ARM64, (), (8, 16, 24)),
    Target("windows-x86_64", "PC, Windows 10 or later", _WINDOWS_X86_64, (), (4, 8, 16)),
)

_ARMV6 = "Armv6 has no NEON, and 512 MB at most; the smallest board is the Pi Zero 2 W: --target rpi-zero2"
_IOS = "apps for iOS are built and signed by Apple's Xcode on a Mac; add the folder native/ to a project there"

#: What people ask for by name and is not built, with the reason.
REFUSED = {
    "ios": _IOS,
    "ios-arm64": _IOS,
    "iphone": _IOS,
    "ipad": _IOS,
    "armv6": _ARMV6,
    "linux-armv6": _ARMV6,
    "rpi-armv6": _ARMV6,
    "pi0": _ARMV6,
    "rpi0": _ARMV6,
    "rpi-zero": _ARMV6,
    "pi1": _ARMV6,
    "rpi1": _ARMV6,
    "rpi2": "a Pi 2 runs 32-bit programs: --target rpi-armv7",
    "macos-x86_64": "Macs with Intel processors are not built; on the Mac itself: pip install .",
}


def find(name: str) -> Target:
    """The target of that name. OptionError, with the reason or the nearest name, where there is none."""
    by_name = {target.name: target for target in TARGETS}
    if name in by_name:
        return by_name[name]
    if name.lower() in REFUSED:
        raise OptionError(f"there is no target {name}: {REFUSED[name.lower()]}")
    near = difflib.get_close_matches(name.lower(), by_name, 1)
    advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(by_name)}"
    raise OptionError(f"there is no target {name}; {advice}")
