"""The keys of mixtures of experts in GGUF files, in Hugging Face's words. How scores are normalised is no key: it
follows from the architecture, as in llama.cpp."""

from __future__ import annotations

from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.sources.gguf.architectures import GRANITE_SHARED, Dialect
from rbe_edge.sources.gguf.configuration import Keys
from rbe_edge.sources.messages import shown

_NORMALIZED = {"qwen3moe": True, "lfm2moe": True, "olmoe": False, "granitemoe": True, "qwen2moe": False}

_FUNCTIONS = {"softmax": 1, "sigmoid": 2}  # of the key expert_gating_func; 0: that of the architecture

# Keys that change what a router computes, and the values with which they change nothing.
_NOT_COMPUTED: dict[str, tuple[object, ...]] = {
    "expert_group_count": (0, 1), "expert_shared_count": (0,),
    "expert_weights_scale": (0, 1),
}  # fmt: skip
_SHARED = "expert_shared_feed_forward_length"


def expert_configuration(dialect: Dialect, keys: Keys) -> dict[str, Any]:
    """Raises PackError for keys that are missing or absurd, and those with values that the engine does not compute."""
    if dialect.row.experts is None:
        return {"num_local_experts": keys.optional_integer("expert_count")}
    known = {**_NOT_COMPUTED, "expert_gating_func": (0, _FUNCTIONS[dialect.row.experts.score])}
    if dialect.name not in ("qwen2moe", "granitemoe"):
        known[_SHARED] = (0,)
    for name, neutral in known.items():
        value = keys.get(name)
        if value is not None and value not in neutral:
            raise PackError(f"{keys.config.where}: {keys.key(name)} = {shown(value)} is not supported")
    return {
        "num_dense_layers": keys.optional_integer("leading_dense_block_count") or 0,
        "num_experts": keys.integer("expert_count"), "num_experts_per_tok": keys.integer("expert_used_count"),
        dialect.row.experts.width: keys.integer("expert_feed_forward_length", keys.integer("feed_forward_length")),
        "norm_topk_prob": _NORMALIZED[dialect.name],
        **_shared(dialect, keys),
    }  # fmt: skip


def _shared(dialect: Dialect, keys: Keys) -> dict[str, Any]:
    """The part that every token goes through: always there in qwen2moe, feed_forward_length wide where no key says
    otherwise, and in granitemoe where its width is."""
    width = keys.optional_integer(_SHARED)
    if dialect.name == "qwen2moe":
        return {"shared_expert_intermediate_size": width or keys.integer("feed_forward_length")}
    return {"model_type": GRANITE_SHARED.model_type, "shared_intermediate_size": width} if width else {}
