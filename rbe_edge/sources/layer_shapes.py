"""Layers that differ in more than their windows: heads, feed-forward widths, keys and values of an earlier layer, and
an embedding for each layer (docs/format.md, "Layers of several shapes")."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rbe_edge.errors import PackError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.config import Config
from rbe_edge.sources.messages import shown

OWN_KEYS, OWN_VALUES = "own_keys", "own_values"
"""Features of a layer that computes keys and values itself, and of one that has a matrix for its values."""

LAYERS_OWN = (OWN_KEYS, OWN_VALUES)
"""Those that layers have or lack, each for itself."""

LAYER_EMBEDDINGS = "layer_embeddings"
"""The feature of a model with an embedding for each layer."""

_HEADS = ("head_dim", "num_key_value_heads")  # what a layer may have of its own


@dataclass(frozen=True)
class LayerShapes:
    """sizes, features: of each layer, in place of and besides those of the whole model. largest: sizes of the whole
    model, of which a layer may have less."""

    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    sizes: Sequence[Mapping[str, int]] = ()
    features: Sequence[frozenset[str]] = ()

    def sizes_of(self, layer: int | None, sizes: Mapping[str, int]) -> Mapping[str, int]:
        return {**sizes, **self.sizes[layer]} if layer is not None and self.sizes else sizes

    def features_of(self, layer: int | None, features: frozenset[str]) -> frozenset[str]:
        return features | self.features[layer] if layer is not None and self.features else features


Shapes = Callable[[Config, Mapping[str, int], Sequence[str]], LayerShapes]
"""Of a configuration, the sizes of the whole model, and the kinds of the layers."""


def one_shape(config: Config, sizes: Mapping[str, int], layers: Sequence[str]) -> LayerShapes:
    return LayerShapes()


def gemma4_shapes(config: Config, sizes: Mapping[str, int], layers: Sequence[str]) -> LayerShapes:
    """Gemma 4: two widths of heads, later layers that read earlier ones' keys and values, per-layer embeddings."""
    n = len(layers)
    sources = _sources(config, layers)
    heads = [_heads(config, layer, kind) for layer, kind in enumerate(layers)]
    same = config.flag("attention_k_eq_v", False)
    wide = config.flag("use_double_wide_mlp", False)
    own, features = [], []
    for layer, kind in enumerate(layers):
        head_dim, kv_heads = heads[layer]
        if sizes["heads"] % kv_heads:
            raise PackError(
                f"{config.where}: {kv_heads} key heads do not divide {sizes['heads']} heads; correct the file"
            )
        reads, joined = sources[layer] != layer, same and kind == "full"
        own.append({
            "head_dim": head_dim, "kv_heads": kv_heads, "query": sizes["heads"] * head_dim, "key": kv_heads * head_dim,
            "feed_forward": sizes["feed_forward"] * (2 if wide and reads else 1),
        })  # fmt: skip
        features.append(frozenset() if reads else frozenset({OWN_KEYS} if joined else {OWN_KEYS, OWN_VALUES}))
    metadata: dict[str, MetadataValue] = {
        "layer.head_dims": tuple(size["head_dim"] for size in own),
        "layer.kv_heads": tuple(size["kv_heads"] for size in own),
        "layer.feed_forwards": tuple(size["feed_forward"] for size in own),
        "layer.shared_states": tuple(sources),
        "attention.value_norm": 1,
    }
    if same:
        metadata["layer.values_are_keys"] = tuple(int(found == {OWN_KEYS}) for found in features)
    largest = {key: max(size[key] for size in own) for key in own[0]}
    width = layer_embedding_width(config)
    if width:
        largest |= {"layer_embedding": width, "layer_embeddings": n * width}
        metadata |= _embedding_metadata(config, sizes, width)
    return LayerShapes(metadata, largest, own, features)


def layer_embedding_width(config: Config) -> int:
    """0 where there is none."""
    return config.integer("hidden_size_per_layer_input") if config.values.get("hidden_size_per_layer_input") else 0


def _embedding_metadata(config: Config, sizes: Mapping[str, int], width: int) -> dict[str, MetadataValue]:
    if config.integer("vocab_size_per_layer_input", sizes["vocabulary"]) != sizes["vocabulary"]:
        raise PackError(f"{config.where}: vocab_size_per_layer_input is not vocab_size, which is not supported")
    return {
        "layer_embedding.width": width,
        "layer_embedding.scale": math.sqrt(width),
        "layer_embedding.sum_scale": math.sqrt(0.5),
        # transformers divides what is normed by the root of the width; the norm takes that away, but for its epsilon
        "layer_embedding.epsilon": config.positive("rms_norm_eps") * sizes["width"],
    }


def _sources(config: Config, layers: Sequence[str]) -> list[int]:
    """Which layer's keys and values each layer reads: from some layer on, those of the last one of its kind before."""
    shared = config.integer("num_kv_shared_layers") if config.values.get("num_kv_shared_layers") else 0
    first = len(layers) - shared
    last = {kind: layer for layer, kind in enumerate(layers[: max(first, 0)])}
    if any(kind not in last for kind in layers):
        raise PackError(
            f"{config.where}: num_kv_shared_layers is {shared}, which leaves no layer of some type to read; correct it"
        )
    return [layer if layer < first else last[kind] for layer, kind in enumerate(layers)]


def _heads(config: Config, layer: int, kind: str) -> tuple[int, int]:
    """Head size and key heads of a layer, from either form: per_layer_config, or global_head_dim and the like."""
    common = (config.integer("head_dim"), config.integer("num_key_value_heads"))
    if config.has("per_layer_config"):
        own = config.part("per_layer_config")
        if not own.has(str(layer)):
            return common
        of_layer = own.part(str(layer))
        for key in of_layer.values:
            if key not in _HEADS:
                raise PackError(f"{of_layer.where}: {shown(key)} of one layer is not supported")
        return of_layer.integer("head_dim", common[0]), of_layer.integer("num_key_value_heads", common[1])
    if kind != "full":
        return common
    joined = config.flag("attention_k_eq_v", False) and config.has("num_global_key_value_heads")
    return config.integer("global_head_dim"), config.integer("num_global_key_value_heads") if joined else common[1]
