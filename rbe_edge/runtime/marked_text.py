"""Tells a template's own words from what was said in them, so that only the former can be control tokens.

Each punctuation character that a template itself writes is replaced by a stand-in: a lone surrogate, which no text can
hold. What people and models said is left as it is. A control token such as <|im_end|> is then read only where its
punctuation is stand-ins. Nothing that is typed can become one, whatever the template cuts out or puts together.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any

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


def unmark(value: Any) -> Any:
    """A text, or the texts of a list or dictionary, as people read it; anything else as it is."""
    if isinstance(value, str):
        return value.translate(_UNMARK) if _MARKS.search(value) else value
    if isinstance(value, (list, tuple)):
        return type(value)([unmark(item) for item in value])
    if isinstance(value, dict):
        return {unmark(key): unmark(item) for key, item in value.items()}
    return value


def is_marked(text: str) -> bool:
    """Whether any of it is a template's own."""
    return _MARKS.search(text) is not None


def can_be_marked(text: str) -> bool:
    """Whether the text would be another one as a template's own."""
    return any(character in _MARKABLE for character in text)


def said(value: Any) -> Any:
    """A message, or what else is given to a template, without stand-ins that somebody forged."""
    if isinstance(value, str):
        return _FORGED.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {said(key): said(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [said(item) for item in value]
    return value


def for_tokenizer(text: str) -> str:
    """The text as RBE_TOKENIZE_MARKED wants it, to be encoded with surrogateescape: 0xFF before each character of the
    template's own."""
    return text.translate(_BYTE)
