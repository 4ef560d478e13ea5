"""Whatever a person calls a model is found; a source is packed once, and anew when it has changed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import hub_stand_in
import pytest
import tiny_models

import rbe_edge
from rbe_edge.errors import Cancelled, ModelError, PackError
from rbe_edge.models import find, folder
from rbe_edge.models.find import Waiter, find_model
from rbe_edge.packing import options as packing
from rbe_edge.runtime.model import demo_path


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face directory, which is packed without calibration: that takes no time."""
    monkeypatch.setattr(packing, "PackOptions", partial(packing.PackOptions, calibrate="none"))
    return tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "Tiny Llama")


def test_what_needs_no_packing(models: Path, tiny_model: Path) -> None:
    assert find_model(tiny_model) == tiny_model
    assert find_model("demo") == demo_path()
    models.mkdir(parents=True)
    shutil.copy(tiny_model, models / "smol-4bit.rbe")
    assert find_model("smol") == find_model("smol:4bit") == models / "smol-4bit.rbe"
    Path("smol").write_bytes(b"a file of that name goes first")
    assert find_model("smol") == Path("smol")
    Path("demo").write_bytes(b"so does this")
    assert find_model("demo") == Path("demo")
    for absent in ("nothing.rbe", "./some/where/nothing", "/nowhere/at/all", "no.gguf"):
        assert find_model(absent) == Path(absent)  # opening it says what is wrong


def test_what_is_not_there(models: Path, tiny_model: Path) -> None:
    models.mkdir(parents=True)
    shutil.copy(tiny_model, models / "smol-4bit.rbe")
    with pytest.raises(ModelError, match=r"called smoll; did you mean smol\?"):
        find_model("smoll")
    with pytest.raises(ModelError, match="`rbe pull smollm2-135m` fetches"):
        find_model("smollm2-135m")
    with pytest.raises(ModelError, match="neither a file nor a model called zzzz; `rbe list`"):
        find_model("zzzz")


def test_a_directory_is_packed_once(models: Path, source: Path) -> None:
    told: list[str] = []
    shown: list[tuple[int, int]] = []
    waiter = Waiter(told.append, lambda what, done, total: shown.append((done, total)))
    out = find_model(source, waiter)
    assert out == models / "tiny-llama-4bit.rbe" and find_model("tiny-llama") == out
    assert "better quality" in told[0] and "--effort normal" in told[0] and shown and shown[-1][0] <= shown[-1][1]
    data, n_told = out.read_bytes(), len(told)
    assert find_model(source, waiter) == out and len(told) == n_told
    os.utime(source / "config.json", ns=(1, 1))
    assert find_model(source, waiter) == out and "has changed" in told[n_told]
    assert out.read_bytes() == data
    assert {path.name for path in models.iterdir()} == {"tiny-llama-4bit.rbe", "tiny-llama-4bit.origin.json"}


def test_what_was_packed_by_hand_is_taken(models: Path, source: Path) -> None:
    report = find.pack_named(str(source), packing.PackOptions(bits=5, effort="normal"))
    assert find_model(source) == report.path == models / "tiny-llama-5bit.rbe"
    other = shutil.copytree(source, source.parent / "elsewhere" / source.name)
    assert find_model(other) == models / "tiny-llama-4bit.rbe"
    again = shutil.copytree(source, source.parent / "third" / source.name)
    assert find_model(again) == models / "tiny-llama-2-4bit.rbe"


def test_nothing_half_packed_is_left(models: Path, source: Path) -> None:
    calls: list[int] = []

    def stop(what: str, done: int, total: int) -> bool:
        calls.append(done)
        return len(calls) > 3

    with pytest.raises(Cancelled):
        find_model(source, Waiter(progress=stop))
    assert list(models.iterdir()) == []
    with pytest.raises(PackError):
        find_model(models)  # a directory that holds no model
    assert list(models.iterdir()) == []


def test_what_cannot_be_fetched_is_not_said_to_be_packed(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> Path:
        raise PackError("the hub cannot be reached")

    monkeypatch.setattr(find, "fetch", unreachable)
    told: list[str] = []
    with pytest.raises(PackError, match="cannot be reached"):
        find_model("someone/tiny", Waiter(told.append))
    assert told == [] and list(models.iterdir()) == []


def test_a_repository_is_fetched_once(
    models: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    told: list[str] = []
    waiter = Waiter(told.append)
    with hub_stand_in.standing(source) as stand:
        hub_stand_in.use(stand, tmp_path / "cache", monkeypatch)
        out = find_model("someone/tiny", waiter)
        assert out == models / "tiny-4bit.rbe"
        n_asked = len(stand.asked)
        assert find_model("someone/tiny", waiter) == out and len(stand.asked) == n_asked  # works without a network
        assert find.pulled("someone/tiny", waiter, 4, "quick") == out and told[-1] == "tiny:4bit is here already"
        origin = folder.origin_of(out)
        assert origin is not None and origin.stamp == hub_stand_in.COMMIT
        folder.set_origin(out, replace(origin, stamp="of an older commit"))
        stand.asked.clear()
        assert find.pulled("someone/tiny", waiter, 4, "quick") == out and "packing" in told[-1]
        assert [path for _, path, _ in stand.asked].count("/api/models/someone/tiny") == 1  # the hub is asked once
        assert find.pulled("someone/tiny", waiter, 3, "quick") == models / "tiny-3bit.rbe"
    assert {folder.name_of(path) for path in folder.files()} == {"tiny:4bit", "tiny:3bit"}


def test_a_download_is_stopped(models: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    from rbe_edge.models import fetch
    from rbe_edge.sources import hub

    monkeypatch.setattr(fetch, "_LOOK_S", 0.01)

    def endless(repository: str, revision: object, stopped: object, offer: object) -> Path:
        while not stopped():  # type: ignore[operator]
            pass
        raise Cancelled("stopped")

    monkeypatch.setattr(hub, "download", endless)
    with hub_stand_in.standing(source) as stand:
        hub_stand_in.use(stand, tmp_path / "cache", monkeypatch)
        heard: list[str] = []

        def listen(what: str, done: int, total: int) -> bool:
            heard.append(what)
            return len(heard) == 3

        with pytest.raises(Cancelled):
            find_model("someone/tiny", Waiter(progress=listen))
    assert heard[0].startswith("fetching someone/tiny: ") and list(models.iterdir()) == []


def test_from_python(models: Path, source: Path) -> None:
    told: list[str] = []
    with rbe_edge.Model.from_pretrained(source, tell=told.append) as model:
        assert model.info.path == models / "tiny-llama-4bit.rbe" and told
    with rbe_edge.Model.from_pretrained("demo") as model:
        assert model.chat("Hello!", max_tokens=20) == model.chat([{"role": "user", "content": "Hello!"}], max_tokens=20)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("someone/Tiny-Chat", "tiny-chat"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m"),
        ("Tiny-Q4_K_M.gguf", "tiny"),
        ("models/tiny.IQ4_XS.gguf", "tiny"),
        ("tiny-BF16.gguf", "tiny"),
        ("qwen-q4.bin", "qwen-q4"),
        ("q4_0.gguf", "q4_0"),
        ("tiny-2b.gguf", "tiny-2b"),
        ("_.gguf", "model"),
    ],
)
def test_names_of_what_is_packed(source: str, name: str) -> None:
    assert find.base_name(source) == name


def test_a_beginning_of_a_name_that_is_here_is_what_is_meant(models: Path, source: Path) -> None:
    find.pack_named(str(source), packing.PackOptions(bits=16))
    with pytest.raises(ModelError, match="did you mean tiny-llama"):
        find_model("ti")
