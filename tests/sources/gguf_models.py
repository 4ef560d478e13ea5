"""Writes the tiny models as GGUF files, with the names and conventions of llama.cpp's converter (its directory
conversion/). Written from that, not from the reader: what the two make of each other is what the tests compare.

    write_gguf(MODELS["llama"], path)                  # F32
    write_gguf(MODELS["llama"], path, matrices="Q8_0") # matrices quantised, norms and biases F32
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf_gemma4
import gguf_recurrent
import numpy as np
import numpy.typing as npt
import tiny_models
from tiny_models import TinyModel

Array = npt.NDArray[Any]
#: weight name and fp32 values -> stored array and ggml's type
Store = Callable[[str, npt.NDArray[np.float32]], "tuple[Array, int | None]"]

_LAYER = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.qkv_proj": "attn_qkv",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
    "ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down", "self_attn.q_k_v_proj": "attn_qkv",
    "self_attn.g_proj": "attn_gate", "self_attn.out_proj": "attn_output",
    "attn.attention.q_proj": "attn_q",
    "attn.attention.k_proj": "attn_k", "attn.attention.v_proj": "attn_v", "attn.attention.out_proj": "attn_output",
    "mlp.c_fc_0": "ffn_gate", "mlp.c_fc_1": "ffn_up", "self_attn.query_layernorm": "attn_q_norm",
    "self_attn.key_layernorm": "attn_k_norm", "mlp.gate": "ffn_gate_inp",
    "feed_forward.gate": "ffn_gate_inp", "block_sparse_moe.router.layer": "ffn_gate_inp",
    "operator_norm": "attn_norm", "ffn_norm": "ffn_norm",
    "self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm", "conv.conv": "shortconv.conv",
    "conv.in_proj": "shortconv.in_proj", "conv.out_proj": "shortconv.out_proj", "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down", "feed_forward.w3": "ffn_up",
    **{f"mlp.shared_expert.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")},
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
}  # fmt: skip
_GEMMA_LAYER = {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
_BEHIND_LAYER = {  # OLMo 2, EXAONE 4
    "post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
_WHOLE = {
    "embed_tokens": "token_embd", "norm": "output_norm", "wte": "token_embd", "wpe": "position_embd",
    "ln_f": "output_norm", "lm_head": "output", "embedding": "token_embd", "embedding_norm": "token_embd_norm",
}  # fmt: skip
_ARCHITECTURE = {
    "mistral": "llama", "gemma3_text": "gemma3", "gemma4_text": "gemma4", "qwen3_moe": "qwen3moe",
    "qwen2_moe": "qwen2moe", "granitemoeshared": "granitemoe",
    "lfm2_moe": "lfm2moe",
    "ministral3": "mistral3", "hunyuan_v1_dense": "hunyuan-dense", "qwen3_5_text": "qwen35",
}  # fmt: skip
_PERMUTED = (
    "llama",
    "smollm3",
    "mistral3",
    "granite",
    "granitemoe",
    "minicpm",
)  # LlamaModel of conversion/llama.py and its heirs
_DIVIDED = ("llama", "mistral3", "exaone", "exaone4")  # those that write rope_freqs


def architecture(model: TinyModel) -> str:
    kind = model.config["model_type"]
    if kind == "granitemoehybrid":
        return gguf_recurrent.granite(model.config)
    return _ARCHITECTURE.get(kind, kind)


def permuted(weights: Array, heads: int) -> Array:
    """LlamaModel.permute of conversion/llama.py."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def gguf_tensors(model: TinyModel) -> dict[str, npt.NDArray[np.float32]]:
    """The weights as the converter would write them, in fp32."""
    config, name_of = model.config, architecture(model)
    gemma = name_of.startswith("gemma")
    if name_of in gguf_recurrent.ARCHITECTURES:
        return gguf_recurrent.tensors(model)
    found = {}
    experts: dict[str, list[npt.NDArray[np.float32]]] = {}
    for name, values in tiny_models.tensors(model).items():
        if name in model.extra:
            continue
        bare, ending = name.removeprefix(model.prefix).rsplit(".", 1)
        if ending == "layer_scalar":
            bare, ending = f"{bare}.{ending}", "weight"
        if name_of == "gpt2" and ".c_" in bare and ending == "weight":
            values = values.T
        if name_of in _PERMUTED and bare.endswith("q_proj"):
            values = permuted(values, config["num_attention_heads"])
        if name_of in _PERMUTED and bare.endswith("k_proj"):
            values = permuted(values, config["num_key_value_heads"])
        if bare.endswith("conv.conv"):
            values = values.squeeze(1)
        if tiny_models.is_less_by_one(config["model_type"], bare):
            values = values + np.float32(1)
        parts = bare.split(".", 2)
        if parts[0] == "layers" and parts[2].endswith("_linear"):  # Granite's, of all experts or a shared one
            halves = np.split(values, 2, axis=-2) if parts[2].endswith("input_linear") else [values]
            names, kind = ("gate", "up") if len(halves) == 2 else ("down",), "exps" if values.ndim == 3 else "shexp"
            for part, half in zip(names, halves, strict=True):
                found[f"blk.{parts[1]}.ffn_{part}_{kind}.weight"] = np.ascontiguousarray(half)
            continue
        if parts[0] == "layers" and ".experts." in parts[2]:
            _, _, expert, part = parts[2].split(".")
            part = {"w1": "gate", "w2": "down", "w3": "up"}.get(part, part)
            experts.setdefault(f"blk.{parts[1]}.ffn_{part.removesuffix('_proj')}_exps.weight", []).append(values)
            assert int(expert) == len(experts[f"blk.{parts[1]}.ffn_{part.removesuffix('_proj')}_exps.weight"]) - 1
            continue
        if bare.endswith("expert_bias") or name.endswith("expert_bias"):
            found[f"blk.{name.removeprefix(model.prefix).split('.')[1]}.exp_probs_b.bias"] = values
            continue
        if parts[0] in ("layers", "h"):
            own = _GEMMA_LAYER if gemma else _BEHIND_LAYER if name_of in ("olmo2", "exaone4") else {}
            new = f"blk.{parts[1]}.{(_LAYER | gguf_gemma4.LAYER | own)[parts[2]]}"
        else:
            new = (_WHOLE | gguf_gemma4.WHOLE)[bare]
        found[f"{new}.{ending}"] = np.ascontiguousarray(values)
    found |= {name: np.stack(of_each) for name, of_each in experts.items()}
    return found | _rope_tensors(model)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rope parameters of either form of config.json."""
    given = config.get("rope_parameters") or {}
    given = given.get("full_attention", given)
    old = config.get("rope_scaling") or {}
    kind = given.get("rope_type") or old.get("rope_type") or old.get("type") or "default"
    return {"rope_theta": config.get("rope_theta", 10000.0)} | old | given | {"rope_type": kind}


def _head_dim(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _rope_tensors(model: TinyModel) -> dict[str, npt.NDArray[np.float32]]:
    """generate_extra_tensors of conversion/llama.py and phi.py."""
    if model.config["model_type"] == "gemma4_text":
        return gguf_gemma4.rope_tensors(model.config)
    rope = _rope(model.config)
    if rope["rope_type"] == "longrope":
        return {
            f"rope_factors_{kind}.weight": np.array(rope[f"{kind}_factor"], np.float32) for kind in ("long", "short")
        }
    if rope["rope_type"] != "llama3" or architecture(model) not in _DIVIDED:
        return {}
    size = _head_dim(model.config)
    factors = []
    for frequency in rope["rope_theta"] ** -(np.arange(0, size, 2, dtype=np.float32) / size):
        wave, context = 2 * math.pi / frequency, rope["original_max_position_embeddings"]
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        if wave < context / high:
            factors.append(1.0)
        elif wave > context / low:
            factors.append(rope["factor"])
        else:
            smooth = (context / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return {"rope_freqs.weight": np.array(factors, np.float32)}


def _rotated(config: Mapping[str, Any], rope: Mapping[str, Any], size: int) -> dict[str, Any]:
    """How many numbers of a head turn, and in layers with a window where that is another number."""
    share = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1))
    found: dict[str, Any] = {"rope.dimension_count": int(size * share)}
    if config["model_type"] == "spark2_5":
        local = config["rope_parameters"]["sliding_attention"]
        found["rope.dimension_count_swa"] = int(size * local["partial_rotary_factor"])
        found["rope.freq_base_swa"] = float(local["rope_theta"])
    return found


def metadata(model: TinyModel) -> dict[str, Any]:
    """set_gguf_parameters of the converter: keys without the architecture before them."""
    config = model.config
    if config["model_type"] == "gemma4_text":
        return gguf_gemma4.metadata(config)
    if config["model_type"] == "gpt2":
        return {
            "context_length": config["n_ctx"], "embedding_length": config["n_embd"], "block_count": config["n_layer"],
            "feed_forward_length": config.get("n_inner") or 4 * config["n_embd"],
            "attention.head_count": config["n_head"], "attention.layer_norm_epsilon": config["layer_norm_epsilon"],
        }  # fmt: skip
    found: dict[str, Any] = {
        "context_length": config["max_position_embeddings"], "embedding_length": config["hidden_size"],
        "block_count": config.get("num_hidden_layers") or config["num_layers"],
        "feed_forward_length": config["intermediate_size"], "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
    }  # fmt: skip
    if "layer_norm_eps" in config:
        found["attention.layer_norm_epsilon"] = config["layer_norm_eps"]
    else:
        found["attention.layer_norm_rms_epsilon"] = (
            config.get("rms_norm_eps") or config.get("norm_eps") or config["layer_norm_epsilon"]
        )
    found |= _of_its_own(config)
    rope, size = _rope(config), _head_dim(config)
    if rope["rope_type"] == "dynamic" and "alpha" in rope:  # HunYuanModel of conversion/hunyuan.py
        rope["rope_theta"] = 10000.0 * rope["alpha"] ** (size / (size - 2))
        found["rope.scaling.type"] = "none"
    found["rope.freq_base"] = float(rope["rope_theta"])
    found |= _rotated(config, rope, size)
    if "head_dim" in config:
        found |= {"attention.key_length": size, "attention.value_length": size}
    found |= _scaling(config, rope)
    if config.get("sliding_window") and not config["model_type"].startswith("qwen"):
        found["attention.sliding_window"] = config["sliding_window"]
    if "num_experts_per_tok" in config:  # whether scores are normalised no key says
        found["expert_count"] = config.get("num_experts") or config["num_local_experts"]
        found["expert_used_count"] = config["num_experts_per_tok"]
    if "moe_intermediate_size" in config:
        found["expert_feed_forward_length"] = config["moe_intermediate_size"]
    for key in ("shared_expert_intermediate_size", "shared_intermediate_size"):
        if key in config:
            found["expert_shared_feed_forward_length"] = config[key]
    for kind in ("attn", "final"):
        if config.get(f"{kind}_logit_softcapping"):
            found[f"{kind}_logit_softcapping"] = config[f"{kind}_logit_softcapping"]
    if isinstance(config.get("sliding_window_pattern"), int):
        found["attention.sliding_window_pattern"] = config["sliding_window_pattern"]
    elif "layer_types" in config and config.get("sliding_window") and not config["model_type"].startswith("lfm2"):
        found["attention.sliding_window_pattern"] = [kind == "sliding_attention" for kind in config["layer_types"]]
    return found


def _scaling(config: Mapping[str, Any], rope: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if rope["rope_type"] in ("linear", "yarn"):
        found |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": float(rope["factor"])}
    if rope["rope_type"] == "yarn":
        found["rope.scaling.original_context_length"] = rope["original_max_position_embeddings"]
        for theirs, ours in (
            ("attention_factor", "attn_factor"),
            ("beta_fast", "beta_fast"),
            ("beta_slow", "beta_slow"),
        ):
            if theirs in rope:
                found[f"rope.scaling.yarn_{ours}"] = float(rope[theirs])
    if rope["rope_type"] == "longrope":
        original = config["original_max_position_embeddings"]
        scale = config["max_position_embeddings"] / original
        found |= {
            "rope.scaling.type": "longrope", "rope.scaling.original_context_length": original,
            "rope.scaling.attn_factor": math.sqrt(1 + math.log(scale) / math.log(original)),
        }  # fmt: skip
    return found


def _of_its_own(config: Mapping[str, Any]) -> dict[str, Any]:
    """What GraniteModel, MiniCPMModel, Mistral3Model and StableLMModel of the converter add."""
    kind = config["model_type"]
    if kind == "lfm2":
        return _lfm2(config)
    if kind in ("qwen3_5_text", "granitemoehybrid"):
        return gguf_recurrent.metadata(config)
    if kind == "lfm2_moe":
        heads = [config["num_key_value_heads"] if name != "conv" else 0 for name in config["layer_types"]]
        return {
            "attention.head_count_kv": heads, "shortconv.l_cache": config.get("conv_L_cache", 3),
            "leading_dense_block_count": config["num_dense_layers"], "expert_gating_func": 2,
        }  # fmt: skip
    if kind in ("granite", "granitemoe", "granitemoeshared"):
        names = {"attention": "attention", "embedding": "embedding", "residual": "residual"}
        found = {f"{ours}_scale": config[f"{theirs}_multiplier"] for theirs, ours in names.items()}
        found["attention.scale"] = found.pop("attention_scale")
        return found | {"logit_scale": config["logits_scaling"]}
    if kind == "minicpm":
        return {
            "embedding_scale": float(config["scale_emb"]),
            "residual_scale": config["scale_depth"] / config["num_hidden_layers"] ** 0.5,
            "logit_scale": config["hidden_size"] / config["dim_model_base"],
        }
    if kind == "ministral3":
        rope = config["rope_parameters"]
        return {
            "rope.scaling.yarn_log_multiplier": rope["mscale_all_dim"],
            "attention.temperature_scale": rope["llama_4_scaling_beta"],
        }
    return {"use_parallel_residual": True} if kind == "stablelm" else {}


def _lfm2(config: Mapping[str, Any]) -> dict[str, Any]:
    """LFM2Model of conversion/lfm2.py."""
    layers = range(config["num_hidden_layers"])
    types = config.get("layer_types")
    attends = config["full_attn_idxs"] if types is None else [i for i in layers if types[i] == "full_attention"]
    heads = [config["num_key_value_heads"] if layer in attends else 0 for layer in layers]
    inner = config.get("block_ff_dim", config["intermediate_size"])
    if config["block_auto_adjust_ff_dim"]:
        inner = int(config["block_ffn_dim_multiplier"] * int(2 * inner / 3))
        inner = config["block_multiple_of"] * math.ceil(inner / config["block_multiple_of"])
    return {
        "attention.head_count_kv": heads, "feed_forward_length": inner, "shortconv.l_cache": config["conv_L_cache"],
    }  # fmt: skip


def vocabulary(pad: int | None) -> dict[str, Any]:
    """The tokenizer of the tiny models, and their chat template."""
    document = tiny_models.tokenizer_json()
    tokens = list(document["model"]["vocab"])
    return {
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * 268 + [3] * 4, "tokenizer.ggml.merges": document["model"]["merges"],
        "tokenizer.ggml.bos_token_id": 268, "tokenizer.ggml.eos_token_id": 270,
        "tokenizer.ggml.padding_token_id": pad, "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": tiny_models.CHAT_TEMPLATE,
    }  # fmt: skip


def as_type(kind: str) -> Store:
    """Matrices of a type that package gguf can make; vectors stay F32, as in the converter."""
    import gguf

    number = gguf.GGMLQuantizationType[kind]

    def store(name: str, values: npt.NDArray[np.float32]) -> tuple[Array, int | None]:
        if values.ndim == 1 or kind == "F32":
            return values, None
        return gguf.quants.quantize(values, number), number

    return store


def write_gguf(
    model: TinyModel,
    path: Path,
    matrices: str | Store = "F32",
    changes: Mapping[str, Any] | None = None,
    tensors: Mapping[str, npt.NDArray[np.float32]] | None = None,
    split: int = 0,
) -> Path:
    """Writes a model. changes: metadata to be replaced, removed where None, keys in full. tensors: instead of the
    model's. split: so many tensors in each of several files; the first one's path is returned."""
    import gguf

    store = as_type(matrices) if isinstance(matrices, str) else matrices
    weights = gguf_tensors(model) if tensors is None else tensors
    kind = architecture(model)
    fields = {f"{kind}.{key}": value for key, value in metadata(model).items()}
    fields |= vocabulary(model.config.get("pad_token_id")) | dict(changes or {})
    parts = (
        [dict(list(weights.items())[at : at + split]) for at in range(0, len(weights), split)] if split else [weights]
    )
    paths = [path]
    if split:
        paths = [path.with_name(f"{path.stem}-{i + 1:05}-of-{len(parts):05}.gguf") for i in range(len(parts))]
    for index, (part, part_path) in enumerate(zip(parts, paths, strict=True)):
        writer = gguf.GGUFWriter(part_path, str(fields.pop("general.architecture", kind)) if index == 0 else kind)
        if split:
            fields |= {"split.no": index, "split.count": len(parts), "split.tensors.count": len(weights)}
        for key, value in fields.items():
            _add(writer, key, value)
        for name, values in part.items():
            data, number = store(name, values)
            writer.add_tensor(name, data, raw_dtype=number)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        fields = {}
    return paths[0]


def _add(writer: Any, key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, int):
        (writer.add_uint32 if value >= 0 else writer.add_int32)(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_array(key, value)
