"""Text files that a message brings along: `@path` in it, or a path that was dropped onto it.

The model reads the message, and behind it the text of each file after an empty line, as `rbe run -p` puts what is piped
into it.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rbe_edge.errors import OptionError
from rbe_edge.store.stored_message import Attached, StoredMessage
from rbe_edge.terminal_text import one_line, printable, size

_BETWEEN = "\n\n"
_MENTION = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|(\S+))')
_BEING_WRITTEN = re.compile(r'(?<!\S)@(?:"([^"\n]*)|([^\s"]*))$')
# A path beyond doubt where there is no such file. Code that is pasted is full of @app.get("/") and @scope/name.
_MEANS_A_FILE = re.compile(
    r"(~|\.{1,2})?/[\w./~+-]+"
    r"|[\w./~+-]+\.(txt|md|rst|tex|csv|tsv|json|jsonl|toml|yaml|yml|ini|cfg|log|xml|html|css|js|ts|py|c|h|cpp|rs|go|java"
    r"|sh|pdf|docx?|xlsx?|png|jpe?g)",
    re.IGNORECASE,
)
_ENDINGS = ".,;:!?)'\""
_MOST_LISTED = 5000  # of a directory


@dataclass(frozen=True)
class Written:
    """A message. said: by the person. content: what the model reads, with the files' texts behind it."""

    said: str
    content: str
    attached: tuple[Attached, ...] = ()


@dataclass(frozen=True)
class Offer:
    """A path that may be meant. text: what takes the place of the last `replaced` characters. what: it is."""

    text: str
    replaced: int
    what: str


def written(text: str, directory: Path, most: int) -> Written:
    """The message with the files that it mentions, from the disk. directory: where relative paths begin. most:
    characters in all.

    Raises OptionError for a file that is missing, no text, or too large; a word behind an @ that need not mean a
    file stays a word."""
    parts, attached = [text], []
    for path in _mentioned(text, directory):
        content = _text_of(path, most)
        parts.append(content)
        attached.append(Attached(path.name, len(content)))
    whole = _BETWEEN.join(parts)
    if attached and len(whole) > most:
        raise OptionError(f"the message has {len(whole):,} characters with its files, and at most {most:,} can be said")
    return Written(text, whole, tuple(attached))


def parts(message: StoredMessage) -> Written:
    """A message of the store, taken apart again."""
    said = message.content
    for attached in reversed(message.attached):
        said = said[: max(0, len(said) - attached.n_characters - len(_BETWEEN))]
    return Written(said, message.content, message.attached)


def chips(text: str, directory: Path) -> list[str]:
    """Name and size of each file that is mentioned and there, for people."""
    found = []
    for path in _mentioned(text, directory, missing=False):
        try:
            found.append(f"{one_line(path.name, 30)} {size(path.stat().st_size)}")
        except OSError:
            continue
    return found


def offers(text: str, directory: Path) -> list[Offer]:
    """Paths that the `@` before the cursor may become. text: before the cursor."""
    begun = _BEING_WRITTEN.search(text)
    if begun is None:
        return []
    quoted, bare = begun.groups()
    typed = quoted if quoted is not None else bare
    folder, _, name = typed.rpartition("/")
    shown = f"{folder}/" if "/" in typed else ""
    found = []
    for entry in _entries(_place(shown, directory)):
        if not _can_be_written(entry.name):
            continue
        if entry.name.lower().startswith(name.lower()) and (name.startswith(".") or not entry.name.startswith(".")):
            is_folder = entry.is_dir()
            path = f"{shown}{entry.name}" + "/" * is_folder
            what = "directory" if is_folder else _size_of(entry)
            found.append(Offer(_mention(path) if not is_folder else _open_mention(path), len(begun[0]), what))
    return sorted(found, key=lambda offer: (offer.what == "directory", offer.text.lower()))


def dropped(text: str) -> str:
    """What a terminal pastes when files are dropped onto it, as mentions of them; "" for all else."""
    line = text.strip()
    if not line or "\n" in line or len(line) > 8192:
        return ""
    try:
        words = [line] if Path(line).is_absolute() and Path(line).is_file() else shlex.split(line)
        paths = [unquote(urlsplit(word).path) if word.startswith("file://") else word for word in words]
        real = [Path(path).expanduser() for path in paths]
        if not paths or not all(path.is_absolute() and path.is_file() for path in real):
            return ""
    except (ValueError, OSError, RuntimeError):  # no such quotation, name or home
        return ""
    if not all(map(_can_be_written, paths)):
        return ""
    return "".join(_mention(path) for path in paths)


def _can_be_written(name: str) -> bool:
    """A name may hold what would act on the terminal, or end the quotation."""
    return name == printable(name) and '"' not in name and "\n" not in name and name.isprintable()


def _mention(path: str) -> str:
    return f'@"{path}" ' if re.search(r"\s", path) else f"@{path} "


def _open_mention(path: str) -> str:
    """Of a directory, whose name goes on."""
    return f'@"{path}' if re.search(r"\s", path) else f"@{path}"


def _place(path: str, directory: Path) -> Path:
    try:
        return directory / Path(path).expanduser()
    except RuntimeError:  # no such home
        return directory / path


def _mentioned(text: str, directory: Path, *, missing: bool = True) -> list[Path]:
    """Raises OptionError for what can only mean a file and is not there, unless not `missing`."""
    found: list[Path] = []
    for quoted, bare in _MENTION.findall(text):
        named = quoted or bare
        tries = [name for name in dict.fromkeys((named, named.rstrip(_ENDINGS))) if name]
        meant = bool(quoted) or any(_MEANS_A_FILE.fullmatch(name) for name in tries)
        path = next((path for name in tries if (path := _place(name, directory)).exists()), None)
        if path is None:
            if missing and meant:
                raise OptionError(f"there is no file {one_line(named, 60)}; a space behind the @ makes it a mere word")
        elif (meant or named.endswith("/") or path.is_file()) and path not in found:
            found.append(path)
    return found


def _text_of(path: Path, most: int) -> str:
    name = one_line(path.name, 60)
    try:
        if not path.is_file():
            raise OptionError(f"{name} is no file that can be attached")
        n_bytes = path.stat().st_size
        if n_bytes > 4 * most:  # UTF-8 has at most 4 bytes a character
            raise OptionError(f"{name} is too large: {size(n_bytes)}, and a message has at most {most:,} characters")
        data = path.read_bytes()
    except OSError as error:
        raise OptionError(f"{name} cannot be read: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise OptionError(f"{name} is no text in UTF-8, so it cannot be attached")
    if not text.strip():
        raise OptionError(f"{name} is empty")
    return text.removesuffix("\n")


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return [entry for _, entry in zip(range(_MOST_LISTED), entries, strict=False)]
    except OSError:
        return []


def _size_of(entry: os.DirEntry[str]) -> str:
    try:
        return size(entry.stat().st_size)
    except OSError:
        return ""
