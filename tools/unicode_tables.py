"""Writes native/src/text/tokenizer/unicode_tables.c: classes of characters, composition, lower case; compact tables.

    python tools/unicode_tables.py native/src/text/tokenizer/unicode_tables.c

The data is Python's `unicodedata`, or the package `unicodedata2`, which comes for every Unicode version, where it is
installed. The tables are committed for Unicode 16.0, the version inside tiktoken 0.14 and tokenizers 0.23: a
reference tokenizer with another version splits newly assigned letters differently.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

try:
    import unicodedata2 as unicodedata
except ImportError:
    import unicodedata

BLOCK = 128
CODE_POINTS = 0x110000
HANGUL = range(0xAC00, 0xD7A4)

# The order of enum rbe__class in unicode.h.
OTHER, LETTER, NUMBER, PUNCTUATION, SYMBOL, MARK, SPACE, UPPER, LOWER = range(9)
CLASS_OF_CATEGORY = {"L": LETTER, "N": NUMBER, "P": PUNCTUATION, "S": SYMBOL, "M": MARK}
CASED = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER}
# The property White_Space (Unicode Standard Annex 44), which is what \s means in the regular expression engines of
# tiktoken (Rust) and tokenizers (Oniguruma). unicodedata does not carry it; it has not changed since Unicode 6.3.
WHITE_SPACE = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F}
WHITE_SPACE |= {0x205F, 0x3000}


def class_of(code: int) -> int:
    """The rbe__class of a code point."""
    if code in WHITE_SPACE:
        return SPACE
    category = unicodedata.category(chr(code))
    return CASED.get(category) or CLASS_OF_CATEGORY.get(category[0], OTHER)


# Symbols with the property Other_Alphabetic (letters in a circle or square), and Join_Control (PropList.txt).
# unicodedata does not carry them; they have not changed since Unicode 6.1.
OTHER_ALPHABETIC = {
    *range(0x24B6, 0x24EA),
    *range(0x1F130, 0x1F14A),
    *range(0x1F150, 0x1F16A),
    *range(0x1F170, 0x1F18A),
}
JOIN_CONTROL = {0x200C, 0x200D}


# Lower case of the letters of Unicode 14 to 16 (UnicodeData.txt): Python's strings have that of Python's own version.
NEWER_LOWER_CASE = {
    0x2C2F: 0x2C5F,
    0xA7C0: 0xA7C1,
    0xA7D0: 0xA7D1,
    0xA7D6: 0xA7D7,
    0xA7D8: 0xA7D9,
    **{code: code + 0x27 for code in range(0x10570, 0x10596) if code not in (0x1057B, 0x1058B, 0x10593)},
    0x1C89: 0x1C8A,
    0xA7CB: 0x0264,
    0xA7CC: 0xA7CD,
    0xA7DA: 0xA7DB,
    0xA7DC: 0x019B,
    **{code: code + 0x20 for code in range(0x10D50, 0x10D66)},
}


def is_word(code: int) -> bool:
    """Whether \\w matches a code point that is neither a letter nor a mark (Unicode Technical Standard 18, annex C)."""
    return unicodedata.category(chr(code)) in ("Nd", "Nl", "Pc") or code in OTHER_ALPHABETIC | JOIN_CONTROL


def canonical(code: int) -> list[int]:
    """The one-step canonical decomposition: one or two code points, or none."""
    text = unicodedata.decomposition(chr(code))
    return [] if not text or text.startswith("<") else [int(part, 16) for part in text.split()]


def two_levels(values: list[int]) -> tuple[list[int], list[int]]:
    """Block numbers, and the distinct blocks one after the other."""
    index: list[int] = []
    blocks: dict[tuple[int, ...], int] = {}
    for start in range(0, len(values), BLOCK):
        block = tuple(values[start : start + BLOCK])
        index.append(blocks.setdefault(block, len(blocks)))
    return index, [value for block in blocks for value in block]


def ranges(codes: Iterable[int]) -> list[tuple[int, int]]:
    """Sorted code points as inclusive ranges."""
    result: list[tuple[int, int]] = []
    for code in codes:
        if result and result[-1][1] == code - 1:
            result[-1] = (result[-1][0], code)
        else:
            result.append((code, code))
    return result


def array(declaration: str, values: Iterable[int | str], per_line: int) -> str:
    """A C array definition."""
    texts = [str(value) for value in values]
    lines = [", ".join(texts[start : start + per_line]) for start in range(0, len(texts), per_line)]
    body = ",\n    ".join(lines)
    return f"{declaration} = {{\n    {body}\n}};\n"


def class_tables() -> list[str]:
    index, values = two_levels([class_of(code) for code in range(CODE_POINTS)])
    if max(index) > 255:
        raise SystemExit("more than 256 distinct blocks: the block index needs 16 bits")
    packed = [values[i] | values[i + 1] << 4 for i in range(0, len(values), 2)]
    return [
        "/* Block of 128 code points -> number of its block of classes. */",
        array(f"const uint8_t rbe__class_index[{len(index)}]", index, 32),
        "/* Two classes to a byte (enum rbe__class), the even code point in the low half. */",
        array(f"const uint8_t rbe__class_blocks[{len(packed)}]", packed, 32),
    ]


def word_table() -> list[str]:
    words = ranges(code for code in range(CODE_POINTS) if is_word(code))
    return [
        "/* Code points of words that are neither letters nor marks: {first, last}. */",
        f"const uint32_t rbe__n_words = {len(words)};",
        array(f"const uint32_t rbe__words[{len(words)}][2]", (f"{{{a:#x}, {b:#x}}}" for a, b in words), 6),
    ]


def invisible_tables() -> list[str]:
    """What BERT's tokenizers take out of a text: marks without width of their own, and control characters."""
    categories = [(code, unicodedata.category(chr(code))) for code in range(CODE_POINTS)]
    nonspacing = ranges(code for code, category in categories if category == "Mn")
    controls = ranges(code for code, category in categories if category in ("Cc", "Cf", "Co"))
    return [
        "/* Nonspacing marks (Mn): {first, last}. */",
        f"const uint32_t rbe__n_nonspacing = {len(nonspacing)};",
        array(
            f"const uint32_t rbe__nonspacing[{len(nonspacing)}][2]", (f"{{{a:#x}, {b:#x}}}" for a, b in nonspacing), 6
        ),
        "/* Control, format and private-use characters (Cc, Cf, Co): {first, last}. */",
        f"const uint32_t rbe__n_controls = {len(controls)};",
        array(f"const uint32_t rbe__controls[{len(controls)}][2]", (f"{{{a:#x}, {b:#x}}}" for a, b in controls), 6),
    ]


def lower_table() -> list[str]:
    """Simple lower case: runs of every or every second code point with one difference. U+0130 alone becomes two
    characters; the code knows it."""
    runs: list[list[int]] = []  # first, last, difference modulo 2^32, step
    for code in range(CODE_POINTS):
        lower = lower_case(code)
        if lower == code:
            continue
        difference = (lower - code) % (1 << 32)
        last = runs[-1] if runs else None
        if last is not None and last[2] == difference and code - last[1] == (last[3] or code - last[1]) <= 2:
            last[1], last[3] = code, code - last[1]
        else:
            runs.append([code, code, difference, 0])
    rows = (f"{{{first:#x}, {last:#x}, {difference:#x}, {step or 1}}}" for first, last, difference, step in runs)
    return [
        "/* Lower case: {first, last, what is added modulo 2^32, step}. */",
        f"const uint32_t rbe__n_lower = {len(runs)};",
        array(f"const uint32_t rbe__lower[{len(runs)}][4]", rows, 4),
    ]


def lower_case(code: int) -> int:
    """The lower case of a code point, or itself. unicodedata2 has none, so Python's strings count, and the list above
    for letters that Python's version of Unicode lacks."""
    lower = chr(code).lower()
    if unicodedata.category(chr(code)) == "Cn" or len(lower) > 1:
        return code
    return NEWER_LOWER_CASE.get(code, ord(lower))


def composition_tables() -> list[str]:
    every = [code for code in range(CODE_POINTS) if not 0xD800 <= code < 0xE000 and code not in HANGUL]
    singles: list[tuple[int, int]] = []
    pairs: list[tuple[int, int, int]] = []
    for code in every:
        parts = canonical(code)
        if len(parts) == 1:
            singles.append((code, parts[0]))
        elif parts:
            pairs.append((code, parts[0], parts[1]))
    # A pair composes again unless it is excluded, which normalize() knows.
    composed = [
        (first, second, at)
        for at, (code, first, second) in enumerate(pairs)
        if unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(code)
    ]
    marks = [(code, unicodedata.combining(chr(code))) for code in every]
    classes: list[tuple[int, int, int]] = []
    for code, combining in marks:
        if combining and classes and classes[-1][1] == code - 1 and classes[-1][2] == combining:
            classes[-1] = (classes[-1][0], code, combining)
        elif combining:
            classes.append((code, code, combining))
    seconds = {second for _, second, _ in composed} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    unstable = [
        code
        for code, combining in marks
        if combining or code in seconds or unicodedata.normalize("NFC", chr(code)) != chr(code)
    ]
    return [
        "/* Canonical decompositions into one code point: {from, to}. */",
        f"const uint32_t rbe__n_singles = {len(singles)};",
        array(f"const uint32_t rbe__singles[{len(singles)}][2]", (f"{{{a:#x}, {b:#x}}}" for a, b in singles), 6),
        "/* Into two: {from, first, second}. */",
        f"const uint32_t rbe__n_pairs = {len(pairs)};",
        array(f"const uint32_t rbe__pairs[{len(pairs)}][3]", (f"{{{a:#x}, {b:#x}, {c:#x}}}" for a, b, c in pairs), 5),
        "/* Indices of the pairs that compose, by {first, second}. */",
        f"const uint32_t rbe__n_composed = {len(composed)};",
        array(f"const uint16_t rbe__composed[{len(composed)}]", (at for _, _, at in sorted(composed)), 20),
        "/* Canonical combining classes other than 0: {first, last, class}. */",
        f"const uint32_t rbe__n_combining = {len(classes)};",
        array(
            f"const uint32_t rbe__combining[{len(classes)}][3]", (f"{{{a:#x}, {b:#x}, {c}}}" for a, b, c in classes), 5
        ),
        "/* Code points that may change in NFC or change their neighbours: {first, last}. */",
        f"const uint32_t rbe__n_unstable = {len(ranges(unstable))};",
        array(
            f"const uint32_t rbe__unstable[{len(ranges(unstable))}][2]",
            (f"{{{a:#x}, {b:#x}}}" for a, b in ranges(unstable)),
            6,
        ),
    ]


def source() -> str:
    """The whole C file."""
    head = [
        f"/* Written by tools/unicode_tables.py from Unicode {unicodedata.unidata_version}; do not edit. */",
        '#include "text/tokenizer/unicode_tables.h"\n',
    ]
    tables = [*class_tables(), *word_table(), *composition_tables(), *invisible_tables(), *lower_table()]
    return "\n".join([*head, *tables])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    arguments.output.write_text(source(), encoding="utf-8")
    print(f"{arguments.output}: Unicode {unicodedata.unidata_version}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
