"""A source of random weights reads and packs as a checkpoint of its shape does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models

from rbe_edge import Model
from rbe_edge.bench import shapes
from rbe_edge.packing.pack import PackOptions, pack
from tools import random_source

SMALL = shapes.Shape("small", "nothing published", 2, 64, 4, 2, 16, 128, 384)


def test_packs_and_runs(tmp_path: Path) -> None:
    random_source.write(SMALL, tmp_path / "source")
    (tmp_path / "source" / "tokenizer.json").write_text(json.dumps(tiny_models.tokenizer_json()))
    pack(tmp_path / "source", tmp_path / "out.rbe", PackOptions(bits=4.0, effort="quick"))
    with Model.open(tmp_path / "out.rbe") as model:
        assert model.info.vocabulary == SMALL.vocabulary
        assert model.info.parameters == SMALL.parameters


def test_holds_two_bytes_for_each_weight(tmp_path: Path) -> None:
    random_source.write(SMALL, tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    assert len(data) - 8 - int.from_bytes(data[:8], "little") == 2 * SMALL.parameters


def test_says_that_the_tokenizer_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        random_source.main([str(tmp_path / "out"), "--shape", "135M", "--tokenizer", str(tmp_path)])
    assert "no tokenizer.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
