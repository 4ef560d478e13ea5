"""An address as a QR code for a terminal, by segno."""

from __future__ import annotations

import sys

from rbe_edge.errors import MissingExtra, OptionError

_BLACK_ON_WHITE, _PLAIN = "\x1b[30;107m", "\x1b[0m"
_HALVES = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}  # by the modules above and below
_BORDER = 4  # modules of white around it, as ISO/IEC 18004 wants


def check_qr() -> None:
    """Raises MissingExtra without segno, and OptionError where standard output cannot show a code."""
    try:
        import segno  # noqa: F401
    except ImportError:
        raise MissingExtra("--qr needs segno; install it: pip install 'rbe-edge[qr]'") from None
    try:
        "".join(_HALVES.values()).encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        raise OptionError("--qr needs a terminal that shows UTF-8; leave it out here") from None


def qr_code(text: str, coloured: bool) -> str:
    """The code in lines of block characters, two rows of modules to a line. coloured: in black on white, whatever the
    colours of the terminal are."""
    import segno

    rows = [list(row) for row in segno.make(text, error="m", micro=False).matrix_iter(border=_BORDER)]
    if len(rows) % 2:
        rows.append([0] * len(rows[0]))
    before, after = (_BLACK_ON_WHITE, _PLAIN) if coloured else ("", "")
    lines = []
    for above, below in zip(rows[::2], rows[1::2], strict=True):
        halves = "".join(_HALVES[bool(one), bool(other)] for one, other in zip(above, below, strict=True))
        lines.append(f"{before}{halves}{after}")
    return "\n".join(lines)
