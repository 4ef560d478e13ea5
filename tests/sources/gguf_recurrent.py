"""What llama.cpp's converter makes of models with recurrent layers (its directory conversion/), for gguf_models.py.
Written from that, not from the reader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tiny_models
from tiny_models import TinyModel

Array = npt.NDArray[Any]

MODEL_TYPES = ("qwen3_5_text", "qwen3_5_moe_text", "qwen3_next", "granitemoehybrid")

_WHOLE = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
_LAYER = {
    "input_layernorm.weight": "attn_norm.weight", "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
    **{f"self_attn.{part}_proj.{kind}": f"attn_{part}.{kind}" for part in "qkv" for kind in ("weight", "bias")},
    **{f"self_attn.o_proj.{kind}": f"attn_output.{kind}" for kind in ("weight", "bias")},
    "linear_attn.in_proj_qkv.weight": "attn_qkv.weight", "linear_attn.in_proj_z.weight": "attn_gate.weight",
    "linear_attn.in_proj_a.weight": "ssm_alpha.weight", "linear_attn.in_proj_b.weight": "ssm_beta.weight",
    "mamba.in_proj.weight": "ssm_in.weight", "linear_attn.in_proj_ba.weight": "ssm_ba.weight",
    "mlp.gate.weight": "ffn_gate_inp.weight", "block_sparse_moe.router.layer.weight": "ffn_gate_inp.weight",
    "mlp.shared_expert_gate.weight": "ffn_gate_inp_shexp.weight",
    **{f"mlp.shared_expert.{part}_proj.weight": f"ffn_{part}_shexp.weight" for part in ("gate", "up", "down")},
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


def _plain(config: Mapping[str, Any], values: Array) -> tuple[Array, Array]:
    """Of Qwen3-Next's in_proj_qkvz, of each key head q, k, v and z: q, k and v of all, and z."""
    keys, size = config["linear_num_key_heads"], config["linear_key_head_dim"]
    inner = config["linear_num_value_heads"] // keys * config["linear_value_head_dim"]
    heads = np.split(values.reshape(keys, -1, values.shape[1]), np.cumsum([size, size, inner]), axis=1)
    q, k, v, z = (part.reshape(-1, values.shape[1]) for part in heads)
    return np.concatenate([q, k, v]), z


def _several(config: Mapping[str, Any], part: str, values: Array) -> dict[str, Array] | None:
    """What the converter makes several tensors of; None of all else."""
    if part == "linear_attn.in_proj_qkvz.weight":
        return dict(zip(("attn_qkv.weight", "attn_gate.weight"), _plain(config, values), strict=True))
    if part.endswith(("gate_up_proj", "input_linear.weight")):
        kind = "_exps" if values.ndim == 3 else "_shexp" if config["num_local_experts"] else ""
        halves = np.split(values, 2, axis=-2)
        return {f"ffn_{name}{kind}.weight": half for name, half in zip(("gate", "up"), halves, strict=True)}
    if part.endswith(("experts.down_proj", "output_linear.weight")):
        kind = "_exps" if values.ndim == 3 else "_shexp" if config["num_local_experts"] else ""
        return {f"ffn_down{kind}.weight": values}
    return None


def _changed(config: Mapping[str, Any], part: str, values: Array) -> Array:
    """A tensor of a layer that stays one."""
    kind = config["model_type"]
    if part.endswith("conv1d.weight"):
        values = values.squeeze(1)
    if part.endswith("A_log"):
        values = -np.exp(values.astype(np.float64)).astype(np.float32)
    if kind.startswith("qwen3_5") and part.startswith("linear_attn.") and not part.endswith("norm.weight"):
        values = tiled(config, part, values)
    if part.startswith("mamba.") and part.endswith((".A_log", ".D")):
        values = values[:, None]
    if part == "mamba.norm.weight":
        values = values.reshape(config["mamba_n_groups"], -1)
    if part == "mlp.shared_expert_gate.weight":
        values = values.reshape(-1)
    for one, key in (("q", "num_attention_heads"), ("k", "num_key_value_heads")):
        if kind == "granitemoehybrid" and part.startswith(f"self_attn.{one}_proj."):
            values = permuted(values, config[key])
    return values


def tensors(model: TinyModel) -> dict[str, npt.NDArray[np.float32]]:
    """The weights as the converter would write them, in fp32."""
    config, found = model.config, {}
    experts: dict[str, list[Array]] = {}
    behind = "ffn_norm" if config["model_type"] == "granitemoehybrid" else "post_attention_norm"
    for name, values in tiny_models.tensors(model).items():
        bare = name.removeprefix(model.prefix)
        if tiny_models.is_less_by_one(config["model_type"], bare):
            values = values + np.float32(1)
        if not bare.startswith("layers."):
            found[_WHOLE.get(bare, "output.weight")] = values
            continue
        _, layer, part = bare.split(".", 2)
        of_expert = re.fullmatch(r"mlp\.experts\.\d+\.(gate|up|down)_proj\.weight", part)
        several = _several(config, part, values)
        if of_expert is not None:
            experts.setdefault(f"blk.{layer}.ffn_{of_expert[1]}_exps.weight", []).append(values)
        elif several is not None:
            found |= {f"blk.{layer}.{ours}": one for ours, one in several.items()}
        else:
            ours = _LAYER.get(part) or {"post_attention_layernorm.weight": f"{behind}.weight"}[part]
            found[f"blk.{layer}.{ours}"] = _changed(config, part, values)
    found |= {name: np.stack(of_each) for name, of_each in experts.items()}
    return {name: np.ascontiguousarray(values, np.float32) for name, values in found.items()}


def metadata(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that both have beside those of all models, and the rest."""
    if config["model_type"] != "granitemoehybrid":
        return {
            "ssm.conv_kernel": config["linear_conv_kernel_dim"], "ssm.state_size": config["linear_key_head_dim"],
            "ssm.group_count": config["linear_num_key_heads"],
            "ssm.time_step_rank": config["linear_num_value_heads"],
            "ssm.inner_size": config["linear_value_head_dim"] * config["linear_num_value_heads"],
            "full_attention_interval": config["full_attention_interval"],
            "rope.dimension_sections": [*config["rope_parameters"].get("mrope_section", [1, 1, 1]), 0],
        }  # fmt: skip
    inner = config["intermediate_size" if config["num_local_experts"] else "shared_intermediate_size"]
    factors = {
        "embedding_scale": float(config["embedding_multiplier"]), "residual_scale": config["residual_multiplier"],
        "attention.scale": config["attention_multiplier"], "logit_scale": float(config["logits_scaling"]),
        "feed_forward_length": inner,
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
