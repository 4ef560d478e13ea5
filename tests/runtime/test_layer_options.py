"""Files whose layer options contradict one another or their part: each gives one line, and nothing is opened."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from changed_files import write_changed

from rbe_edge import Model
from rbe_edge.errors import ModelError
from rbe_edge.format.encoder import ATTENTION_GATE
from rbe_edge.format.layer_options import PART
from rbe_edge.format.parts import Part

OPTIONAL = dataclasses.replace(PART, required=False)
TWO_LAYERS = (1, 0)


@pytest.mark.parametrize(
    ("name", "changes", "parts", "message"),
    [
        ("olmo2", {}, [], "lacks the part `layer_options`"),
        ("olmo2", {}, [OPTIONAL], "lacks the part `layer_options`"),
        ("llama", {}, [PART], "has the part `layer_options`, and its metadata name none"),
        ("llama", {"position.rotary_layers": TWO_LAYERS}, [], "lacks the part `layer_options`"),
        ("spark", {}, [], "has gates of attention, and lacks the part `attention_gate`"),
        ("llama", {}, [ATTENTION_GATE], "has the part `attention_gate`, and no tensor is a gate of attention"),
        ("llama", {"position.rotary_layers": (1,)}, [PART], "position.rotary_layers"),
        ("llama", {"position.rotary_layers": (1, 2)}, [PART], "position.rotary_layers"),
        ("llama", {"position.rotary_layers": 1}, [PART], "position.rotary_layers"),
        ("llama", {"attention.norm_span": "row"}, [PART], "attention.norm_span"),
        ("llama", {"attention.norm_span": 1}, [PART], "attention.norm_span"),
        ("llama", {"attention.norm_kind": "batch"}, [PART], "attention.norm_kind"),
        ("llama", {"attention.norm_after_rope": 2}, [PART], "attention.norm_after_rope"),
        ("llama", {"attention.norm_after_rope": 1, "attention.norm_kind": "layer"}, [PART], "behind rotary positions"),
        ("olmo2", {"attention.norm_after_rope": 1}, [PART], "behind rotary positions"),
        ("llama", {"attention.temperature": 0.1}, [PART], "belong together"),
        ("llama", {"attention.temperature_tokens": 8}, [PART], "belong together"),
        ("llama", {"attention.temperature": -1.0, "attention.temperature_tokens": 8}, [PART], "attention.temperature"),
        ("llama", {"attention.temperature": 1e300, "attention.temperature_tokens": 8}, [PART], "attention.temperature"),
        ("llama", {"attention.temperature": 0.1, "attention.temperature_tokens": 0}, [PART], "temperature_tokens"),
        ("llama", {"attention.temperature": 1, "attention.temperature_tokens": 8}, [PART], "attention.temperature"),
        ("llama", {"layer.parallel": 2}, [PART], "layer.parallel"),
        ("gemma2", {"layer.parallel": 1}, [PART], "side by side"),
        ("olmo2", {"attention.norm_span": None}, [PART], "tensor `layers.0.attention.q_norm` is 1 x 64"),
        ("qwen3", {"attention.norm_span": "whole"}, [PART], "tensor `layers.0.attention.q_norm` is 1 x 24"),
        ("qwen3", {"attention.norm_span": "each"}, [PART], "tensor `layers.0.attention.q_norm` is 1 x 24"),
        ("llama", {"norm.place": "after"}, [PART], "`layers.0.attention.post_norm` is missing"),
    ],
)  # fmt: skip
def test_files_that_contradict_themselves(
    tmp_path: Path, name: str, changes: dict[str, Any], parts: list[Part], message: str
) -> None:
    source = tiny_models.write(tiny_models.MODELS[name], tmp_path / "source")
    with pytest.raises(ModelError, match=message):
        Model.open(write_changed(source, tmp_path / "wrong.rbe", changes, parts))
