"""A stand-in for the Android NDK: zig's clang under the NDK's names, on a machine that has no NDK.

It compiles for Android's triple at API level 26, with emulated thread-local variables and the calling conventions that
the NDK's clang has there, and links against libraries that hold the names of Android's C library at that level
(bionic.txt) and nothing behind them. So a function that phones lack is an error of the linker, as with the NDK. What it
does not prove: zig brings musl's headers and not Android's, so that types and constants are musl's; and nothing that it
builds has run.
"""

from __future__ import annotations

import importlib.util
import shutil
import stat
import subprocess
import sys
from pathlib import Path

LEAST_API = 26
MACHINES = ("aarch64", "x86_64")
LIBC_FILE = """include_dir={musl}
sys_include_dir={musl}
crt_dir={libraries}
msvc_lib_dir=
kernel32_lib_dir=
gcc_dir={libraries}
cc_dir={libraries}
darwin_sdk_dir=
"""
# zig calls the features of a processor otherwise than clang's -march does.
COMPILER = """#!/bin/sh
for argument; do
    shift
    case $argument in
        -march=armv8.2-a+dotprod) argument=-mcpu=generic+v8_2a+dotprod ;;
        -march=armv8.2-a+dotprod+i8mm) argument=-mcpu=generic+v8_2a+dotprod+i8mm ;;
    esac
    set -- "$@" "$argument"
done
ZIG_LIBC={libc} exec {python} -m ziglang cc -target {machine}-linux-android.{api} {includes} \\
    -D__errno_location=__errno -L{libraries} "$@"
"""


def missing() -> str:
    """What this machine lacks, in words; "" where nothing."""
    if importlib.util.find_spec("ziglang") is None:
        return "no zig here: pip install ziglang"
    lacking = [name for name in ("cmake", "readelf", "javac") if shutil.which(name) is None]
    return f"no {lacking[0]} here" if lacking else ""


def _zig(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "ziglang", *map(str, arguments)], check=True)


def _program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def _names() -> dict[str, list[tuple[str, bool]]]:
    """The names of each of Android's libraries, and whether they are variables."""
    libraries: dict[str, list[tuple[str, bool]]] = {
        "liblog": [("__android_log_print", False), ("__android_log_write", False)]
    }
    for line in (Path(__file__).parent / "bionic.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            library, name, *variable = line.split()
            libraries.setdefault(library, []).append((name, bool(variable)))
    return libraries


def _libraries(folder: Path, machine: str) -> None:
    """Shared libraries with these names and no code, and the objects that stand at the ends of what is linked."""
    folder.mkdir(parents=True)
    for library, names in _names().items():
        source = folder / f"{library}.s"
        parts = [f".globl {name}\n.type {name}, %{'object' if var else 'function'}\n{name}:\n" for name, var in names]
        source.write_text(".data\n" + "".join(parts) + ".quad 0\n", encoding="utf-8")
        target = f"{machine}-linux-musl"
        soname = f"-Wl,-soname,{library}.so"
        _zig("cc", "-target", target, "-shared", "-nostdlib", soname, source, "-o", folder / f"{library}.so")
    empty = folder / "empty.s"
    empty.write_text("", encoding="utf-8")
    for name in ("crtbegin_so", "crtend_so", "crtbegin_dynamic", "crtend_android"):
        _zig("cc", "-target", f"{machine}-linux-musl", "-c", empty, "-o", folder / f"{name}.o")


def make(folder: Path, jni: Path) -> Path:
    """The stand-in's folder, to be named by ANDROID_NDK_HOME. jni: the folder of a JDK's jni.h, which declares what
    Android's does."""
    import ziglang

    tools = folder / "toolchains" / "llvm" / "prebuilt" / "linux-x86_64" / "bin"
    tools.mkdir(parents=True)
    headers = folder / "include"
    headers.mkdir()
    for name in (jni / "jni.h", jni / "linux" / "jni_md.h"):
        shutil.copy(name, headers)
    shipped = Path(ziglang.__file__).parent / "lib" / "libc" / "include"
    for machine in MACHINES:
        libraries = folder / "libraries" / machine
        _libraries(libraries, machine)
        musl = shipped / f"{machine}-linux-musl"
        libc = folder / f"{machine}.txt"
        libc.write_text(LIBC_FILE.format(musl=musl, libraries=libraries), encoding="utf-8")
        kernel = "x86" if machine == "x86_64" else machine
        searched = (headers, musl, shipped / "generic-musl", shipped / f"{kernel}-linux-any", shipped / "any-linux-any")
        includes = " ".join(f"-isystem '{path}'" for path in searched)
        words = {
            "libc": f"'{libc}'",
            "libraries": f"'{libraries}'",
            "python": f"'{sys.executable}'",
            "machine": machine,
            "api": LEAST_API,
            "includes": includes,
        }
        _program(tools / f"{machine}-linux-android{LEAST_API}-clang", COMPILER.format(**words))
    for name in ("ar", "ranlib"):
        _program(tools / f"llvm-{name}", f"#!/bin/sh\nexec '{sys.executable}' -m ziglang {name} \"$@\"\n")
    readelf = shutil.which("readelf")
    assert readelf
    (tools / "llvm-readelf").symlink_to(readelf)
    return folder
