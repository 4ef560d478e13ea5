"""How texts are cut: whole paragraphs, overlap, headings, and what is too long."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st

from rbe_edge.search.passages import Passage, passages


def count(text: str) -> int:
    return len(text.split())


def cut(text: str, most: int) -> list[Passage]:
    return passages(text, count, most)


def test_short_texts_are_one_passage() -> None:
    assert cut("", 8) == cut(" \n\t\n", 8) == []
    assert cut("\nOne.\r\nTwo.\r\n\r\n\r\nThree. \n", 8) == [Passage(2, "One.\nTwo.\n\nThree.")]


def test_whole_paragraphs_and_overlap() -> None:
    long, short = "a b c d e f g h i j", "x y"
    found = cut(f"{long}\n\n{short}\n\n{long}\n\n{long}", 18)
    assert found == [
        Passage(1, f"{long}\n\n{short}"),
        Passage(3, f"{short}\n\n{long}"),  # the short one again
        Passage(7, long),  # a paragraph of ten is more than a sixth of the passage
    ]


def test_headings_begin_passages() -> None:
    text = "# One\n\na b c d e f\n\n## Two\n\ng h i\n\n# Three\n\nj"
    assert cut(text, 16) == [
        Passage(1, "# One\n\na b c d e f"),
        Passage(5, "## Two\n\ng h i"),
        Passage(9, "# Three\n\nj"),
    ]
    assert cut("a b\n\n# One\n\nc", 16) == [Passage(1, "a b\n\n# One\n\nc")]  # too little for a passage of its own
    # A heading that fills a passage stands before what it is the heading of.
    assert cut("a b c d e\n\n# H\n\nf g h i j k", 8) == [Passage(1, "a b c d e"), Passage(3, "# H\n\nf g h i j k")]


def test_long_paragraphs_are_cut_behind_sentences() -> None:
    text = "One two three. Four five six.\nSeven eight nine. Ten eleven twelve."
    found = cut(text, 8)
    assert [one.text for one in found] == [
        "One two three.\nFour five six.",
        "Seven eight nine.\nTen eleven twelve.",
    ]
    assert [one.line for one in found] == [1, 2]


def test_long_words_and_sentences() -> None:
    sentence = " ".join("abcdefghijklmnopqrst")
    found = cut(sentence, 8)
    assert all(count(one.text) <= 8 for one in found)
    assert "".join(one.text for one in found).replace("\n", "").replace(" ", "") == sentence.replace(" ", "")
    letters = passages("x" * 100, len, 10)
    assert "".join(one.text for one in letters).count("x") == 100
    assert all(max(map(len, one.text.split("\n"))) <= 10 for one in letters)


@hypothesis.given(st.text(alphabet="ab .\n#", max_size=400), st.integers(8, 40))
def test_nothing_is_lost(text: str, most: int) -> None:
    found = cut(text, most)
    lines = text.split("\n")
    last = 0
    for passage in found:
        assert 1 <= passage.line <= len(lines) and passage.line >= last
        last = passage.line
        assert count(passage.text) <= most
        first = passage.text.split("\n")[0].split()
        assert first and first[0] in lines[passage.line - 1]
    # All words in their order: each passage goes on where one before ended, after what is repeated.
    words = text.split()
    at = 0
    for passage in found:
        own = passage.text.split()
        start = next(place for place in range(at, -1, -1) if words[place : place + len(own)] == own)
        at = start + len(own)
    assert at == len(words)
