"""Choosing a model, and packing one from the hub: what does not fit or cannot be reached is told, nothing is lost."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from driving import client, played
from textual.widgets import Button, Input, OptionList

from rbe_edge.errors import Cancelled, PackError
from rbe_edge.packing import pack as packing
from rbe_edge.runtime import fit
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.sources import hub
from rbe_edge.store.conversations import ConversationStore
from rbe_edge.terminal_text import size
from rbe_edge.tui import room
from rbe_edge.tui.catalogue import Details, details_of
from rbe_edge.tui.screens import pack_screen
from rbe_edge.tui.screens.model_screen import find_models

SMALL = hub.Offer("org/tiny", "main", 1 << 20, 100_000)


def test_models_are_found(tmp_path: Path) -> None:
    (tmp_path / "b.rbe").write_bytes(b"x" * 10)
    (tmp_path / "a.rbe").write_bytes(b"x")
    (tmp_path / "c.txt").write_bytes(b"x")
    (tmp_path / "d.rbe").mkdir()
    (tmp_path / "dangling.rbe").symlink_to("nowhere")
    found = find_models([tmp_path / "missing", tmp_path, tmp_path, demo_path().parent])
    assert [choice.path and choice.path.name for choice in found] == [None, "a.rbe", "b.rbe"]
    assert [choice.file_bytes for choice in found][1:] == [1, 10]


@played
async def test_choosing_a_model(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(tiny_model, models / "tiny.rbe")
    (models / "bad.rbe").write_bytes(b"bad")
    async with client(directory=models, settings={"max_tokens": 5, "temperature": 0.0}) as it:
        await it.say("hello")
        first = it.chat.id
        await it.press("f3")
        await it.sees("the demo", "bad.rbe", "tiny.rbe", "pack a model")
        await it.press("down", "enter")
        await it.told("bad.rbe")
        assert it.client.engine.loaded is not None and it.client.engine.loaded.path is None and len(it.said) == 2
        await it.press("f3")
        await it.sees("tiny.rbe")
        await it.press("down", "down", "enter")
        await it.until(lambda: it.client.engine.loaded and it.client.engine.loaded.path, "it was not opened")
        await it.sees("new conversation")
        await it.say("hello")
        assert it.chat.model == str((models / "tiny.rbe").resolve())
        await it.press("ctrl+o")
        await it.until(lambda: it.client.screen.query_one(OptionList).option_count == 2, "no two conversations")
        await it.press("tab", "down", "enter")  # the demo's, which opens it again
        await it.until(lambda: it.chat.id == first, "it was not opened")
        assert it.client.engine.loaded.path is None


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub at an address where nothing answers."""
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra hub")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


@played
async def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline(monkeypatch)
    async with client(directory=tmp_path / "models") as it:
        await it.press("f3", "ctrl+n")
        await it.sees("Pack a model from Hugging Face")
        screen = it.client.screen
        for repository, bits, told in [
            ("no repository", "4", "is written org/name"),
            ("org/tiny", "40", "a number from 2 to 8"),
            ("org/tiny", "x", "a number from 2 to 8"),
            ("org/tiny", "4", "huggingface.co cannot be reached"),
        ]:
            screen.query_one("#repository", Input).value = repository
            screen.query_one("#bits", Input).value = bits
            screen.query_one("#repository", Input).focus()
            await it.press("enter")
            await it.sees(told)
            assert screen.query_one("#pack", Button).disabled
        await it.press("escape")
        await it.say("hello")
    assert not (tmp_path / "models").exists()


@played
async def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    async with client() as it:
        await it.press("f3", "ctrl+n")
        await it.sees("Pack a model")
        it.client.screen.query_one("#repository", Input).value = "org/tiny"
        await it.pilot.click("#check")
        await it.sees("rbe-edge[hub]")


@played
async def test_what_does_not_fit_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(hub, "inquire", lambda name: hub.Offer(name, None, 10**15, 10**14))
    monkeypatch.setattr(hub, "download", lambda *_: loaded.append("!"))
    monkeypatch.setattr(hub, "cache_directory", lambda: tmp_path / "cache")
    advice = fit.Advice(False, 0, None, 0, 2.5, 0.0, "--bits 2.5")
    monkeypatch.setattr(pack_screen, "plan_of", lambda *_: room.Plan(10**14, 10**14, advice))
    async with client(directory=tmp_path / "models") as it:
        await it.press("f3", "ctrl+n")
        await it.sees("Pack a model")
        it.client.screen.query_one("#repository", Input).value = "org/huge"
        await it.pilot.click("#check")
        await it.sees("TOO LITTLE", "There is not enough room; nothing was downloaded.", "It has room with 2.5 bits")
        await it.pilot.click("#pack")
        assert it.client.screen.query_one("#pack", Button).disabled and loaded == []


@pytest.fixture
def small_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub whose one model lies here."""
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")
    monkeypatch.setattr(hub, "inquire", lambda name: SMALL)
    monkeypatch.setattr(hub, "download", lambda *_: source)
    monkeypatch.setattr(hub, "cache_directory", lambda: tmp_path / "cache")
    monkeypatch.setattr(pack_screen, "plan_of", lambda *_: room.Plan(50_000, 1_000_000, None))
    return source


@played
async def test_packing(small_hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PackOptions", partial(packing.PackOptions, calibrate="none"))  # which takes seconds
    async with client(directory=tmp_path / "models", settings={"max_tokens": 3}) as it:
        await it.press("f3", "ctrl+n")
        await it.sees("Pack a model")
        it.client.screen.query_one("#repository", Input).value = "org/tiny"
        await it.pilot.click("#check")
        await it.sees("100,000 weights", "There is room for it.")
        await it.pilot.click("#pack")
        await it.until(lambda: it.client.engine.loaded and it.client.engine.loaded.path, "it was not packed and opened")
        await it.say("hello")
        assert it.said[0] == "hello"
    with Model.open(tmp_path / "models" / "tiny-4bit.rbe") as model:
        assert model.info.bits_per_weight < 40  # mostly the tokenizer: the model is tiny


@played
async def test_packing_that_is_stopped(small_hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(repository: str, revision: str | None, stopped: object) -> Path:
        import time

        assert callable(stopped)
        while not stopped():
            time.sleep(0.01)
        raise Cancelled("the download was stopped; what has come is kept")

    monkeypatch.setattr(hub, "download", slow)
    async with client(directory=tmp_path / "models") as it:
        await it.press("f3", "ctrl+n")
        await it.sees("Pack a model")
        it.client.screen.query_one("#repository", Input).value = "org/tiny"
        await it.pilot.click("#check")
        await it.sees("There is room for it.")
        await it.pilot.click("#pack")
        await it.sees("downloading")
        await it.press("escape")
        await it.sees("what has come is kept")
        await it.press("escape")
        await it.say("hello")
    assert not (tmp_path / "models").exists()


def test_an_offer_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    from types import SimpleNamespace as Made

    names = {"config.json": 10, "model.safetensors": 2000, "pytorch_model.bin": 5000, "tokenizer.json": None}
    found = Made(sha="abc", safetensors=None, siblings=[Made(rfilename=name, size=names[name]) for name in names])
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, **_: found)
    assert hub.inquire("org/name") == hub.Offer("org/name", "abc", 2010, 1000, (("model.safetensors", 2000),))
    found.safetensors = Made(total=777)
    assert hub.inquire("org/name").parameters == 777
    found.siblings = []
    with pytest.raises(PackError, match="no model in safetensors"):
        hub.inquire("org/name")


def test_room_is_counted_by_disk(tmp_path: Path) -> None:
    offer, plan = hub.Offer("org/name", None, 1000, 100), room.Plan(52, 1, None)
    disks = room.needs(offer, plan, cache=tmp_path / "not" / "there", output=tmp_path, cached_bytes=400)
    assert sum(need.needed for need in disks) == 600 + (1100 + 52) + 52
    assert all(need.met for need in disks) and "TOO LITTLE" in str(room.Need("memory", 2, 1))


def test_the_user_s_cache_holds_the_weights_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    cache.mkdir()
    out.mkdir()
    monkeypatch.setattr(room, "os", SimpleNamespace(stat=lambda path: SimpleNamespace(st_dev=path == out)))
    offer = hub.Offer("org/name", None, 1000, 100)
    found = room.needs(offer, room.Plan(52, 1, None), cache=cache, output=out, cached_bytes=0)
    assert [need.needed for need in found] == [1000 + 1100 + 52, 52]


@pytest.mark.parametrize(
    ("advice", "said"),
    [
        (fit.Advice(False, 512, None, 0, 0.0, 0.0, "-c 512"), "It has room with a context of 512 tokens (F2)."),
        (
            fit.Advice(False, 512, None, 0, 0.0, 3.2, "-c 512"),
            "It has room with 3.2 bits per weight or a context of 512",
        ),
        (fit.Advice(False, 512, "q8", 5, 0.0, 0.0, "--max-memory 5M"), "Choose a smaller model."),
    ],
)
def test_what_helps(advice: fit.Advice, said: str) -> None:
    assert room.what_helps(advice).startswith(said)


@played
async def test_the_list_tells_what_a_model_takes(tiny_model: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(tiny_model, models / "tiny.rbe")
    (models / "bad.rbe").write_bytes(b"bad")
    path = (models / "tiny.rbe").resolve()
    session = SessionOptions(context=128)
    with Model.open(path) as model:
        bits = model.info.bits_per_weight
    needed = fit.estimate(path, fit.Wish(session)).total
    assert details_of(path, session) == Details(bits, needed)
    store = ConversationStore(None)
    store.save_settings({"rates": {str(path): 123.4}})
    async with client(store=store, directory=models, settings={"context": 128}) as it:
        await it.press("f3")
        await it.sees(f"tiny.rbe {size(path.stat().st_size)} {bits:.2f} {size(needed)} 123")
        wrong = details_of(models.resolve() / "bad.rbe", session).wrong
        await it.sees(wrong[:30])
        assert wrong and str(models) not in wrong


@played
async def test_the_open_model_is_in_the_list_wherever_it_lies(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_model, tmp_path / "elsewhere.rbe")
    async with client(model=tmp_path / "elsewhere.rbe", directory=tmp_path / "models") as it:
        await it.press("f3")
        await it.sees("• elsewhere.rbe")
        loaded = it.client.engine.loaded
        await it.press("enter")  # it is the marked one
        await it.until(lambda: it.client.screen is it.client.chat_screen, "the list stayed")
        assert it.client.engine.loaded is loaded and loaded is not None and loaded.path is not None
