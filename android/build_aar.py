#!/usr/bin/env python3
"""Builds the library for Android as an AAR from javac, CMake and the NDK, without Gradle:

    ANDROID_NDK_HOME=.../ndk/27.2.12479018 python android/build_aar.py [--out rbe_edge.aar] [--abi arm64-v8a]

It needs a JDK, CMake, and Ninja or Make. The Kotlin file is left out: Gradle adds it. Prints what it does, and checks
of each library that it runs where pages have 16 KB, needs Android's own libraries alone and exports what the JVM calls
alone. Exit codes: 0, 1, 2 (usage), 130.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MAIN = HERE / "lib" / "src" / "main"
LEAST_API = 26
PAGE_BYTES = 16384
ALLOWED = {"libc.so", "libm.so", "libdl.so", "liblog.so"}  # of bionic, on every phone
EXPORTS = {"JNI_OnLoad", "JNI_OnUnload"}
TIME = (1980, 1, 1, 0, 0, 0)  # of all entries: the same sources give the same bytes
MANIFEST = f"""<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="rbe.edge">
    <uses-sdk android:minSdkVersion="{LEAST_API}" />
</manifest>
"""
METADATA = f"aarFormatVersion=1.0\naarMetadataVersion=1.0\nminCompileSdk={LEAST_API}\n"


class BuildError(Exception):
    """What is missing or went wrong, and what to do: one line."""


@dataclass(frozen=True)
class Abi:
    """A kind of machine. triple: of the NDK's compiler; machine: as readelf says it."""

    name: str
    triple: str
    processor: str
    machine: str


ABIS = {
    abi.name: abi
    for abi in (
        Abi("arm64-v8a", "aarch64-linux-android", "aarch64", "AArch64"),
        Abi("x86_64", "x86_64-linux-android", "x86_64", "X86-64"),
    )
}


def find_ndk(given: str | None) -> Path:
    """The compilers' folder of an NDK: of the one named, else of ANDROID_NDK_HOME, ANDROID_NDK_ROOT, else the newest
    under ANDROID_HOME. BuildError where there is none."""
    named = given or os.environ.get("ANDROID_NDK_HOME") or os.environ.get("ANDROID_NDK_ROOT")
    sdk = os.environ.get("ANDROID_HOME") or os.environ.get("ANDROID_SDK_ROOT")
    found = [Path(named)] if named else list(Path(sdk, "ndk").glob("*")) if sdk else []
    found.sort(key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])
    if not found:
        raise BuildError(
            "no Android NDK: install one (Android Studio, SDK Manager), and set ANDROID_NDK_HOME to its folder"
        )
    for tools in sorted(found[-1].glob("toolchains/llvm/prebuilt/*/bin")):
        return tools.resolve()  # the same compiler by one name, which CMake remembers
    raise BuildError(
        f"{found[-1]} is no NDK: it has no toolchains/llvm/prebuilt; set ANDROID_NDK_HOME to the folder of one"
    )


def need(*names: str) -> str:
    """The first of these programs that is here. BuildError where none is."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise BuildError(f"{' or '.join(names)} is missing; install it and try again")


def run(what: str, command: list[str]) -> str:
    """What a command printed. BuildError with its last lines where it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        print(*done.stdout.splitlines()[-30:], sep="\n", file=sys.stderr)
        raise BuildError(f"{what} failed: see what `{Path(command[0]).name}` says above")
    return done.stdout


def build_library(tools: Path, abi: Abi, work: Path) -> Path:
    """librbe_jni.so for one kind of machine."""
    compiler = tools / f"{abi.triple}{LEAST_API}-clang"
    if not compiler.exists():
        raise BuildError(f"this NDK has no {compiler.name}; install version 26 or a newer one")
    generator = Path(need("ninja", "make")).name
    settings = {
        # Not "Android": the compiler's name says all that CMake would ask the NDK.
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": abi.processor,
        "CMAKE_C_COMPILER": str(compiler),
        "CMAKE_AR": str(tools / "llvm-ar"),
        "CMAKE_RANLIB": str(tools / "llvm-ranlib"),
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_SHARED_LINKER_FLAGS": "-s",
    }
    build = work / abi.name
    cache = build / "CMakeCache.txt"
    if cache.exists() and f"={compiler}\n" not in cache.read_text(encoding="utf-8", errors="replace"):
        shutil.rmtree(build)  # CMake would begin anew by itself, and forget the settings below
    command = [
        "cmake",
        "-S",
        str(MAIN / "c"),
        "-B",
        str(build),
        "-G",
        "Ninja" if generator == "ninja" else "Unix Makefiles",
    ]
    run(f"configuring for {abi.name}", [*command, *(f"-D{name}={value}" for name, value in settings.items())])
    jobs = str(os.cpu_count() or 1)
    run(f"compiling for {abi.name}", ["cmake", "--build", str(build), "--target", "rbe_jni", "--parallel", jobs])
    return build / "librbe_jni.so"


def faults(readelf: Path, library: Path, abi: Abi) -> list[str]:
    """What keeps a library from running on every phone of its kind; empty where nothing does."""
    said = run("reading the library", [str(readelf), "-hldW", "--dyn-syms", str(library)])
    found = []
    if abi.machine not in said:
        found.append(f"it is not for {abi.machine}")
    alignments = [int(align, 16) for align in re.findall(r"^ +LOAD .* (0x[0-9a-f]+)$", said, re.MULTILINE)]
    if not alignments or min(alignments) < PAGE_BYTES:
        found.append(
            f"its segments are aligned to {alignments}; devices with pages of 16 KB refuse less than {PAGE_BYTES}"
        )
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", said))
    if not needed or needed - ALLOWED:
        found.append(f"it needs {sorted(needed)}, of which phones have {sorted(ALLOWED)} alone")
    for tag in ("TEXTREL", "RPATH", "RUNPATH"):
        if f"({tag})" in said:
            found.append(f"it has a {tag}")
    symbols = re.findall(r"^ +\d+: [0-9a-f]+ +\d+ +\w+ +(GLOBAL|WEAK) +\w+ +(\w+) +(\S+)", said, re.MULTILINE)
    exports = {name.partition("@")[0] for _, section, name in symbols if section not in ("UND", "ABS")}
    if exports != EXPORTS:
        found.append(f"it exports {sorted(exports)} and not {sorted(EXPORTS)} alone")
    return found


def compile_java(work: Path) -> Path:
    """The folder of the classes, as for Java 8: what Android's tools read at every level."""
    classes = work / "classes"
    shutil.rmtree(classes, ignore_errors=True)
    sources = sorted(map(str, (MAIN / "java").rglob("*.java")))
    options = ["--release", "8", "-encoding", "UTF-8", "-Xlint:all,-options,-try", "-Werror"]
    run("compiling Java", [need("javac"), *options, "-d", str(classes), *sources])
    return classes


def add(archive: zipfile.ZipFile, name: str, content: bytes, stored: bool = False) -> None:
    entry = zipfile.ZipInfo(name, TIME)
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def write_aar(out: Path, classes: Path, libraries: dict[str, Path], work: Path) -> None:
    """The archive, which appears whole or not at all."""
    jar = work / "classes.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        for path in sorted(classes.rglob("*.class")):
            add(archive, path.relative_to(classes).as_posix(), path.read_bytes())
    with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix=".rbe-aar-") as beside:
        part = Path(beside, "part")
        with zipfile.ZipFile(part, "w") as archive:
            add(archive, "AndroidManifest.xml", MANIFEST.encode())
            add(archive, "classes.jar", jar.read_bytes(), stored=True)
            add(archive, "R.txt", b"")
            add(archive, "proguard.txt", (HERE / "lib" / "consumer-rules.pro").read_bytes())
            add(archive, "META-INF/com/android/build/gradle/aar-metadata.properties", METADATA.encode())
            for abi, library in libraries.items():
                add(archive, f"jni/{abi}/{library.name}", library.read_bytes())
        part.replace(out)


def build(ndk: str | None, out: Path, names: list[str], work: Path) -> None:
    tools = find_ndk(ndk)
    need("cmake")
    if not out.resolve().parent.is_dir():
        raise BuildError(f"{out.resolve().parent} is no folder; make it, or give another --out")
    began = time.monotonic()
    print("Java ...", flush=True)
    classes = compile_java(work)
    libraries = {}
    for number, name in enumerate(names):
        print(f"{name} ({number + 1} of {len(names)}) ...", flush=True)
        library = build_library(tools, ABIS[name], work)
        wrong = faults(tools / "llvm-readelf", library, ABIS[name])
        if wrong:
            raise BuildError(f"{library}: " + "; ".join(wrong))
        libraries[name] = library
    write_aar(out, classes, libraries, work)
    size, seconds = out.stat().st_size / 1e6, time.monotonic() - began
    print(f"{out}: {size:.2f} MB, in {seconds:.0f} s; without the Kotlin file, which Gradle adds")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="build_aar.py", description="The library for Android, without Gradle.", allow_abbrev=False
    )
    parser.add_argument(
        "--ndk", metavar="FOLDER", help="an NDK; by default that of ANDROID_NDK_HOME, else the newest in ANDROID_HOME"
    )
    parser.add_argument("--out", type=Path, default=Path("rbe_edge.aar"), metavar="FILE", help="by default %(default)s")
    parser.add_argument("--abi", action="append", choices=list(ABIS), help="again for more; by default all")
    parser.add_argument(
        "--work", type=Path, default=HERE / "build" / "aar", metavar="FOLDER", help="what is kept from run to run"
    )
    given = parser.parse_args(arguments)
    try:
        given.work.mkdir(parents=True, exist_ok=True)
        build(given.ndk, given.out, given.abi or list(ABIS), given.work)
    except BuildError as error:
        print(f"build_aar.py: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"build_aar.py: {error.filename or 'the file system'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("build_aar.py: interrupted; nothing was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
