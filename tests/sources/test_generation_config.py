"""generation_config.json of a source: what of it is stored, and that no nonsense is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models

from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.chat_defaults import chat_defaults
from rbe_edge.runtime.model import Model
from rbe_edge.sources.generation_config import generation_metadata


@pytest.mark.parametrize(
    ("told", "stored"),
    [
        ({}, {}),
        ({"bos_token_id": 1, "do_sample": True}, {}),
        ({"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.05},
         {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repeat_penalty": 1.05}),
        ({"do_sample": False, "temperature": 0.6}, {"temperature": 0.0}),
        ({"temperature": None, "top_k": "20", "top_p": True, "repetition_penalty": -1}, {}),
        ({"temperature": 1e300, "top_k": -1, "top_p": 1.5}, {}),
        ([1, 2], {}),
        ("text", {}),
    ],
)  # fmt: skip
def test_what_is_stored(tmp_path: Path, told: object, stored: dict[str, float]) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(told))
    assert generation_metadata(tmp_path) == {f"generation.{name}": value for name, value in stored.items()}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"temperature": NaN}'])
def test_what_is_no_json(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "generation_config.json").write_bytes(data)
    assert generation_metadata(tmp_path) == {}


def test_the_way_into_a_file(tmp_path: Path) -> None:
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")
    (source / "generation_config.json").write_text(json.dumps({"temperature": 0.6, "top_k": 20, "top_p": 0.9}))
    with Model.open(pack(source, tmp_path / "m.rbe", PackOptions(bits=32)).path) as model:
        assert model.metadata["generation.top_k"] == 20
        sampling = chat_defaults(model).sampling
        assert (sampling.top_k, sampling.min_p) == (20, 0.0)
        assert (sampling.temperature, sampling.top_p) == pytest.approx((0.6, 0.9), abs=1e-6)
