"""What a row of the tables of architectures says: architectures.py has the decoders, encoders.py the encoders.

CONTRIBUTING.md says how to add one. The reference for what a configuration means is transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.config import Config
from rbe_edge.sources.experts import Experts
from rbe_edge.sources.layer_shapes import Shapes, one_shape
from rbe_edge.sources.recurrence import Recurrence

#: Kinds of layers by their first block: a layer is of the first where Architecture.layers says "full" or "sliding".
ATTENTION, CONVOLUTION, DELTA_NET, STATE_SPACE = "attention", "convolution", "delta_net", "state_space"
OTHER_KINDS = (CONVOLUTION, DELTA_NET, STATE_SPACE)
"""Those that Architecture.layers calls by their names."""


LANGUAGE_PREFIXES = ("model.", "", "language_model.model.", "model.language_model.", "language_model.")
LANGUAGE_HEADS = ("lm_head.weight", "language_model.lm_head.weight")
"""Of a language part, alone or in a model that also sees or hears: Architecture.prefixes and lm_heads."""


@dataclass(frozen=True)
class Rule:
    """`target` of the file is `source` of the model; N stands for the layer. Sizes are named as in plan_model.

    `fused`: the sizes of what `source` holds one after the other along its outputs, of which this is number `piece`.
    `needs`: the feature (Architecture.features) without which the tensor does not exist. `outside`: the source has no
    prefix (Architecture.prefixes) before it. `from_layer`: the first layer that has the tensor. `kind`: that of the
    layers that have it, "" all. A `*` in `source` is the number of a head: the vectors of all heads, one after the
    other. `per_head`: `fused` says what each head has, one after the other. `change`: the function of the source's
    numbers that is stored, "exponential" or "negative", "" for the numbers themselves.
    """

    target: str
    source: str
    rows: str
    cols: str
    role: str = "matrix"
    fused: tuple[str, ...] = ()
    piece: int = 0
    needs: str = ""
    outside: bool = False
    from_layer: int = 0
    kind: str = ""
    per_head: bool = False
    change: str = ""

    def in_layers(self, kind: str) -> Rule:
        """The rule for layers of one kind."""
        return replace(self, kind=kind)


def norm(
    target: str, source: str, size: str = "width", needs: str = "", outside: bool = False, from_layer: int = 0
) -> Rule:
    return Rule(target, source, "one", size, "norm", needs=needs, outside=outside, from_layer=from_layer)


def bias(
    target: str, source: str, size: str, needs: str = "", fused: tuple[str, ...] = (), piece: int = 0,
    outside: bool = False, from_layer: int = 0,
) -> Rule:  # fmt: skip
    return Rule(target, source, "one", size, "bias", fused, piece, needs, outside, from_layer)


def no_features(config: Config) -> frozenset[str]:
    return frozenset()


def _window(config: Config) -> int:
    return config.integer("sliding_window")


@dataclass(frozen=True)
class Architecture:
    """One row. The defaults are those of the published configuration class, for keys that config.json leaves out."""

    model_type: str
    title: str
    rules: tuple[Rule, ...]
    layers: Callable[[Config, int], list[str]]  # per layer "full", "sliding" or one of OTHER_KINDS
    features: Callable[[Config], frozenset[str]] = no_features
    defaults: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    prefixes: tuple[str, ...] = ("model.", "")
    lm_heads: tuple[str, ...] = ("lm_head.weight",)
    ignored: tuple[str, ...] = (r"(^|\.)rotary_emb\.inv_freq$",)  # tensors that carry nothing: regular expressions
    towers: str = ""  # tensors of what sees and hears, which is left out with a note: a regular expression
    # key: the only value that the engine computes; anything else is refused by name
    fixed: Mapping[str, Any] = field(default_factory=dict)
    shapes: Shapes = one_shape  # what layers have of their own
    norm: str = "rms"
    norm_place: str = "pre"
    norm_plus_one: bool = False  # the source keeps norm weights relative to one
    position: str = "rope"
    partial_rotary: bool = False
    rope_per_layer_type: bool = False
    gated: bool = True
    activation_key: str = "hidden_act"
    transposed: bool = False  # matrices are [inputs][outputs]
    scaled_embedding: bool = False  # by the square root of the width
    embedding_scale: float = 1.0  # where it is another number
    neighbours: bool = False  # rotary pairs are neighbours, (2d, 2d + 1) of a head
    # layer options (docs/format.md) of the configuration, the number of layers, and what `layers` says of them
    options: Callable[[Config, int, list[str]], dict[str, MetadataValue]] | None = None
    softcaps: tuple[str, ...] = ()  # "attention", "logit": those that are computed
    both_directions: bool = False  # an encoder: a token sees those behind it too
    window: Callable[[Config], int] = _window  # tokens that a "sliding" layer sees to one side, the own one included
    positions_follow_padding: bool = False  # the table begins behind the row of the padding token's number
    encoder_rules: tuple[Rule, ...] = ()  # of an encoder whose text the layers attend to, N its layers
    # the row and the values of one configuration, where it says more than keys of the same name
    adapt: Callable[[Architecture, Mapping[str, Any]], tuple[Architecture, Mapping[str, Any]]] | None = None
    norm_scales: Mapping[str, float] = field(default_factory=dict)  # what norm weights are multiplied by, by target
    recurrence: Callable[[Config], Recurrence] | None = None  # the sizes of recurrent layers, which some models have
    experts: Experts | None = None  # layers that have them in place of a feed-forward part
    older: Mapping[str, str] = field(default_factory=dict)  # endings of tensors' names, and what they were before
