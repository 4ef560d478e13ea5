"""Export to Markdown and JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rbe_edge.store.conversations import StoredConversation, StoredMessage, StoreError
from rbe_edge.store.export import export, suggested_name, suggested_path

TALK = StoredConversation(
    1,
    "A \x1b]0;title\x07 <b>",
    "",
    "Be brief.",
    0.0,
    60.0,
    (StoredMessage("user", "Hello\x1b[2J!"), StoredMessage("assistant", "**Hi**")),
)


def test_markdown(tmp_path: Path) -> None:
    export(TALK, tmp_path / "talk.md")
    text = (tmp_path / "talk.md").read_text(encoding="utf-8")
    assert text.startswith("# A ]0;title <b>\n") and "## You\n\nHello[2J!\n\n## Model\n\n**Hi**\n" in text
    assert "## System\n\nBe brief." in text and "\x1b" not in text and "\x07" not in text


def test_json(tmp_path: Path) -> None:
    export(TALK, tmp_path / "talk.JSON")
    whole = json.loads((tmp_path / "talk.JSON").read_text(encoding="utf-8"))
    assert [message["role"] for message in whole["messages"]] == ["system", "user", "assistant"]
    assert whole["messages"][1]["content"] == "Hello\x1b[2J!"  # programs get what was said
    assert whole["created"] == "1970-01-01T00:00:00+00:00" and whole["updated"] == "1970-01-01T00:01:00+00:00"


def test_refusals(tmp_path: Path) -> None:
    (tmp_path / "talk.md").write_text("mine")
    for name, why in [
        ("talk.md", "exists"),
        ("talk.txt", "must end in"),
        ("nowhere/talk.md", "does not exist; make it first"),
    ]:
        with pytest.raises(StoreError, match=why):
            export(TALK, tmp_path / name)
    assert (tmp_path / "talk.md").read_text() == "mine" and os.listdir(tmp_path) == ["talk.md"]


def test_a_full_disk_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device\); make room"):
        export(TALK, tmp_path / "talk.md")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("title", "name"),
    [("Tell me: a story!", "tell-me-a-story"), ("../../etc/passwd", "etc-passwd"), ("\x1b\x07", "conversation"),
     ("x" * 300, "x" * 50)],
)  # fmt: skip
def test_suggested_names_are_plain(title: str, name: str) -> None:
    assert suggested_name(title) == name


def test_a_name_that_is_taken_is_not_suggested(tmp_path: Path) -> None:
    for name in ("talk.md", "talk-2.md", "talk-3.md"):
        assert suggested_path("Talk", tmp_path) == tmp_path / name
        (tmp_path / name).symlink_to("nothing")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_for_its_owner(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        export(TALK, tmp_path / "talk.md")
    finally:
        os.umask(before)
    assert (tmp_path / "talk.md").stat().st_mode & 0o777 == 0o600


def test_special_files_and_links(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "link.md").symlink_to("mine.txt")
    (tmp_path / "dangling.md").symlink_to("nothing")
    (tmp_path / ".planted.md.part").symlink_to("mine.txt")
    there = sorted(os.listdir(tmp_path))
    for name, why in {
        "pipe.md": "device or a pipe", "link.md": "exists already", "dangling.md": "link to nothing",
        "planted.md": "in the way",
    }.items():  # fmt: skip
        with pytest.raises(StoreError, match=why):
            export(TALK, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == there and (tmp_path / "mine.txt").read_text() == "mine"


def test_long_names(tmp_path: Path) -> None:
    name = "n" * 252 + ".md"
    export(TALK, tmp_path / name)
    assert os.listdir(tmp_path) == [name]
