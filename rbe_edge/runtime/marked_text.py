"""Tells a template's own words from what was said in them, so that only the former can be control tokens.

Each punctuation character that a template itself writes is replaced by a stand-in: a lone surrogate, which no text can
hold. What people and models said is left as it is. A control token such as <|im_end|> is then read only where its
punctuation is stand-ins. Nothing that is typed can become one, whatever the template cuts out or puts together.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

# Control tokens begin with one of these in all vocabularies seen. What "%+.3f" and "%(name)s" are made of stays itself.
_MARKABLE = frozenset(string.punctuation) - frozenset("%#+-.*()")
_MARK = {ord(character): 0xDC00 + ord(character) for character in sorted(_MARKABLE)}
_CHARACTER = {chr(mark): chr(character) for character, mark in _MARK.items()}
_MARKS = re.compile("[\udc21-\udc7e]")
_FORGED = re.compile("[\udc00-\udc7f\udcff]")
#: rbe_tokenize's mark, a byte that is no part of UTF-8, as surrogateescape writes it
_BYTE = {mark: "\udcff" + character for mark, character in _CHARACTER.items()}


def mark(text: str) -> str:
    """The text as a template's own."""
    return text.translate(_MARK)


def unmark(text: str) -> str:
    """The text as people read it."""
    return _written(text, _CHARACTER)


def is_marked(text: str) -> bool:
    """Whether any of it is a template's own."""
    return not text.isascii() and _MARKS.search(text) is not None


def can_be_marked(text: str) -> bool:
    """Whether the text would be another one as a template's own."""
    return any(character in _MARKABLE for character in text)


def said(text: str) -> str:
    """What somebody said, without stand-ins that were forged."""
    try:
        text.encode()  # takes no surrogates, and far less time than a search for them
    except UnicodeEncodeError:
        return _FORGED.sub("\ufffd", text)
    return text


def for_tokenizer(text: str) -> str:
    """The text as RBE_TOKENIZE_MARKED wants it, to be encoded with surrogateescape: 0xFF before each character of the
    template's own."""
    return _written(text, _BYTE)


def _written(text: str, forms: Mapping[str, str]) -> str:
    """The text with a form for each stand-in. Few of many characters are stand-ins: to look for each kind takes a tenth
    of the time that translate() takes, which asks a dictionary for every character."""
    if text.isascii():
        return text
    for stand_in, form in forms.items():
        if stand_in in text:
            text = text.replace(stand_in, form)
    return text
