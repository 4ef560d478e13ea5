"""Tells a template's own words from what was said in them, so that only the former can be control tokens.

Each punctuation character that a template itself writes is replaced by a stand-in: a lone surrogate, which no text can
hold. What people and models said is left as it is. A control token such as <|im_end|> is then read only where its
punctuation is stand-ins. Nothing that is typed can become one, whatever the template cuts out or puts together.
"""

from __future__ import annotations

import re
import string

# Control tokens begin with one of these in all vocabularies seen. What "%+.3f" and "%(name)s" are made of stays itself.
_MARKABLE = frozenset(string.punctuation) - frozenset("%#+-.*()")
_MARK = {ord(character): 0xDC00 + ord(character) for character in sorted(_MARKABLE)}
_UNMARK = {mark: character for character, mark in _MARK.items()}
_MARKS = re.compile("[\udc21-\udc7e]")
_FORGED = re.compile("[\udc00-\udc7f\udcff]")
#: rbe_tokenize's mark, a byte that is no part of UTF-8, as surrogateescape writes it
_BYTE = {mark: "\udcff" + chr(character) for character, mark in _MARK.items()}


def mark(text: str) -> str:
    """The text as a template's own."""
    return text.translate(_MARK)


def unmark(text: str) -> str:
    """The text as people read it."""
    return text.translate(_UNMARK) if _MARKS.search(text) else text


def is_marked(text: str) -> bool:
    """Whether any of it is a template's own."""
    return _MARKS.search(text) is not None


def can_be_marked(text: str) -> bool:
    """Whether the text would be another one as a template's own."""
    return any(character in _MARKABLE for character in text)


def said(text: str) -> str:
    """What somebody said, without stand-ins that were forged."""
    return _FORGED.sub("\ufffd", text)


def for_tokenizer(text: str) -> str:
    """The text as RBE_TOKENIZE_MARKED wants it, to be encoded with surrogateescape: 0xFF before each character of the
    template's own."""
    return text.translate(_BYTE)
