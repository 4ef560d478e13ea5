"""A conversation as a file for people (Markdown) or for programs (JSON)."""

from __future__ import annotations

import itertools
import json
import os
import re
from datetime import datetime, timezone
from pathlib import Path

from rbe_edge.files.new_file import write_file
from rbe_edge.store.conversations import StoredConversation, StoreError
from rbe_edge.terminal_text import one_line, printable

_NAMES = {"user": "You", "assistant": "Model"}


def suggested_name(title: str) -> str:
    """A file name without an ending, made of the title's words."""
    words = re.findall(r"\w+", printable(title).lower())
    return "-".join(words)[:50].strip("-") or "conversation"


def suggested_path(title: str, directory: Path) -> Path:
    """A Markdown file in the directory that is not there yet, since export() replaces none."""
    name = suggested_name(title)
    ends = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    return next(path for end in ends if not os.path.lexists(path := directory / f"{name}{end}.md"))


def to_markdown(conversation: StoredConversation) -> str:
    """Without control characters, so that it is safe to `cat`."""
    parts = [f"# {one_line(conversation.title, 200)}", f"Model: {one_line(conversation.model or 'the demo', 500)}"]
    if conversation.system:
        parts += ["## System", printable(conversation.system).strip()]
    for message in conversation.messages:
        parts += [f"## {_NAMES[message.role]}", printable(message.content).strip()]
    return "\n\n".join(parts) + "\n"


def to_json(conversation: StoredConversation) -> str:
    """One object; `messages` is what chat APIs take, the system prompt first. Times are ISO 8601, UTC."""
    messages = [{"role": message.role, "content": message.content} for message in conversation.messages]
    if conversation.system:
        messages.insert(0, {"role": "system", "content": conversation.system})
    whole = {
        "title": conversation.title,
        "model": conversation.model,
        "created": _iso(conversation.created),
        "updated": _iso(conversation.updated),
        "messages": messages,
    }
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


def export(conversation: StoredConversation, path: Path) -> None:
    """Writes a new file, for its owner alone: JSON where the name ends in .json, Markdown where it ends in .md. It
    appears whole.

    Raises StoreError for another ending, a file that exists, or one that cannot be written."""
    kinds = {".md": to_markdown, ".json": to_json}
    make = kinds.get(path.suffix.lower())
    if make is None:
        raise StoreError(f"{path}: the name must end in .md or .json, which says what to write")
    text = make(conversation).encode("utf-8", "replace")
    write_file(path, text, StoreError, private=True)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
