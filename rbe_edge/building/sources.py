"""Where the C sources are that are compiled: in the package where it was installed, else the checkout around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rbe_edge.errors import BuildError

PACKAGE = Path(__file__).resolve().parent.parent

#: Folder of an installed package, and of every wheel, that holds the sources.
CARRIED = Path("building") / "sources"

_FILES = ("CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml")
_FOLDERS = ("src", "include", "cli", "cmake")


def directory() -> Path:
    """The folder that holds CMakeLists.txt, native/, LICENSE, README.md and pyproject.toml. BuildError where there is
    none."""
    for place in (PACKAGE / CARRIED, PACKAGE.parent):
        if (place / "native" / "CMakeLists.txt").is_file() and (place / "pyproject.toml").is_file():
            return place
    raise BuildError("the C sources are missing from this installation; install the package again (`pip install .`)")


def files(root: Path) -> Iterator[str]:
    """What a wheel carries of the sources below `root`: paths from there on, sorted, with slashes."""
    native = root / "native"
    found = [root / name for name in _FILES] + [native / "CMakeLists.txt"]
    found += [path for folder in _FOLDERS for path in (native / folder).rglob("*") if path.is_file()]
    yield from sorted(path.relative_to(root).as_posix() for path in found if not path.name.startswith("."))
