"""Text that is safe to show in a terminal, and sizes for people."""

from __future__ import annotations

# C0 without tab and newline, DEL and C1: a terminal obeys them (colours, cursor, title, clipboard), and a model or a
# file from elsewhere must not command the terminal. Bidirectional overrides make text read as what it is not.
_CONTROLS = dict.fromkeys(
    [code for code in range(0x20) if code not in (0x09, 0x0A)]
    + [*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)


def printable(text: str) -> str:
    """The text without control characters, tab and newline excepted."""
    return text.translate(_CONTROLS)


def one_line(text: str, width: int) -> str:
    """The text's words on one line of at most `width` characters, safe to show."""
    line = " ".join(printable(text[: 4 * width + 256]).split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def size(n_bytes: int) -> str:
    """1536 -> '1.5 KiB'."""
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    value = n_bytes / 1024
    for unit in ("KiB", "MiB"):
        if value < 1024:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def duration(seconds: float) -> str:
    """Of what is foreseen, in two digits or so: "42 s", "7 min", "2 h 10 min"."""
    if seconds < 99.5:
        return f"{max(round(seconds), 0)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
