"""What llama.cpp calls the tensors of a `.rbe` file; the same for all architectures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

NAMES: Mapping[str, str] = MappingProxyType({
    "embedding": "token_embd", "positions": "position_embd", "norm": "output_norm", "head": "output",
    "segments": "token_types", "embedding.norm": "token_embd_norm",
    "layer_embedding": "per_layer_token_embd", "layer_embedding.projection": "per_layer_model_proj",
    "layer_embedding.norm": "per_layer_proj_norm",
    "layers.N.layer_embedding.gate": "blk.N.inp_gate", "layers.N.layer_embedding.projection": "blk.N.proj",
    "layers.N.layer_embedding.post_norm": "blk.N.post_norm", "layers.N.scale": "blk.N.layer_output_scale",
    "layers.N.attention.norm": "blk.N.attn_norm",
    "layers.N.attention.post_norm": "blk.N.post_attention_norm",
    "layers.N.attention.stream_norm": "blk.N.attn_output_norm",
    "layers.N.attention.q": "blk.N.attn_q",
    "layers.N.attention.k": "blk.N.attn_k",
    "layers.N.attention.v": "blk.N.attn_v",
    "layers.N.attention.gate": "blk.N.attn_gate",
    "layers.N.attention.o": "blk.N.attn_output",
    "layers.N.attention.q_norm": "blk.N.attn_q_norm",
    "layers.N.attention.k_norm": "blk.N.attn_k_norm",
    "layers.N.convolution.norm": "blk.N.attn_norm",
    "layers.N.convolution.in": "blk.N.shortconv.in_proj",
    "layers.N.convolution.taps": "blk.N.shortconv.conv",
    "layers.N.convolution.out": "blk.N.shortconv.out_proj",
    "layers.N.feed_forward.norm": "blk.N.ffn_norm",
    "layers.N.feed_forward.post_norm": "blk.N.post_ffw_norm",
    "layers.N.feed_forward.stream_norm": "blk.N.layer_output_norm",
    "layers.N.feed_forward.gate": "blk.N.ffn_gate",
    "layers.N.feed_forward.up": "blk.N.ffn_up",
    "layers.N.feed_forward.down": "blk.N.ffn_down",
    "layers.N.experts.router": "blk.N.ffn_gate_inp",
    "layers.N.experts.router.bias": "blk.N.exp_probs_b",
    **{f"layers.N.experts.E.{part}": f"blk.N.ffn_{part}_exps.E" for part in ("gate", "up", "down")},
    **{f"layers.N.shared.{part}": f"blk.N.ffn_{part}_shexp" for part in ("gate", "up", "down")},
    "layers.N.shared.share": "blk.N.ffn_gate_inp_shexp",
})  # fmt: skip
"""Without their endings, .weight and .bias. N: the number of the layer, or the letter itself in rules for all.
E: that of an expert, of which a GGUF file has all of a layer in one tensor; sources/experts.py takes it apart."""


def gguf_name(name: str) -> str:
    """'layers.3.attention.q' -> 'blk.3.attn_q.weight', 'layers.N.attention.q.bias' -> 'blk.N.attn_q.bias'. KeyError for
    what llama.cpp has no name for."""
    stem, ending = (name.removesuffix(".bias"), "bias") if name.endswith(".bias") else (name, "weight")
    layer = re.match(r"layers\.(\d+)\.", stem)
    if layer is None:
        return f"{NAMES.get(name) or NAMES[stem]}.{ending}"  # the bias of the choice of experts has a name of its own
    theirs = NAMES.get(f"layers.N.{name[layer.end() :]}") or NAMES[f"layers.N.{stem[layer.end() :]}"]
    return f"blk.{layer[1]}.{theirs.removeprefix('blk.N.')}.{ending}"
