"""Changes bytes by chance, the same for the same seed: what stands in for a fuzzer in the tests."""

from __future__ import annotations

import random

_NUMBERS = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\0\0\0\0\x80",
    b'"',
    b"{",
    b"}",
    b"\n",
)


def changed(data: bytes, seed: int) -> bytes:
    """One to four changes: cut, a flipped bit, a number or sign written over, a piece moved or doubled."""
    choose = random.Random(seed)
    found = bytearray(data)
    for _ in range(choose.choice([1, 1, 2, 4])):
        at = choose.randrange(len(found) + 1)
        kind = choose.randrange(5)
        if kind == 0 and choose.random() < 0.3:
            del found[at:]
        elif kind == 1 and at < len(found):
            found[at] ^= 1 << choose.randrange(8)
        elif kind == 2:
            number = choose.choice(_NUMBERS)
            found[at : at + len(number)] = number
        elif kind == 3:
            start = choose.randrange(len(found) + 1)
            found[at:at] = found[start : start + choose.randrange(64)]
        else:
            del found[at : at + choose.randrange(16)]
    return bytes(found)
