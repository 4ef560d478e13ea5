"""How large `rbe pack` makes a file: --bits, --like and --size."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction

from rbe_edge.cli.output import note

DEFAULT_BITS = 4.0

_UNITS = {"K": 1, "M": 2, "G": 3}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s?([KMG])(i?)B", re.IGNORECASE)


def add_size_arguments(parser: argparse.ArgumentParser) -> None:
    """Three ways to say it, of which one may be taken."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--bits",
        metavar="B",
        type=float,
        help="bits per weight of the whole file, 2 to 8 in any fraction (4); 16 or 32 store all matrices as they are",
    )
    group.add_argument(
        "--like",
        metavar="TYPE",
        help="the size at which as much is lost as by a type of llama.cpp, such as Q4_K_M (docs/quality.md)",
    )
    group.add_argument("--size", metavar="SIZE", type=file_size, help="of the whole file, such as 70MB, 70MiB or 1.2GB")


def file_size(text: str) -> int:
    """'70MB' -> 70 x 10^6, '70MiB' -> 70 x 2^20 bytes, rounded down. For argparse."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no size of a file; give such as 70MB, 70MiB or 1.2GB")
    return int(Fraction(match[1]) * (1024 if match[3] else 1000) ** _UNITS[match[2].upper()])


def bits_of(arguments: argparse.Namespace) -> float:
    """Bits per weight of what was asked for. Raises OptionError for a type or a size that there is not."""
    if arguments.like is not None:
        from rbe_edge.packing.likeness import like

        found = like(arguments.like)
        note(
            f"like {arguments.like.upper()}: {found.bits:g} bits per weight lose as much as its {found.theirs:g} "
            f"(measured on {found.model}, {found.date})"
        )
        return found.bits
    if arguments.size is not None:
        from rbe_edge.packing.outline import size_range

        known = size_range(arguments.source, arguments.tokenizer, arguments.revision, arguments.nested)
        return known.bits_of(arguments.size)
    return DEFAULT_BITS if arguments.bits is None else float(arguments.bits)
