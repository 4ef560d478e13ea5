"""Recurrent layers in GGUF files: Qwen3.5 and Granite 4 as llama.cpp's converter writes them.

The rates are negative there and stand in `ssm_a`. Of Qwen3.5 the value heads are in tiles: the first of each key head,
then the second of each. The last blocks may guess further tokens, and are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.sources.arranged import untiled
from rbe_edge.sources.gguf import hybrids
from rbe_edge.sources.gguf.configuration import Keys, block_count
from rbe_edge.sources.gguf.tensors import GgufTensor
from rbe_edge.sources.messages import shown
from rbe_edge.sources.types import SourceTensor

_GRANITE, _TILED = "granitehybrid", ("qwen35", "qwen35moe")
NAMES = (*_TILED, "qwen3next", _GRANITE)

_VECTORS = re.compile(r"blk\.\d+\.(ssm_a|ssm_d|ssm_norm\.weight)")


def configuration(keys: Keys, n_layers: int) -> dict[str, Any]:
    """What is recurrent, in Hugging Face's words. Raises PackError for keys that are missing or absurd."""
    heads, inner = keys.integer("ssm.time_step_rank"), keys.integer("ssm.inner_size")
    groups, state, taps = (keys.integer(f"ssm.{name}") for name in ("group_count", "state_size", "conv_kernel"))
    if inner % heads:
        raise PackError(f"{keys.config.where}: {heads} heads do not share an inner width of {inner}; check the file")
    if keys.architecture != _GRANITE:
        return {
            "layer_types": _layer_types(keys, n_layers), "linear_num_key_heads": groups,
            "linear_num_value_heads": heads, "linear_key_head_dim": state, "linear_value_head_dim": inner // heads,
            "linear_conv_kernel_dim": taps,
        }  # fmt: skip
    width, counts = keys.integer("embedding_length"), keys.get("attention.head_count_kv")
    if inner % width:
        raise PackError(f"{keys.config.where}: an inner width of {inner} is no multiple of {width}; check the file")
    return {
        "layer_types": hybrids.layer_types(counts, n_layers, keys.config.where, "mamba"), "mamba_n_heads": heads,
        "mamba_n_groups": groups, "mamba_d_state": state, "mamba_d_head": inner // heads, "mamba_d_conv": taps,
        "mamba_expand": inner // width,
        "position_embedding_type": "nope" if keys.get("rope.scaling.finetuned") is False else "rope",
        **({} if keys.get("expert_count") else {"shared_intermediate_size": keys.integer("feed_forward_length")}),
    }  # fmt: skip


def _layer_types(keys: Keys, n_layers: int) -> list[str]:
    """Of Qwen3.5: a list says which layers are recurrent, else every so many-th attends."""
    given, name = keys.get("attention.recurrent_layers"), keys.key("attention.recurrent_layers")
    if given is None:
        period = keys.integer("full_attention_interval", 4)
        given = [bool((layer + 1) % period) for layer in range(n_layers)]
    if not isinstance(given, list) or len(given) < n_layers or not all(isinstance(one, int) for one in given):
        raise PackError(
            f"{keys.config.where}: {name} is {shown(given)}, expected a list of {n_layers} booleans; check the file"
        )
    return ["linear_attention" if recurrent else "full_attention" for recurrent in given[:n_layers]]


def arranged(keys: Keys, tensors: Mapping[str, GgufTensor]) -> dict[str, SourceTensor]:
    """The tensors of the blocks that are packed, in the order of Hugging Face's, but that rates stay negative."""
    n_layers = block_count(keys)
    kept = {name: _flat(tensor) for name, tensor in tensors.items() if _block(name) < n_layers}
    if keys.architecture not in _TILED:
        return kept
    groups, heads = keys.integer("ssm.group_count"), keys.integer("ssm.time_step_rank")
    key_width = groups * keys.integer("ssm.state_size")
    return {name: _untiled(tensor, groups, heads, 2 * key_width) for name, tensor in kept.items()}


def _block(name: str) -> int:
    """-1 of what stands around the blocks."""
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _flat(tensor: GgufTensor) -> SourceTensor:
    """Vectors that have two dimensions there."""
    if not _VECTORS.fullmatch(tensor.name) or len(tensor.shape) != 2 or tensor.quantised is not None:
        return tensor
    return replace(tensor, shape=(math.prod(tensor.shape),), data=tensor.data.reshape(-1))


#: Tensors with something of each value head: their names in a block, and whether it stands behind queries and keys.
_OF_VALUE_HEADS = {
    "attn_qkv.weight": True, "ssm_conv1d.weight": True, "attn_gate.weight": False, "ssm_alpha.weight": False,
    "ssm_beta.weight": False, "ssm_a": False, "ssm_dt.bias": False,
}  # fmt: skip


def _untiled(tensor: SourceTensor, groups: int, heads: int, behind: int) -> SourceTensor:
    part = tensor.name.split(".", 2)[-1]
    of_columns = part == "ssm_out.weight"
    if heads % groups or heads == groups or not (part in _OF_VALUE_HEADS or of_columns):
        return tensor
    first = behind if _OF_VALUE_HEADS.get(part) else 0
    count = tensor.shape[-1] if of_columns else tensor.shape[0] - first
    if count <= 0 or count % heads:  # the shape is refused where the tensor is needed
        return tensor
    return untiled(tensor, groups, heads // groups, first, of_columns)
