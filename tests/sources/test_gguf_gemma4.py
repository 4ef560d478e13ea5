"""What GGUF files of Gemma 4 may say, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_models import gguf_tensors, write_gguf
from tiny_models import MODELS

from rbe_edge.errors import PackError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

pytest.importorskip("gguf")


def refused(path: Path, message: str) -> None:
    with pytest.raises(PackError, match=message) as caught:
        plan_model(open_source(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "key", "value"),
    [
        ("sliding_window_pattern is nothing|sliding_window_pattern is None", "attention.sliding_window_pattern", None),
        ("expected a list of 6", "attention.sliding_window_pattern", [True, False]),
        ("differs between layers in a way", "feed_forward_length", [96, 97, 96, 192, 192, 192]),
        ("feed_forward_length has 2 layers", "feed_forward_length", [96, 96]),
        ("head_count_kv has 2 layers", "attention.head_count_kv", [1, 1]),
        ("head_count_kv is 0", "attention.head_count_kv", [1, 0, 1, 1, 1, 1]),
        ("keys and values of different size", "attention.value_length_swa", 16),
        ("key_length_swa is missing", "attention.key_length_swa", None),
        ("rope.dimension_count is not supported, only 48", "rope.dimension_count", 24),
        ("rope scaling is not supported", "rope.scaling.type", "yarn"),
        ("a mixture of experts", "expert_count", 8),
        ("differs between layers in a way", "attention.shared_kv_layers", 6),
        ("logit_scale = 2", "logit_scale", 2.0),
    ],
)
def test_refused_keys(tmp_path: Path, message: str, key: str, value: Any) -> None:
    refused(write_gguf(MODELS["gemma4"], tmp_path / "m.gguf", changes={f"gemma4.{key}": value}), message)


def test_refused_tensors(tmp_path: Path) -> None:
    unshared = gguf_tensors(MODELS["gemma4_unshared"])
    del unshared["blk.3.attn_v.weight"]
    refused(
        write_gguf(MODELS["gemma4_unshared"], tmp_path / "v.gguf", tensors=unshared), "blk.3.attn_v.weight is missing"
    )
    for divisors in ([1.0] * 24, [2.0] * 24, [1e30] + [1.0] * 23, [1.0] * 10, [float("nan")] * 24):
        tensors = gguf_tensors(MODELS["gemma4"]) | {"rope_freqs.weight": np.array(divisors, np.float32)}
        path = write_gguf(MODELS["gemma4"], tmp_path / "rope.gguf", tensors=tensors)
        if divisors == [1.0] * 24:
            assert plan_model(open_source(path)).architecture == "gemma4_text"  # all pairs turn
        else:
            refused(path, "rope_freqs.weight is no list of ones")


def test_keys_that_no_layer_reads(tmp_path: Path) -> None:
    """Files may hold keys and values of layers that read those of others."""
    tensors = gguf_tensors(MODELS["gemma4"])
    expected = {
        tensor.name for tensor in plan_model(open_source(write_gguf(MODELS["gemma4"], tmp_path / "a.gguf"))).tensors
    }
    tensors |= {f"blk.4.attn_{name}.weight": np.ones((24, 64), np.float32) for name in "kv"}
    found = plan_model(open_source(write_gguf(MODELS["gemma4"], tmp_path / "b.gguf", tensors=tensors)))
    assert {tensor.name for tensor in found.tensors} == expected
