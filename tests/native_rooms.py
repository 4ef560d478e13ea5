"""What the files of native/src know of one another: by includes, and by the symbols that their objects take."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rooms import REPOSITORY

SOURCES = REPOSITORY / "native" / "src"

# (file, room of that file, room that it knows, how it knows it)
Arrow = tuple[str, str, str, str]


def rooms() -> set[str]:
    """The folders that hold sources; one that git has emptied may still lie there."""
    return {path.name for path in SOURCES.iterdir() if next(path.rglob("*.[ch]"), None) is not None}


def room(path: Path) -> str:
    """The folder of native/src that a file lies in, at any depth."""
    return path.relative_to(SOURCES).parts[0]


def system_includes() -> Iterator[tuple[Path, str]]:
    """Every file of native/src with each header that it includes from outside the project."""
    for source in sorted(SOURCES.rglob("*.[ch]")):
        for header in re.findall(r"^\s*#\s*include\s*<([^>]+)>", source.read_text(encoding="utf-8"), re.MULTILINE):
            yield source, header


def include_arrows() -> list[Arrow]:
    """Includes are written from native/src on; the public headers, rbe/*.h, are for every room."""
    found = []
    for source in sorted(SOURCES.rglob("*.[ch]")):
        for header in re.findall(r'^\s*#\s*include\s*"([^"]+)"', source.read_text(encoding="utf-8"), re.MULTILINE):
            if not header.startswith("rbe/"):
                assert (SOURCES / header).is_file(), f"{source} includes {header}, which is no path from native/src on"
                found.append((_name(source), room(source), room(SOURCES / header), f"includes {header}"))
    return found


def symbol_arrows(objects: Path) -> list[Arrow]:
    """`objects`: the folder of compiled files that holds src/. A symbol declared in rbe.h counts as any other."""
    defined: dict[str, str] = {}
    taken: list[tuple[Path, str]] = []
    for path in sorted((objects / "src").rglob("*.o")):
        source = SOURCES / path.relative_to(objects / "src").with_suffix("")
        if source.is_file():  # else of a file that was built once and is gone
            for kind, symbol in _symbols(path):
                if kind == "U":
                    taken.append((source, symbol))
                else:
                    defined[symbol] = room(source)
    assert taken, f"{objects} holds no objects of native/src"
    known = [(path, symbol) for path, symbol in taken if symbol in defined]
    return [(_name(path), room(path), defined[symbol], f"takes {symbol}") for path, symbol in known]


def _name(path: Path) -> str:
    return path.relative_to(SOURCES).as_posix()


def _symbols(path: Path) -> list[tuple[str, str]]:
    """Type and name of the symbols of an object that other objects can see, as `nm` writes them: U is undefined."""
    printed = subprocess.run(["nm", "-g", str(path)], check=True, capture_output=True, text=True).stdout
    return [(kind, name) for kind, name in re.findall(r"([A-Za-z]) _?(\w+)$", printed, re.MULTILINE)]


def built_objects(library: Path, directory: Path) -> Path | None:
    """The folder for symbol_arrows: beside the library where that lies in a build tree, else built in `directory`.

    None where the tools are missing.
    """
    beside = library.parent / "CMakeFiles" / "rbe_objects.dir"
    if shutil.which("nm") is None:
        return None
    if beside.is_dir():
        return beside
    if shutil.which("cmake") is None:
        return None
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = ["cmake", *generator, "-S", str(REPOSITORY), "-B", str(directory), "-DCMAKE_BUILD_TYPE=Debug"]
    build = ["cmake", "--build", str(directory), "--target", "rbe_objects", "--parallel", str(os.cpu_count() or 1)]
    for command in configure, build:
        subprocess.run(command, check=True, capture_output=True)
    return directory / "native" / "CMakeFiles" / "rbe_objects.dir"
