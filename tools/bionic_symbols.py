"""Writes tests/android/bionic.txt, the names that Android's C library has at the least API level that we run on:

    python tools/bionic_symbols.py BIONIC [26]

BIONIC: a checkout of Android's platform/bionic. Reads libc.map.txt, libm.map.txt and libdl.map.txt there, which say of
each name since when and on which machines it exists. A line of the output is "library name", and "library name var" for
what is no function.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "tests" / "android" / "bionic.txt"
MACHINES = ("arm64", "x86_64")
HIDDEN = {"apex", "llndk", "platform-only", "systemapi", "future"}  # not for apps


def _since(tags: list[str]) -> int:
    """The API level of the tags of one line, on both machines."""
    levels = [0]
    for tag in tags:
        match = re.fullmatch(r"introduced(?:-(\w+))?=(\d+)", tag)
        if match and match[1] in (None, *MACHINES):
            levels.append(int(match[2]))
    return max(levels)


def _is_for_us(tags: list[str], level: int) -> bool:
    others = {"arm", "arm64", "x86", "x86_64", "riscv64"} & set(tags)
    here = not others or set(MACHINES) <= others
    return here and not HIDDEN & set(tags) and _since(tags) <= level


def names(text: str, level: int) -> Iterator[tuple[str, bool]]:
    """Each name that a map gives apps at an API level, and whether it is a variable."""
    section = False
    for line in text.splitlines():
        code, _, comment = line.partition("#")
        tags = comment.split()
        opened = re.match(r"\s*(\w+) \{", code)
        if opened:
            section = not re.search("PRIVATE|PLATFORM", opened[1]) and _is_for_us(tags, level)
        symbol = re.match(r"\s+(\w+);", code)
        if symbol and section and _is_for_us(tags, level):
            yield symbol[1], "var" in tags


def main(bionic: str, level: str = "26") -> None:
    lines = set()
    for library, path in (
        ("libc", "libc/libc.map.txt"),
        ("libm", "libm/libm.map.txt"),
        ("libdl", "libdl/libdl.map.txt"),
    ):
        for name, is_variable in names(Path(bionic, path).read_text(encoding="utf-8"), int(level)):
            lines.add(f"{library} {name}{' var' if is_variable else ''}")
    OUT.write_text("\n".join([f"# API level {level}; written by tools/bionic_symbols.py", *sorted(lines), ""]))


if __name__ == "__main__":
    main(*sys.argv[1:])
