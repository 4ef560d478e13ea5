"""Reads text files, in UTF-8, that the user names."""

from __future__ import annotations

from pathlib import Path

from rbe_edge.errors import OptionError, RbeError


def read_text(path: Path, what: str = "text", error: type[RbeError] = OptionError) -> str:
    """The whole file. what: what messages call its content. Raises `error` where it is not there, cannot be read or is
    no UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise error(f"{path} is no UTF-8 text; give another {what}") from None
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror}); give a {what} in UTF-8") from None
