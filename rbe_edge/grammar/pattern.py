"""Patterns of JSON Schema (ECMAScript's regular expressions) in the syntax of llguidance, which is Rust's.

Both syntaxes read some texts differently: `[[]`, `[a&&b]`, `.`, `\\s`, `\\/`, `{`. So each part is written anew. What
is not regular, or what llguidance does not follow, is refused by name.
"""

from __future__ import annotations

import string
from typing import NamedTuple

_MAX_LENGTH = 5000  # characters of a pattern
_MAX_DEPTH = 50  # groups in groups
_MAX_COUNT = 100_000  # in {m,n}
_MAX_EXAMPLE = 500  # characters

_BLANKS = r"\t-\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}"
_KINDS = {"d": "0-9", "w": "0-9A-Za-z_", "s": _BLANKS}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_ANCHORED = "`^` and `$` are supported at the ends of the whole, or of its alternatives"


class PatternError(Exception):
    """A pattern that is malformed or not supported."""


class RustPattern(NamedTuple):
    """text: a pattern in Rust's syntax. example: a short text that most likely fits."""

    text: str
    example: str


def rust_pattern(pattern: str) -> RustPattern:
    """A pattern that is found anywhere in a text unless `^` and `$` tie it to the ends. Raises PatternError."""
    if len(pattern) > _MAX_LENGTH:
        raise PatternError(f"it is longer than {_MAX_LENGTH} characters")
    return _Reader(pattern).read()


def _written(code: int) -> str:
    """One character, never a special one."""
    letter = chr(code)
    return letter if letter.isascii() and letter.isalnum() else f"\\u{{{code:x}}}"


def _some(found: int | str) -> str:
    """A character, or one of a set most likely."""
    return chr(found) if isinstance(found, int) else {"[0": "0", "[\\": " "}.get(found[:2], "a")


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        # For the example: of each group that is open, the texts of its alternatives so far; and what a count repeats.
        self._levels: list[list[str]] = [[""]]
        self._last = ""

    def read(self) -> RustPattern:
        parts: list[str] = []
        counted = True  # nothing that a count could repeat
        while self._at < len(self._text):
            letter = self._taken()
            if letter in "*+?" or (letter == "{" and self._is_count()):
                if counted:
                    raise PatternError(f"there is nothing that `{letter}` could repeat")
                parts.append(self._count() if letter == "{" else letter)
                self._repeat(int(parts[-1][1:-1].partition(",")[0]) if letter == "{" else int(letter == "+"))
                self._next("?")  # as few as possible: the same texts
                counted = True
                continue
            parts.append(self._part(letter))
            counted = letter in "(|^$"
        if len(self._levels) > 1:
            raise PatternError("a `(` without its `)`")
        return RustPattern("".join(parts), min(self._levels[0], key=len))

    def _part(self, letter: str) -> str:
        if letter == "(":
            return self._group()
        if letter == ")":
            if len(self._levels) == 1:
                raise PatternError("a `)` without its `(`")
            self._example(min(self._levels.pop(), key=len))
            return ")"
        if letter == "|":
            self._levels[-1].append("")
            return letter
        if letter in "^$":
            return self._anchor(letter)
        if letter == "[":
            return self._class()
        if letter == ".":
            self._example(" ")
            return r"[^\n\r\u{2028}\u{2029}]"
        found = self._escaped() if letter == "\\" else self._code_of(letter)
        self._example(_some(found))
        return found if isinstance(found, str) else _written(found)

    def _example(self, text: str) -> None:
        self._levels[-1][-1] += text
        self._last = text

    def _repeat(self, least: int) -> None:
        """The last text so many times, in the example."""
        before = self._levels[-1][-1].removesuffix(self._last)
        self._levels[-1][-1] = before + self._last * least if len(self._last) * least <= _MAX_EXAMPLE else before

    def _anchor(self, letter: str) -> str:
        """Only where it is first or last of the whole, or of an alternative: llguidance follows no others."""
        before = self._text[: self._at - 1].rstrip("(?:" if letter == "^" else "")
        behind = self._text[self._at :].lstrip(")" if letter == "$" else "")
        fits = not before or before.endswith("|") if letter == "^" else not behind or behind.startswith("|")
        if not fits:
            raise PatternError(_ANCHORED)
        return letter

    # ---- reading ----

    def _taken(self) -> str:
        if self._at == len(self._text):
            raise PatternError("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _next(self, expected: str) -> bool:
        """Goes over the text that is expected, where it is there."""
        there = self._text.startswith(expected, self._at)
        self._at += len(expected) if there else 0
        return there

    def _code_of(self, letter: str) -> int:
        code = ord(letter)
        if 0xD800 <= code <= 0xDFFF:
            raise PatternError("half of a surrogate pair is no character; write the character itself")
        return code

    def _is_count(self) -> bool:
        """Whether the brace that was just taken begins a count; else it is a plain character."""
        end = self._text.find("}", self._at)
        inner = self._text[self._at : end] if end > 0 else ""
        low, _, high = inner.partition(",")
        return bool(low) and all(digit in string.digits for digit in low + high) and len(inner) < 20

    def _count(self) -> str:
        end = self._text.index("}", self._at)
        low, comma, high = self._text[self._at : end].partition(",")
        self._at = end + 1
        if int(low) > _MAX_COUNT or (high and not int(low) <= int(high) <= _MAX_COUNT):
            raise PatternError(f"counts are {{m}}, {{m,}} or {{m,n}}, with m up to n and both up to {_MAX_COUNT}")
        return f"{{{int(low)}{comma}{int(high) if high else ''}}}"

    def _group(self) -> str:
        self._levels.append([""])
        if len(self._levels) > _MAX_DEPTH:
            raise PatternError(f"groups are nested more than {_MAX_DEPTH} deep")
        if self._next("?") and not self._next(":"):
            if not self._next("<") or self._text[self._at : self._at + 1] in ("=", "!"):
                raise PatternError("behind `(?` only `:` and `<name>` are supported; looking ahead and back are not")
            while self._taken() != ">":  # a name
                pass
        return "(?:"

    # ---- sets of characters ----

    def _class(self) -> str:
        negated = self._next("^")
        parts: list[str] = []
        some = ""
        while not self._next("]"):
            first = self._class_member()
            some = some or _some(first)
            if self._text.startswith("-", self._at) and not self._text.startswith("-]", self._at):
                self._at += 1
                last = self._class_member()
                if isinstance(first, str) or isinstance(last, str) or first > last:
                    raise PatternError("a range in `[]` is of one character to a later one")
                parts.append(f"{_written(first)}-{_written(last)}")
            else:
                parts.append(first if isinstance(first, str) else _written(first))
        self._example(" " if negated else some)
        if not parts:
            if not negated:
                raise PatternError("`[]` fits no character")
            return r"[\u{0}-\u{10ffff}]"
        return f"[{'^' if negated else ''}{''.join(parts)}]"

    def _class_member(self) -> int | str:
        """A character, or a set of them as Rust writes it within a class."""
        letter = self._taken()
        if letter != "\\":
            return self._code_of(letter)
        if self._next("b"):
            return 8
        if self._next("-"):
            return ord("-")
        return self._escaped()

    def _escaped(self) -> int | str:
        """What stands behind a backslash: a character, or a set of them as Rust writes it."""
        letter = self._taken()
        if letter.lower() in _KINDS:
            negated = "^" if letter.isupper() else ""
            return f"[{negated}{_KINDS[letter.lower()]}]"
        if letter in "pP":
            return self._property(letter)
        if letter == "0" and self._text[self._at : self._at + 1].isdigit():
            raise PatternError("`\\0` with more digits is not supported; write `\\x`")
        if letter in _CONTROLS:
            return _CONTROLS[letter]
        if letter == "c":
            control = self._taken()
            if control not in string.ascii_letters:
                raise PatternError("behind `\\c` stands a letter")
            return ord(control) % 32
        if letter == "x":
            return self._hexadecimal("x", 2)
        if letter == "u":
            return self._unicode()
        if letter.isalnum():
            raise PatternError(f"`\\{letter}` is not supported")
        return self._code_of(letter)

    def _property(self, letter: str) -> str:
        end = self._text.find("}", self._at)
        name = self._text[self._at : end] if self._next("{") and end > 0 else ""
        plain = name.replace("=", "").replace("_", "")
        if not plain.isascii() or not plain.isalnum():
            raise PatternError(f"`\\{letter}` is written \\{letter}{{Name}}")
        self._at = end + 1
        return f"\\{letter}{{{name}}}"

    def _unicode(self) -> int:
        if self._next("{"):
            end = self._text.find("}", self._at)
            digits = self._text[self._at : end] if end > 0 else ""
            if not 0 < len(digits) <= 6 or not all(digit in string.hexdigits for digit in digits):
                raise PatternError("`\\u{` needs up to 6 hexadecimal digits and `}`")
            self._at = end + 1
            code = int(digits, 16)
            if code > 0x10FFFF:
                raise PatternError("`\\u{` names no character")
            return self._code_of(chr(code))
        code = self._hexadecimal("u", 4)
        if 0xD800 <= code < 0xDC00 and self._next("\\u"):
            low = self._hexadecimal("u", 4)
            if 0xDC00 <= low < 0xE000:
                return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        return self._code_of(chr(code))

    def _hexadecimal(self, letter: str, length: int) -> int:
        digits = self._text[self._at : self._at + length]
        if len(digits) < length or not all(digit in string.hexdigits for digit in digits):
            raise PatternError(f"`\\{letter}` needs {length} hexadecimal digits")
        self._at += length
        return int(digits, 16)
