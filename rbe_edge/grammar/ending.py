"""The way from a place in a grammar to an end: which bytes complete an answer whose tokens run out.

llguidance says which bytes fit next, not how far an end is. So the end is searched: first by always taking the byte
that most likely leads there, then, where that ran on, by best first search. Both are bounded by the masks that they
ask for, not by a clock, so the same text gets the same end everywhere.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbe_edge.grammar.place import Place

if TYPE_CHECKING:
    from llguidance import LLMatcher

_SHORT, _LONG = 300, 4000  # bytes of an end that is tried by the likeliest byte
_MOST_NODES = 1500  # of the search; a node takes some 30 us
_BLANKS = b" \t\n\r"
_BEHIND_NUMBERS = np.array([ord(sign) for sign in ",]}"])
_MANY = 40  # bytes of which one is as good as another
_OTHERS = 2  # rank of bytes that are no better than another


def _ranks(*groups: bytes) -> npt.NDArray[np.int16]:
    """The byte to take first has the highest rank; those of no group come last but for blanks."""
    ranks = np.full(256, _OTHERS, dtype=np.int16)
    ranks[list(_BLANKS)] = 1
    for place, byte in enumerate(dict.fromkeys(b"".join(groups))):
        ranks[byte] = 1000 - place
    return ranks


_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Where a text must have some length, blanks fill it in few tokens.
_MARKS = bytes(byte for byte in range(0x21, 0x7F) if byte not in b'"\\')
_IN_STRING = _ranks(b'"', b" ", _LETTERS, b"0123456789-_.:/@", _MARKS, b"\\")
_OUTSIDE = _ranks(b"}],:", b"0123456789", b'"', b"ntf", _LETTERS, b"[{-.")


class Ending:
    """Searches from where a matcher of single bytes is, and leaves it there. One thread at a time."""

    def __init__(self, matcher: LLMatcher, examples: Sequence[bytes]) -> None:
        """examples: what texts may need for no reason that the masks show, as where a pattern must be found."""
        self._matcher, self._examples = matcher, examples
        self.masks = 0  # asked for so far, some 30 us each

    def find(self, place: Place) -> bytes | None:
        """Bytes that complete the text, few of them; None where none were found. place: where the matcher is."""
        found = self._straight(place, _SHORT)
        if found is None:
            found = self.shortest(place)
        return self._straight(place, _LONG) if found is None else found

    def shortest(self, place: Place) -> bytes | None:
        """The fewest bytes, as far as the bounds allow."""
        matcher, start = self._matcher, place
        queue: list[tuple[int, int, int, bytes]] = [(start.missing, 0, 0, b"")]
        seen: set[tuple[int, bytes, bool, int, int]] = set()
        at, count = b"", 0
        for _ in range(_MOST_NODES):
            if not queue:
                break
            path = heapq.heappop(queue)[3]
            at = self._move(at, path)
            if matcher.is_accepting():
                self._move(at, b"")
                return path
            mask = matcher.compute_bitmask()[:32]
            self.masks += 1
            here = start.copy().go(path)
            following = self._worthwhile(mask, here)
            if len(following) > 1:  # others of this length at which the same may follow most likely are the same place
                key = (len(path), mask, here.in_string, here.depth, here.commas)
                if key in seen:
                    continue
                seen.add(key)
            for more in following:
                count += 1
                then = path + more
                missing = here.copy().go(more).missing
                heapq.heappush(queue, (len(then) + missing, -len(then), count, then))
        self._move(at, b"")
        return None

    def _straight(self, place: Place, limit: int) -> bytes | None:
        matcher, here, text = self._matcher, place.copy(), bytearray()
        while not matcher.is_accepting():
            ranks = _OUTSIDE if not here.in_string or here.escaped else _IN_STRING
            scores = _bits(matcher.compute_bitmask()[:32]) * ranks
            self.masks += 1
            byte = int(scores.argmax())
            if here.digits and chr(byte).isdigit():
                byte = self._last_digit(scores) or byte
            if len(text) == limit or scores[byte] == 0 or not matcher.consume_token(byte):
                break
            text.append(byte)
            here.go(text[-1:])
        found = bytes(text) if matcher.is_accepting() else None
        matcher.rollback(len(text))
        return found

    def _last_digit(self, scores: npt.NDArray[np.int16]) -> int | None:
        """The digit behind which the number may end, where one digit is enough: most multiples are not reached by the
        digit that ranks first."""
        for digit in b"0123456789":
            if scores[digit] and self._matcher.consume_token(digit):
                self.masks += 1
                ends = (_bits(self._matcher.compute_bitmask()[:32])[_BEHIND_NUMBERS]).any()
                self._matcher.rollback(1)
                if ends:
                    return digit
        return None

    def _move(self, path: bytes, to: bytes) -> bytes:
        """Takes the matcher from one path to another."""
        common = next((i for i, (a, b) in enumerate(zip(path, to, strict=False)) if a != b), min(len(path), len(to)))
        self._matcher.rollback(len(path) - common)
        if common < len(to):
            self._matcher.consume_tokens(list(to[common:]))
        return to

    def _worthwhile(self, mask: bytes, here: Place) -> list[bytes]:
        """What may lead to an end soon, the likeliest first: a byte each, or an example."""
        in_string = here.in_string and not here.escaped
        ranks = _IN_STRING if in_string else _OUTSIDE
        scores = _bits(mask) * ranks
        best = int(scores.argmax())
        if (in_string and best == ord('"')) or scores[best] <= _OTHERS:
            return [bytes([best])] if scores[best] else []
        found = np.flatnonzero(scores > _OTHERS)
        ordered = [bytes([byte]) for byte in found[np.argsort(-scores[found], kind="stable")].tolist()]
        if len(ordered) <= _MANY:
            return ordered
        fitting = (text for text in self._examples if self._matcher.validate_tokens(list(text)) == len(text))
        return [*(fitting if in_string else ()), *ordered[:2]]


def _bits(mask: bytes) -> npt.NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little")
