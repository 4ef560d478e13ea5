"""Text files that a message brings along."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from driving import client, played
from engines import Said
from textual import events

from rbe_edge.errors import OptionError
from rbe_edge.store.conversations import ConversationStore
from rbe_edge.store.stored_message import Attached, StoredMessage
from rbe_edge.tui.attachments import dropped, offers, parts, written
from rbe_edge.tui.widgets.completions import Completions
from rbe_edge.tui.widgets.prompt_area import PromptArea


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    (here / "docs").mkdir(parents=True)
    (here / "notes.txt").write_text("milk\neggs\n")
    (here / "Notes two.md").write_bytes(b"\xef\xbb\xbf# Gr\xc3\xbc\xc3\x9fe")
    (here / "docs" / "a.py").write_text("x = 1\n")
    (here / "photo.jpg").write_bytes(b"\xff\xd8\xff\0")
    (here / "zeros.txt").write_bytes(b"a\0b")
    (here / "empty.txt").write_text(" \n")
    (here / ".hidden").write_text("h")
    monkeypatch.chdir(here)
    return here


def test_mentioned_files_stand_behind_the_message(files: Path) -> None:
    said = written('Compare @notes.txt, and (@docs) @"Notes two.md"!', files, 1000)
    assert said.attached == (Attached("notes.txt", 9), Attached("Notes two.md", 7))
    assert said.content == f"{said.said}\n\nmilk\neggs\n\n# Grüße"
    assert written(f"@{files}/docs/a.py @./docs/a.py", files, 1000).content.endswith("a.py\n\nx = 1")  # once
    for text in (
        "me@example.com", "ask @alice", "@ notes.txt", "a@notes.txt", "@", "in @docs", "npm i @types/node",
        '@app.get("/x")\ndef f(): ...', "@pytest.mark.parametrize('a', [1])", "@property",
    ):  # fmt: skip
        assert written(text, files, 1000).content == text
    back = parts(StoredMessage("user", said.content, attached=said.attached))
    assert back == said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("@missing.txt", "there is no file missing.txt; a space behind"),
        ("@./docs/b", "there is no file ./docs/b"),
        ("@~/nowhere!", "there is no file ~/nowhere!"),
        ('@"no such"', "there is no file no such"),
        ("@docs/", "docs is no file"),
        ("@photo.jpg", "photo.jpg is no text in UTF-8"),
        ("@zeros.txt", "zeros.txt is no text in UTF-8"),
        ("@empty.txt", "empty.txt is empty"),
        ("@large.txt", "large.txt is too large: 3.9 KiB, and a message has at most 900 characters"),
        ("@long.txt", "the message has 911 characters with its files"),
        ("@/dev/zero", "is no file that can be attached"),
    ],
)
def test_what_cannot_be_attached_is_told(files: Path, text: str, why: str) -> None:
    (files / "large.txt").write_text("a" * 4000)
    (files / "long.txt").write_text("a" * 900)
    with pytest.raises(OptionError, match=why):
        written(text, files, 900)


def test_names_that_would_act_on_the_terminal_are_not_offered(files: Path) -> None:
    for name in ("z\x1b[31m.txt", "z\n.txt", 'z".txt', "z\u202e.txt", b"z\xff.txt".decode("utf-8", "surrogateescape")):
        (files / name).write_text("x")
        assert dropped(str(files / name)) == "" and dropped(shlex.quote(str(files / name))) == ""
    (files / "zß.txt").write_text("x")
    assert [offer.text for offer in offers("@z", files)] == ["@zeros.txt ", "@zß.txt "]


def test_paths_that_may_be_meant(files: Path) -> None:
    def texts(before: str) -> list[str]:
        return [offer.text for offer in offers(before, files)]

    assert texts("see @no") == ['@"Notes two.md" ', "@notes.txt "] and offers("see @no", files)[0].replaced == 3
    assert texts("@docs/") == ["@docs/a.py "] and texts("@d") == ["@docs/"]
    assert texts('@"notes t') == ['@"Notes two.md" '] and texts("@.h") == ["@.hidden "]
    assert texts("me@no") == texts("no") == texts("@nowhere/") == texts("@notes.txt ") == []


def test_dropped_files(files: Path) -> None:
    notes, two = files / "notes.txt", files / "Notes two.md"
    for pasted in (f"{notes}", f"'{notes}'", f"file://{notes}", f"{notes}\n"):
        assert dropped(pasted) == f"@{notes} "
    spaced = f'@"{two}" '
    for pasted in (f"'{two}'", str(two), str(two).replace(" ", "\\ "), f"file://{two}".replace(" ", "%20")):
        assert dropped(pasted) == spaced
    assert dropped(f"{notes} '{two}'") == f"@{notes} {spaced}"
    for pasted in ("notes.txt", f"look at {notes}", "it's", "", f"{files}", f"{notes}\n{notes}"):
        assert dropped(pasted) == ""


@played
async def flow(files: Path) -> None:
    with ConversationStore(files.parent / "c.db") as store:
        engine = Said("one", "two")
        async with client(store=store, engine=engine) as it:
            prompt, found = it.client.screen.query_one(PromptArea), it.client.screen.query_one(Completions)
            await it.type("list @no")
            await it.until(lambda: found.option_count == 2, "no paths")
            await it.press("down", "enter")
            assert prompt.text == "list @notes.txt "
            await it.sees("notes.txt 10 bytes")
            await it.press("enter")
            await it.finished()
            assert engine.questions[0].text == "list @notes.txt \n\nmilk\neggs"
            await it.sees("list @notes.txt", "notes.txt · 9 characters")
            assert "eggs" not in it.text()
            await it.say("@photo.jpg")
            await it.told("photo.jpg is no text")
            assert prompt.text == "@photo.jpg" and len(it.said) == 2
            prompt.clear()
            it.client.post_message(events.Paste(str(files / "docs" / "a.py")))
            await it.until(lambda: prompt.text == f"@{files}/docs/a.py ", "a dropped file is no mention")
            prompt.clear()
            await it.press("ctrl+g")
            assert prompt.text == "list @notes.txt "
            await it.press("escape")
        async with client(store=store, engine=Said("two")) as it:
            await it.sees("list @notes.txt", "notes.txt · 9 characters")
            assert "eggs" not in it.text()
            await it.press("up")
            assert it.client.screen.query_one(PromptArea).text == "list @notes.txt "


def test_a_file_goes_along(files: Path) -> None:
    flow(files)
