"""Texts to compare tokenizers on."""

from __future__ import annotations

import json
import random
import unicodedata
from pathlib import Path

from hypothesis import strategies as st

# Where the expressions of the pre-tokenizers take turns: contractions, digits, spaces of all kinds, ends of lines,
# marks, letters of several scripts, and characters that compose.
EDGES = [
    *" \t\n\r.,!?'\"+-<>^`|~$0123456789",
    *("'s 't 're 've 'm 'll 'd 'S 'T 'RE 'Ve 'M 'lL 'D '\u017f 'x ' ''".split(" ")),
    *("\u00a0 \u0085 \u2003 \u3000 \u2028 \u200b \ufeff \u2581 \u00b2 \u00bd \u0661 \u2167".split(" ")),
    *("a b S \u0301 \u0323 e\u0301 \u00e9 \u00df \u0131 \u0416 \u05d0 \u0639 \u0915\u093f \u0e01\u0e33".split(" ")),
    *("\u6211 \u3042 \uac00 \u1100\u1161".split(" ")),
    *("\U0001f999 \U0001f636\u200d\U0001f32b\ufe0f \U0001d49c the ing hello World 2024 \u2014 \u00ab".split(" ")),
    "  ",
    "   ",
    "\n\n",
    "\r\n",
    " \n",
]


# What the expressions that know upper and lower case tell apart: letters of both cases, title case, modifier letters,
# letters without case, marks, and what is upper or lower case but no letter (U+24B6, U+0345).
CASES = [
    *"ABabSsTt'\"/.1 \t\n\r",
    *("\u01c5 \u02b0 \u6211 \u0301 \u0345 \u17b4 \u017f \u00b2 \u00e9 \u00c9 \u0130 \u1e9e \u00aa \u24b6".split(" ")),
    *("\u2028 \u0085 \u200d \U0001d400 \U00010400 \U00010428 \U0001f999 're 'LL 'S '\u017f".split(" ")),
]


def cased_texts(count: int, seed: int) -> list[str]:
    """Texts made of those."""
    source = random.Random(seed)
    return ["".join(source.choice(CASES) for _ in range(source.randrange(14))) for _ in range(count)]


def edge_texts() -> st.SearchStrategy[str]:
    """Texts made of the characters that pre-tokenizers treat specially."""
    return st.lists(st.sampled_from(EDGES), max_size=24).map("".join)


def any_texts(last: int = 0x10FFFF) -> st.SearchStrategy[str]:
    """Texts of any characters up to a code point, unassigned ones among them, and edges between them."""
    characters = st.characters(max_codepoint=last, exclude_categories=["Cs"])
    return st.lists(characters | st.sampled_from(EDGES), max_size=24).map("".join)


def random_texts(count: int, seed: int, last: int = 0x10FFFF) -> list[str]:
    """The same without hypothesis, for comparing many texts in one call."""
    source = random.Random(seed)
    texts = []
    for _ in range(count):
        limit = min(source.choice([0x80, 0x300, 0x3000, 0x11000, 0x110000]), last + 1)
        parts = [
            chr(source.randrange(limit)) if source.random() < 0.5 else source.choice(EDGES)
            for _ in range(source.randrange(24))
        ]
        texts.append("".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return texts


def long_known(text: str) -> bool:
    """Whether all characters were in Unicode 3.2, whose combining classes every later version shares."""
    return all(unicodedata.ucd_3_2_0.category(character) != "Cn" for character in text)


def corpora(data_dir: Path, limit: int) -> dict[str, str]:
    """English prose, stories and Chinese, each cut to `limit` characters."""
    chinese = json.loads((data_dir / "text/cmrc2018_dev.zh.json").read_text(encoding="utf-8"))
    texts = {
        "wiki": (data_dir / "text/wiki.test.raw").read_text(encoding="utf-8"),
        "stories": (data_dir / "text/tinystories.txt").read_text(encoding="utf-8"),
        "chinese": json.dumps(chinese, ensure_ascii=False),
    }
    return {name: text[:limit] for name, text in texts.items()}


def differing(texts: list[str], expected: list[list[int]], found: list[list[int]]) -> list[str]:
    """The texts that were tokenized otherwise, for the message of an assertion."""
    return [
        f"{text!a}: expected {want[:40]}, found {got[:40]}"
        for text, want, got in zip(texts, expected, found, strict=True)
        if want != got
    ]
