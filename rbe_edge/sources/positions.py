"""Positions of an architecture: rotary ones, from either form of config.json, and tables of learned ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from rbe_edge.errors import PackError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.architecture import Architecture
from rbe_edge.sources.config import Config
from rbe_edge.sources.layer_shapes import LayerShapes
from rbe_edge.sources.messages import shown
from rbe_edge.sources.plan import TensorPlan
from rbe_edge.sources.rope import DoubleArray, RopeTable, rope_table
from rbe_edge.sources.types import Source


def positions_before(row: Architecture, config: Config) -> int:
    """Rows of a table of positions that no text uses: RoBERTa's first is the one behind that of the padding token."""
    if not row.positions_follow_padding:
        return 0
    padding, most = config.values.get("pad_token_id"), config.integer("max_position_embeddings") - 1
    if isinstance(padding, bool) or not isinstance(padding, int) or not 0 <= padding < most:
        raise PackError(
            f"{config.where}: pad_token_id is {shown(padding)}, and positions begin behind it; correct the file"
        )
    return padding + 1


def limit_context(sizes: dict[str, int], source: Source, notes: list[str]) -> None:
    """Of a sentence encoder: to texts of as many tokens as it was made for, which need no more positions."""
    longest = source.sentence.max_tokens if source.sentence is not None else None
    if longest is not None and longest < sizes["context"]:
        notes.append(f"texts have at most {longest} tokens, as sentence_bert_config.json says, not {sizes['context']}")
        sizes["positions_behind"] = sizes["context"] - longest
        sizes["context"] = longest


def rotary(
    row: Architecture,
    config: Config,
    sizes: Mapping[str, int],
    shapes: LayerShapes,
    layers: list[str],
    tensors: list[TensorPlan],
    notes: list[str],
) -> tuple[dict[str, MetadataValue], list[TensorPlan]]:
    """The metadata of the rotary positions, and the tensors with those of the positions: one table for all layers, or
    one per kind of layer. Tables of fewer pairs are filled up with pairs that do not turn (_order)."""
    kinds: list[str] = [kind for kind in ("full", "sliding") if kind in layers] if row.rope_per_layer_type else ["full"]
    # layers of one kind have heads of one size
    of_kinds = [shapes.sizes_of(layers.index(kind) if row.rope_per_layer_type else None, sizes) for kind in kinds]
    parameters = _rope_parameters(row, config)
    tables = [_table(row, parameters[kind], size, notes) for kind, size in zip(kinds, of_kinds, strict=True)]
    first = tables[0]
    for table in tables[1:]:
        if table.attention_factor != first.attention_factor or first.long_from or table.long_from:
            raise PackError(
                f"{config.where}: rope parameters that differ between kinds of layers in more than frequencies are not "
                f"supported"
            )
    metadata: dict[str, MetadataValue] = {}
    if first.attention_factor != 1:
        metadata["rope.attention_factor"] = first.attention_factor
    if len(tables) > 1:
        metadata["rope.tables"] = tuple(kinds.index(kind) for kind in layers)
    widest = max(table.frequencies.size for table in tables)
    orders = {
        kind: _order(table.frequencies.size, min(widest, size["head_dim"] // 2), size["head_dim"])
        for kind, table, size in zip(kinds, tables, of_kinds, strict=True)
    }
    found = [*_with_heads_ordered(tensors, layers, orders), _plan("rope.frequencies", [t.frequencies for t in tables])]
    if first.long_frequencies is not None:
        metadata["rope.long_from"] = first.long_from
        metadata["rope.long_attention_factor"] = first.attention_factor
        found.append(_plan("rope.long_frequencies", [first.long_frequencies]))
    return metadata, found


def _plan(name: str, tables: Sequence[DoubleArray]) -> TensorPlan:
    stacked = np.zeros((len(tables), max(table.size for table in tables)), np.float32)
    for line, table in zip(stacked, tables, strict=True):
        line[: table.size] = table
    return TensorPlan(name, "frequencies", *stacked.shape, values=stacked)


def _with_heads_ordered(
    tensors: list[TensorPlan], layers: list[str], orders: Mapping[str, tuple[int, ...]]
) -> Iterator[TensorPlan]:
    """The tensors, queries and keys in the order of their kind of layer."""
    for tensor in tensors:
        part = re.fullmatch(r"layers\.(\d+)\.attention\.(?:[qk](?:\.bias)?|[qk]_norm)", tensor.name)
        order = orders.get(layers[int(part[1])]) if part else None
        yield replace(tensor, head_order=order) if order else tensor


def _order(pairs: int, places: int, head_dim: int) -> tuple[int, ...]:
    """Which numbers of a head that turns `pairs` stand where `places` pairs have their place; empty: as they are.

    Pair d of a head is (d, d + places), with the pairs of the widest table, or those of the whole head. Where a kind of
    layer turns fewer, its pairs come to these places, and numbers that do not turn fill the others. Scores are the
    same: queries and keys are ordered alike.
    """
    if pairs == places:
        return ()
    still = iter(range(2 * pairs, head_dim))
    first = [d if d < pairs else next(still) for d in range(places)]
    second = [pairs + d if d < pairs else next(still) for d in range(places)]
    return (*first, *second, *still)


def _table(row: Architecture, parameters: Config, sizes: Mapping[str, int], notes: list[str]) -> RopeTable:
    proportional = parameters.values.get("rope_type") == "proportional"
    if not row.partial_rotary and not proportional and parameters.has("partial_rotary_factor"):
        if parameters.text("rope_type", "default") != "default":
            raise PackError(f"{parameters.where}: partial_rotary_factor is not supported for {row.title}")
        if parameters.positive("partial_rotary_factor") != 1:
            notes.append(f"{parameters.where}: partial_rotary_factor means nothing in {row.title}; left out")
        parameters = parameters.merged(partial_rotary_factor=None)
    return rope_table(parameters, sizes["head_dim"], sizes["context"] + sizes["positions_behind"])


def _rope_parameters(row: Architecture, config: Config) -> dict[str, Config]:
    """Per kind of layer, the parameters in the new form, from either form of config.json.

    New: rope_parameters = {rope_type, rope_theta, ...}, or one such object per layer type.
    Old: rope_theta, rope_scaling = {type or rope_type, factor, ...} or null, rope_local_base_freq (Gemma 3).
    Where there are both, rope_scaling counts.
    """
    scaling, given = _object(config, "rope_scaling"), _object(config, "rope_parameters")
    if row.rope_per_layer_type:
        full, local = _object(given, "full_attention"), _object(given, "sliding_attention")
        return {
            "full": _complete(row, config, full.merged(**scaling.values), config.positive("rope_theta", 1e6)),
            "sliding": _complete(row, config, local, config.positive("rope_local_base_freq", 1e4)),
        }
    if scaling.values:
        given = scaling
    if any(isinstance(value, dict) for value in given.values.values()):
        raise PackError(f"{given.where}: expected one set for all layers for {row.title}; correct the file")
    return {"full": _complete(row, config, given, config.positive("rope_theta", 1e4))}


def _object(config: Config, key: str) -> Config:
    """The object under a key, empty where there is none."""
    return config.part(key) if config.has(key) else Config({}, config.where)


def _complete(row: Architecture, config: Config, part: Config, theta: float) -> Config:
    """One set of parameters, with what the configuration says outside of it."""
    values: dict[str, object] = {
        "rope_theta": theta,
        "partial_rotary_factor": config.values.get("partial_rotary_factor"),
    }
    values |= {key: value for key, value in part.values.items() if value is not None}
    kind = values.get("rope_type", values.get("type", "default"))
    values["rope_type"] = kind
    if row.model_type == "phi3" and kind in ("su", "yarn"):
        values["rope_type"] = "longrope"  # Phi-3's first releases called it so
    if config.has("original_max_position_embeddings"):
        values["original_max_position_embeddings"] = config.integer("original_max_position_embeddings")
    return Config(values, part.where)
