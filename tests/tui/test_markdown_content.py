"""Nothing that a model says is hidden, whatever Markdown makes of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from rbe_edge.tui.widgets.hanging import Hanging, breaks
from rbe_edge.tui.widgets.safe_markdown import SafeMarkdown


def shown(source: str) -> str:
    return "\n".join(str(block.content) for block in SafeMarkdown()._blocks(source))


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("- 1. \n- 2.", ["• 1. ", "• 2. "]),
        ("- one\n-\n- three", ["• one", "• ", "• three"]),
        ("1. - a\n   - b", ["1. • a".replace("•", "▪"), "   ▪ b"]),
        ("- > said", ["• ▌ said"]),
        ("> - a", ["▌ • a"]),
        ("- a\n\n  b", ["• a", "  ", "  b"]),
        ("- [ ] milk\n- [x] *eggs*\n  - [X] two", ["☐ milk", "☑ eggs", "  ☑ two"]),
        ("- [x]\n- [y] a\n- a [x] b", ["• [x]", "• [y] a", "• a [x] b"]),
        ("[x] a", ["[x] a"]),
        ("[a]: http://b.c", ["[a]: http://b.c"]),
        ("<b>bold</b> &amp; x", ["<b>bold</b> & x"]),
    ],
)
def test_lines(source: str, lines: list[str]) -> None:
    assert shown(source).split("\n") == lines


def test_columns_stand_at_their_side() -> None:
    table = "| a | bb | ccc |\n|:--|:-:|--:|\n| long words | x | 1 |"
    assert shown(table).split("\n") == ["a          │ bb │ ccc", "───────────┼────┼────", "long words │ x  │   1"]


@pytest.mark.parametrize(
    "source",
    ["| a | b |\n|---|---|\n| 1 | 2 | 37 |", "```title of the code block\nx\n```", "| a |\n|--|\n| b | word |"],
)
def test_what_would_be_left_out_is_shown_as_it_is(source: str) -> None:
    assert shown(source) == source


@given(st.text(alphabet="ab1 \n-*>#|`~[]()<&;:._\\!=+\t", max_size=60))
def test_no_letter_is_lost(source: str) -> None:
    from collections import Counter
    from html import unescape

    missing = Counter(filter(str.isalpha, unescape(source)))
    missing.subtract(filter(str.isalpha, shown(source)))
    lost = sum(count for count in missing.values() if count > 0)
    fences = [line for line in source.split("\n") if "```" in line or "~~~" in line]
    assert lost <= sum(map(len, fences))  # the language of a block of code


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("- one two three four five", ["• one two three", "  four five"]),
        ("10. one two three four five", ["10. one two", "    three four", "    five"]),
        ("> - one two three four five", ["▌ • one two", "▌   three four", "▌   five"]),
        ("- " + "x" * 30, ["• " + "x" * 14, "  " + "x" * 14, "  xx"]),
        ("- 漢字漢字漢字漢字漢字", ["• 漢字漢字漢字漢", "  字漢字"]),
    ],
)
def test_what_wraps_hangs_under_its_text(source: str, lines: list[str]) -> None:
    (block,) = SafeMarkdown()._blocks(source)
    assert isinstance(block.content, Hanging)
    assert block.content.get_height({}, 16) == len(lines)
    assert block.content.laid.plain.split("\n") == lines
    block.content.get_height({}, 80)
    assert block.content.laid.plain == str(block.content)


@given(st.text(alphabet="ab 漢\t", max_size=60), st.integers(12, 30))
def test_no_line_is_too_wide_and_nothing_is_lost(text: str, width: int) -> None:
    places = [0, *breaks(text, width), len(text)]
    parts = [text[start:end] for start, end in pairwise(places)]
    assert "".join(parts) == text and all(cell_len(part.rstrip()) <= width for part in parts)


def test_headings_differ() -> None:
    styles = set()
    for level in range(1, 7):
        (block,) = SafeMarkdown()._blocks("#" * level + " title")
        styles.add(str(block.content.spans[0].style))
    assert len(styles) == 4  # the last three are one
