"""What llama.cpp's converter makes of models with recurrent layers (its directory conversion/), for gguf_models.py.
Written from that, not from the reader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tiny_models
from tiny_models import TinyModel

Array = npt.NDArray[Any]

ARCHITECTURES = ("qwen35", "granitehybrid")

_WHOLE = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
_LAYER = {
    "input_layernorm.weight": "attn_norm.weight", "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
    "shared_mlp.output_linear.weight": "ffn_down.weight", "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    **{f"self_attn.{part}_proj.{kind}": f"attn_{part}.{kind}" for part in "qkv" for kind in ("weight", "bias")},
    **{f"self_attn.o_proj.{kind}": f"attn_output.{kind}" for kind in ("weight", "bias")},
    "linear_attn.in_proj_qkv.weight": "attn_qkv.weight", "linear_attn.in_proj_z.weight": "attn_gate.weight",
    "linear_attn.in_proj_a.weight": "ssm_alpha.weight", "linear_attn.in_proj_b.weight": "ssm_beta.weight",
    "mamba.in_proj.weight": "ssm_in.weight",
    **{
        f"{place}.{theirs}": ours
        for place in ("linear_attn", "mamba")
        for theirs, ours in (
            ("A_log", "ssm_a"), ("D", "ssm_d"), ("dt_bias", "ssm_dt.bias"), ("conv1d.weight", "ssm_conv1d.weight"),
            ("conv1d.bias", "ssm_conv1d.bias"), ("norm.weight", "ssm_norm.weight"),
            ("out_proj.weight", "ssm_out.weight"),
        )
    },
}  # fmt: skip


def granite(config: Mapping[str, Any]) -> str:
    """A model that attends in all layers is written as one of Granite 3."""
    return "granitehybrid" if "mamba" in config["layer_types"] else "granite"


def tiled(config: Mapping[str, Any], name: str, values: Array) -> Array:
    """Qwen3.5's value heads, [key heads][of each] -> [of each][key heads]: _reorder_v_heads of conversion/qwen.py."""
    groups, heads = config["linear_num_key_heads"], config["linear_num_value_heads"]
    behind = 2 * groups * config["linear_key_head_dim"] if name.endswith(("in_proj_qkv.weight", "conv1d.weight")) else 0

    def swapped(rows: Array) -> Array:
        shape = rows.shape
        return rows.reshape(groups, heads // groups, -1, *shape[1:]).swapaxes(0, 1).reshape(shape)

    if name.endswith("out_proj.weight"):
        return swapped(values.T).T
    return np.concatenate([values[:behind], swapped(values[behind:])])


def permuted(weights: Array, heads: int) -> Array:
    """LlamaModel.permute of conversion/llama.py."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def tensors(model: TinyModel) -> dict[str, npt.NDArray[np.float32]]:
    """The weights as the converter would write them, in fp32."""
    config, qwen = model.config, model.config["model_type"] == "qwen3_5_text"
    found: dict[str, Array] = {}
    for name, values in tiny_models.tensors(model).items():
        bare = name.removeprefix(model.prefix)
        if tiny_models.is_less_by_one(config["model_type"], bare):
            values = values + np.float32(1)
        if not bare.startswith("layers."):
            found[_WHOLE.get(bare, "output.weight")] = values
            continue
        _, layer, part = bare.split(".", 2)
        if part == "shared_mlp.input_linear.weight":
            for half, ours in zip(np.split(values, 2), ("ffn_gate", "ffn_up"), strict=True):
                found[f"blk.{layer}.{ours}.weight"] = half
            continue
        if part.endswith("conv1d.weight"):
            values = values.squeeze(1)
        if part.endswith("A_log"):
            values = -np.exp(values)
        if qwen and part.startswith("linear_attn.") and not part.endswith("norm.weight"):
            values = tiled(config, part, values)
        if part.startswith("mamba.") and part.endswith((".A_log", ".D")):
            values = values[:, None]
        if part == "mamba.norm.weight":
            values = values.reshape(config["mamba_n_groups"], -1)
        for one, key in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
            if not qwen and part.startswith(f"self_attn.{one}_proj."):
                values = permuted(values, config[key])
        behind = "post_attention_norm.weight" if qwen else "ffn_norm.weight"
        ours = _LAYER.get(part) or {"post_attention_layernorm.weight": behind}[part]
        found[f"blk.{layer}.{ours}"] = values
    return {name: np.ascontiguousarray(values, np.float32) for name, values in found.items()}


def metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that both have beside those of all models, and the rest."""
    if config["model_type"] == "qwen3_5_text":
        return {
            "ssm.conv_kernel": config["linear_conv_kernel_dim"], "ssm.state_size": config["linear_key_head_dim"],
            "ssm.group_count": config["linear_num_key_heads"],
            "ssm.time_step_rank": config["linear_num_value_heads"],
            "ssm.inner_size": config["linear_value_head_dim"] * config["linear_num_value_heads"],
            "full_attention_interval": config["full_attention_interval"],
            "rope.dimension_sections": [*config["rope_parameters"]["mrope_section"], 0],
        }  # fmt: skip
    factors = {
        "embedding_scale": float(config["embedding_multiplier"]), "residual_scale": config["residual_multiplier"],
        "attention.scale": config["attention_multiplier"], "logit_scale": float(config["logits_scaling"]),
        "feed_forward_length": config["shared_intermediate_size"],
    }  # fmt: skip
    if granite(config) == "granite":
        return factors
    heads = [config["num_key_value_heads"] if kind == "attention" else 0 for kind in config["layer_types"]]
    return factors | {
        "ssm.conv_kernel": config["mamba_d_conv"], "ssm.state_size": config["mamba_d_state"],
        "ssm.group_count": config["mamba_n_groups"], "ssm.time_step_rank": config["mamba_n_heads"],
        "ssm.inner_size": config["mamba_expand"] * config["hidden_size"], "attention.head_count_kv": heads,
        "rope.scaling.finetuned": False,
    }  # fmt: skip
