"""Where a model goes: what a person types for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rbe_edge.errors import OptionError

_HOME = "~/rbe"
_ANDROID = "/data/local/tmp/rbe"  # where `adb shell` may write, and run what it wrote, on every phone


@dataclass(frozen=True)
class Address:
    """host: `user@host` as ssh takes it, "" for adb. directory: on the device; `~/...` or relative: below its home."""

    host: str
    directory: str

    @property
    def is_adb(self) -> bool:
        return not self.host


def parse(text: str) -> Address:
    """`[user@]host[:dir]`, with an IPv6 address in brackets, or `adb[:dir]`. Raises OptionError."""
    match = re.fullmatch(r"((?:[^@\s:\[\]]+@)?)(\[[0-9A-Fa-f:.%\w]+\]|[^@\s:\[\]]+)(?::(.*))?", text, re.DOTALL)
    if match is None or text.startswith("-") or match[2].startswith("-"):
        raise OptionError(f"{text!r} is no device; give user@host, user@host:directory, or adb")
    user, host, directory = match[1], match[2].strip("[]"), match[3] or ""
    if re.search(r"[\x00-\x1f\x7f]", directory):
        raise OptionError("the directory holds control characters; give another one")
    if directory.startswith(":"):
        raise OptionError(f"{text!r} is no device; an IPv6 address stands in brackets: user@[fe80::1]:directory")
    is_adb = not user and host == "adb"
    directory = (directory.rstrip("/") or ("/" if directory else "")) or (_ANDROID if is_adb else _HOME)
    if is_adb and not directory.startswith("/"):
        raise OptionError(f"{text}: a phone has no home directory; give the whole path, such as adb:{_ANDROID}")
    return Address("" if is_adb else user + host, directory)
