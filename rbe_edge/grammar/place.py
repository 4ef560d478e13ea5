"""Where in a JSON text the next byte stands: in how many brackets, in a string, behind how many digits and commas."""

from __future__ import annotations

_OPEN, _CLOSE, _QUOTE, _BACKSLASH = frozenset(b"{["), frozenset(b"}]"), ord('"'), ord("\\")
_COMMA = ord(",")
_OF_NUMBERS = frozenset(b"0123456789+-.eE")


class Place:
    """Also of texts around a JSON value whose quotes and brackets are in pairs."""

    __slots__ = ("commas", "depth", "digits", "escaped", "in_string")

    def __init__(self) -> None:
        self.depth = self.digits = self.commas = 0
        self.in_string = self.escaped = False

    def copy(self) -> Place:
        made = Place()
        made.depth, made.digits, made.commas = self.depth, self.digits, self.commas
        made.in_string, made.escaped = self.in_string, self.escaped
        return made

    def go(self, text: bytes | bytearray) -> Place:
        """Advances by the text."""
        for byte in text:
            if self.escaped:
                self.escaped = False
            elif byte == _QUOTE:
                self.in_string = not self.in_string
                self.digits = 0
            elif self.in_string:
                self.escaped = byte == _BACKSLASH
            else:
                self.digits = self.digits + 1 if byte in _OF_NUMBERS else 0
                self.depth += (byte in _OPEN) - (byte in _CLOSE)
                self.commas += byte == _COMMA
        return self

    @property
    def missing(self) -> int:
        """Bytes that must still come, at least."""
        return max(self.depth, 0) + self.in_string
