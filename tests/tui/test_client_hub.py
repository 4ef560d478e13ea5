"""Packing from the hub as a person does it, with the real client and a hub that stands in for the real one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import hub_stand_in
import pytest
import tiny_models
from driving import client, played
from textual.widgets import Button, Input

from rbe_edge.packing import pack as packing
from rbe_edge.runtime.model import Model


@played
async def test_a_model_comes_though_the_connection_broke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the extra hub")
    monkeypatch.setattr(packing, "PackOptions", partial(packing.PackOptions, calibrate="none"))  # which takes seconds
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")
    models = tmp_path / "models"
    with hub_stand_in.standing(source) as stand:
        hub_stand_in.use(stand, tmp_path / "cache", monkeypatch)
        async with client(directory=models, settings={"max_tokens": 3}) as it:
            await it.press("f3", "ctrl+n")
            await it.sees("Pack a model")
            it.client.screen.query_one("#repository", Input).value = "someone/tiny"
            await it.pilot.click("#check")
            await it.sees("1,000 weights", "There is room for it.")
            assert [asked for _, path, asked in stand.asked if path.endswith(".safetensors")] == ["bytes=0-100000"]
            stand.broken.add("model.safetensors")
            await it.pilot.click("#pack")
            await it.sees("the download failed", "check connection and disk space")
            assert not models.exists() and not list((tmp_path / "cache").rglob("*.safetensors"))
            stand.broken.clear()
            await it.pilot.click("#check")
            await it.sees("There is room for it.")
            assert not it.client.screen.query_one("#pack", Button).disabled
            await it.pilot.click("#pack")
            await it.until(lambda: it.client.engine.loaded and it.client.engine.loaded.path, "it was not opened")
            await it.say("hello")
            assert it.said[0] == "hello"
    assert [path.name for path in models.iterdir()] == ["tiny-4bit.rbe"]
    with Model.open(models / "tiny-4bit.rbe") as model:
        assert model.metadata["source.name"] == "someone/tiny"
