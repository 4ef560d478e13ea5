"""What messages show of the files that people give: short, on one line."""

from __future__ import annotations

import reprlib

_MAX = 100  # characters

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 60
_REPR.maxlist = _REPR.maxdict = 4
_REPR.maxlevel = 2


def shown(value: object) -> str:
    """A value of a file as Python writes it, but 100 characters at most, whatever its size and depth."""
    text = _REPR.repr(value)
    return text if len(text) <= _MAX else f"{text[: _MAX - 3]}..."
