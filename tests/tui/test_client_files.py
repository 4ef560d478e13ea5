"""Who may look at whom in the client: the table at the top of rbe_edge/tui/__init__.py is what holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import rooms

import rbe_edge.tui

FOLDER = Path(rbe_edge.tui.__file__).parent
ORDER = re.findall(r"^\| `(\w+)` \|", rbe_edge.tui.__doc__ or "", flags=re.MULTILINE)
#: What the terminal's library is for; the files above in the table could serve another front.
FIRST_WITH_TEXTUAL = "messages"


def files() -> list[Path]:
    return [path for path in sorted(FOLDER.rglob("*.py")) if path.name != "__init__.py"]


def part(path: Path) -> str:
    """The row of the table that a file belongs to."""
    return path.relative_to(FOLDER).with_suffix("").parts[0]


def test_the_table_names_every_file() -> None:
    assert len(ORDER) == len(set(ORDER)) and set(ORDER) == {part(path) for path in files()}


@pytest.mark.parametrize("path", files(), ids=part)
def test_a_file_looks_only_up_the_table(path: Path) -> None:
    here = part(path)
    for name in rooms.imports(path):
        if name.startswith("rbe_edge.tui."):
            other = name.split(".")[2]
            inside = other == here and path.parent != FOLDER
            assert inside or ORDER.index(other) < ORDER.index(here), f"{path} must not import {name}"
        elif name.split(".")[0] == "textual":
            assert ORDER.index(here) >= ORDER.index(FIRST_WITH_TEXTUAL), f"{path} must not import {name}"


@pytest.mark.parametrize("path", [path for path in files() if part(path) == "screens"], ids=lambda path: path.stem)
def test_a_screen_takes_of_the_app_only_what_every_app_has(path: Path) -> None:
    allowed = {"push_screen_wait", "copy_to_clipboard", "call_from_thread"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == "app":
            assert node.attr in allowed, f"{path.name}: app.{node.attr}; post a message of rbe_edge/tui/messages.py"
