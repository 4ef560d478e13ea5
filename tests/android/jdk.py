"""The Java API of android/lib, compiled and run by the JDK of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARY = REPOSITORY / "android" / "lib" / "src"
APP = REPOSITORY / "android" / "app" / "src"
JARS = Path("/usr/share/java")  # Debian's junit4
WRAPPED = ("malloc", "calloc", "realloc", "free")


def missing() -> str:
    """What this machine lacks for the tests, in words; "" where nothing."""
    if shutil.which("javac") is None:
        return "no javac here: apt install default-jdk-headless junit4"
    if not (JARS / "junit4.jar").exists():
        return "no JUnit here: apt install junit4"
    return "" if _compiler() else "no C compiler here"


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc") or shutil.which("clang")


def home() -> Path:
    """The JDK's folder."""
    javac = shutil.which("javac")
    assert javac
    return Path(javac).resolve().parents[1]


def class_path(*folders: Path) -> str:
    jars = [JARS / name for name in ("junit4.jar", "hamcrest-core.jar", "hamcrest.jar")]
    return os.pathsep.join(map(str, [*folders, *(jar for jar in jars if jar.exists())]))


def compile_java(sources: list[Path], out: Path, *options: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    command = ["javac", "-encoding", "UTF-8", "-Xlint:all,-options,-try", "-Werror", "-d", str(out), *options]
    subprocess.run([*command, *map(str, sources)], check=True)


def compile_bridge(librbe: Path, out: Path) -> Path:
    """The bridge on the library that the other tests use, with its allocations counted; the folder it lies in."""
    out.mkdir(parents=True, exist_ok=True)
    sources = [*sorted((LIBRARY / "main" / "c").glob("*.c")), LIBRARY / "test" / "c" / "counted_allocator.c"]
    includes = [REPOSITORY / "native" / "include", home() / "include", home() / "include" / "linux"]
    compiler = _compiler()
    assert compiler
    flags = "-std=c11 -O2 -g -fPIC -fvisibility=hidden -Wall -Wextra -Wshadow -Wstrict-prototypes -Werror".split()
    links = [f"-Wl,-rpath,{librbe.parent}", *(f"-Wl,--wrap={name}" for name in WRAPPED)]
    target = out / ("librbe_jni" + (sysconfig.get_config_var("SHLIB_SUFFIX") or ".so"))
    command = [compiler, "-shared", *flags, "-D_POSIX_C_SOURCE=200809L", *(f"-I{folder}" for folder in includes)]
    subprocess.run([*command, *map(str, sources), str(librbe), *links, "-o", str(target)], check=True)
    return out
