"""LFM2 and Granite 4 in GGUF files: the number of key heads of each layer says whether it attends: 0 where not."""

from __future__ import annotations

from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.sources.messages import shown

CONVOLVING = ("lfm2", "lfm2moe")
NAMES = (*CONVOLVING, "granitehybrid")


def key_heads(counts: list[Any], where: str) -> int:
    """Of the layers that attend. Raises PackError where these differ, or none attends."""
    found = sorted({_count(count, where) for count in counts} - {0})
    if len(found) != 1:
        raise PackError(f"{where}: its layers have {found} key heads, which is not supported; check the file")
    return found[0]


def layer_types(counts: Any, n_layers: int, where: str, other: str = "conv") -> list[str]:
    """The kinds of the layers, in Hugging Face's words; counts: one number holds for all layers. other: of those that
    do not attend."""
    if not isinstance(counts, list):
        return ["full_attention"] * n_layers
    if len(counts) != n_layers:
        raise PackError(f"{where}: {len(counts)} numbers of key heads for {n_layers} layers; check the file")
    return ["full_attention" if _count(count, where) else other for count in counts]


def _count(value: Any, where: str) -> int:
    if type(value) is not int or value < 0:
        raise PackError(f"{where}: a layer has {shown(value)} key heads; check the file")
    return value
