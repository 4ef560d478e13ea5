"""Small files whose layers are gated delta nets or state spaces: the tensors of docs/format.md, with random numbers, in
place of the short convolutions of a tiny model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiny_models
from changed_files import NOTHING, Tensors, write_changed

from rbe_edge.format.encoder import LAYER_KINDS
from rbe_edge.format.parts import Part

WIDTH = 64
LAYERS = (0, 2)
"""Those that are recurrences, of four; the others are attention."""


@dataclass(frozen=True)
class Recurrence:
    """kind: of layers in the metadata."""

    kind: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    taps: int

    @property
    def keys(self) -> int:
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        return self.value_heads * self.value_dim

    def metadata(self) -> dict[str, Any]:
        numbers = {f"recurrence.{name}": value for name, value in dataclasses.asdict(self).items() if name != "kind"}
        return {
            "layer.kinds": tuple(self.kind if layer in LAYERS else 0 for layer in range(4)),
            "convolution.taps": None,
            **numbers,
        }


DELTA_NET = Recurrence(kind=2, key_heads=2, value_heads=4, key_dim=16, value_dim=24, taps=4)
STATE_SPACE = Recurrence(kind=3, key_heads=1, value_heads=6, key_dim=32, value_dim=16, taps=3)
RULES = {"delta_net": DELTA_NET, "state_space": STATE_SPACE}


def source(directory: Path, context: int = 2048) -> Path:
    """What write_recurrent() changes."""
    tiny = tiny_models.MODELS["lfm2"]
    return tiny_models.write(
        dataclasses.replace(tiny, config={**tiny.config, "max_position_embeddings": context}), directory
    )


def tensors_of(rule: Recurrence) -> dict[str, Any]:
    """Of the layers that are recurrences."""
    random = np.random.default_rng(rule.kind)

    def normal(rows: int, cols: int, scale: float = 0.2, middle: float = 0.0) -> Any:
        return (middle + scale * random.standard_normal((rows, cols))).astype(np.float32)

    found = {}
    for layer in LAYERS:
        of_layer = {
            "norm": normal(1, WIDTH, middle=1.0),
            "q": normal(rule.keys, WIDTH),
            "k": normal(rule.keys, WIDTH),
            "v": normal(rule.values, WIDTH),
            "gate": normal(rule.values, WIDTH),
            "o": normal(WIDTH, rule.values),
            "q_taps": normal(rule.keys, rule.taps, 0.5),
            "k_taps": normal(rule.keys, rule.taps, 0.5),
            "v_taps": normal(rule.values, rule.taps, 0.5),
            "decay": normal(rule.value_heads, WIDTH),
            "decay.bias": normal(1, rule.value_heads, 1.0, -4.0),
            "rate": np.abs(normal(1, rule.value_heads, 0.5, 1.0)) + np.float32(0.01),
        }
        if rule.kind == DELTA_NET.kind:
            of_layer |= {"beta": normal(rule.value_heads, WIDTH), "gated_norm": normal(1, rule.value_dim, middle=1.0)}
        else:
            of_layer |= {
                "skip": normal(1, rule.value_heads, 1.0),
                "gated_norm": normal(1, rule.values, middle=1.0),
                "v_taps.bias": normal(1, rule.values),
            }
        found |= {f"layers.{layer}.recurrence.{name}": values for name, values in of_layer.items()}
    return found


def names_of(rule: Recurrence) -> list[str]:
    """What no layer may lack."""
    layer = f"layers.{LAYERS[0]}.recurrence."
    return [name.removeprefix(layer) for name in tensors_of(rule) if name.startswith(layer) and "taps.bias" not in name]


def write_recurrent(
    directory: Path,
    out: Path,
    rule: Recurrence,
    metadata: Mapping[str, Any] | None = None,
    tensors: Tensors | None = None,
    parts: Sequence[Part] = (LAYER_KINDS,),
    kinds: Mapping[str, int] | None = None,
) -> Path:
    """The model of source() with recurrences; metadata, tensors and kinds as of write_changed(), behind all else."""
    gone = {f"layers.{layer}.convolution.{name}": NOTHING for layer in LAYERS for name in ("norm", "in", "taps", "out")}
    changed = {**gone, **tensors_of(rule), **(tensors or {})}
    return write_changed(directory, out, {**rule.metadata(), **(metadata or {})}, parts, changed, kinds)
