"""Tiny random models of every supported architecture, as Hugging Face directories, made with numpy alone.

Weights follow from the name of the tensor and the seed by integer arithmetic and one division, so they are the same
bits on every machine and with every numpy: golden logits (tests/golden/logits) hold for them everywhere. A model that
differs from another in one feature of its configuration has the same weights: the feature alone moves its logits.

    write(MODELS["llama"], directory)          # config.json, model.safetensors, tokenizer.json
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import published_shapes
import tiny_gemma4
import tiny_llama_like
import tiny_recurrent

VOCABULARY = 272  # 256 bytes, 12 merges, 4 control tokens
WIDTH = 64
CONTEXT = 64

Tensors = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class TinyModel:
    """`prefix` stands before the names of the language model's tensors. `extra` are tensors with no weight in them."""

    name: str
    config: Mapping[str, Any]
    prefix: str = "model."
    head_name: str = "lm_head.weight"
    extra: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    seed: int = 1


def _llama(name: str, model_type: str = "llama", prefix: str = "model.", **changes: Any) -> TinyModel:
    config: dict[str, Any] = {
        "architectures": ["AForCausalLM"], "model_type": model_type, "hidden_size": WIDTH, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCABULARY,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 10000.0,
        "tie_word_embeddings": False, "bos_token_id": 268, "eos_token_id": 268, "pad_token_id": 271,
    }  # fmt: skip
    return TinyModel(name, {key: value for key, value in (config | changes).items() if value != "absent"}, prefix)


def _gpt2(name: str, prefix: str = "transformer.", **changes: Any) -> TinyModel:
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": WIDTH, "n_layer": 2, "n_head": 4,
        "n_positions": CONTEXT, "n_ctx": CONTEXT, "vocab_size": VOCABULARY, "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new", "bos_token_id": 268, "eos_token_id": 268,
    }  # fmt: skip
    extra = {f"{prefix}h.{layer}.attn.bias": (1, 1, CONTEXT, CONTEXT) for layer in range(2)}
    return TinyModel(name, config | changes, prefix, extra={} if prefix else extra)


def _gemma(name: str, model_type: str, **changes: Any) -> TinyModel:
    # head_dim differs from width / heads, and the scale is that of neither, as in Gemma 2 27B
    settings: dict[str, Any] = {
        "hidden_act": "absent", "hidden_activation": "gelu_pytorch_tanh", "head_dim": 24, "query_pre_attn_scalar": 32,
        "sliding_window": 8, "tie_word_embeddings": True, "rms_norm_eps": 1e-6,
    }  # fmt: skip
    return _llama(name, model_type, **(settings | changes))


def _lfm2(name: str, **changes: Any) -> TinyModel:
    """Published as LFM2: 128 between the matrices of a feed-forward step is what 190 comes to."""
    settings: dict[str, Any] = {
        "num_hidden_layers": 4, "intermediate_size": 190, "block_multiple_of": 32, "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": True, "conv_L_cache": 3, "conv_bias": False, "norm_eps": 1e-5,
        "full_attn_idxs": [1, 3], "tie_word_embeddings": True, "rms_norm_eps": "absent", "hidden_act": "absent",
        "rope_theta": 1e6,
    }  # fmt: skip
    return _llama(name, "lfm2", **(settings | changes))


_LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
_LONGROPE: dict[str, Any] = {
    "type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3, 1.5, 1.8, 2.0, 2.5],
    "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
}  # fmt: skip
_LONGROPE_OF_PART = _LONGROPE | {kind: _LONGROPE[kind][:6] for kind in ("short_factor", "long_factor")}
_GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
_SPARK_ROPE = {
    "full_attention": {"rope_theta": 5e6, "partial_rotary_factor": 0.25},
    "sliding_attention": {"rope_theta": 1e4, "partial_rotary_factor": 1.0},
}
_LFM2_5 = {
    "full_attn_idxs": "absent", "layer_types": ["conv", "conv", "full_attention", "conv"],
    "rope_theta": "absent", "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "block_auto_adjust_ff_dim": False, "intermediate_size": 96,
}  # fmt: skip
_GEMMA3 = {"num_hidden_layers": 4, "rope_theta": "absent"}


def _new_form(rope: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {"rope_theta": "absent", "rope_parameters": {"rope_theta": 10000.0, **rope}, **changes}


_QWEN3_MOE: dict[str, Any] = {
    "head_dim": 24, "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "norm_topk_prob": False,
    "decoder_sparse_step": 1, "mlp_only_layers": [], **_new_form({"rope_type": "default", "rope_theta": 1e6}),
}  # fmt: skip
_QWEN2_MOE: dict[str, Any] = {
    "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "shared_expert_intermediate_size": 40,
    "norm_topk_prob": False, "decoder_sparse_step": 1, "mlp_only_layers": [], "use_sliding_window": False,
    "sliding_window": 8, "max_window_layers": 1,
}  # fmt: skip


_OLMOE: dict[str, Any] = {"num_experts": 6, "num_experts_per_tok": 2, "norm_topk_prob": False, "intermediate_size": 48}
_GRANITE_MOE: dict[str, Any] = {
    "num_local_experts": 6, "num_experts_per_tok": 2, "intermediate_size": 48, "embedding_multiplier": 3.0,
    "attention_multiplier": 0.2, "residual_multiplier": 0.5, "logits_scaling": 2.0, "tie_word_embeddings": True,
}  # fmt: skip


_LFM2_MOE: dict[str, Any] = {
    "num_hidden_layers": 3, "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 48,
    "num_dense_layers": 1, "norm_topk_prob": True, "use_expert_bias": True, "routed_scaling_factor": 1.5,
    "layer_types": ["full_attention"] * 3, "norm_eps": 1e-5, "rms_norm_eps": "absent", "hidden_act": "absent",
    "tie_word_embeddings": True, **_new_form({"rope_type": "default", "rope_theta": 1e6}),
}  # fmt: skip


def _multimodal(text: TinyModel, kind: str = "gemma3", family: str = "Gemma3") -> TinyModel:
    name = f"{family}ForConditionalGeneration"
    config = {"architectures": [name], "model_type": kind, "text_config": text.config}
    extra = {"vision_tower.vision_model.post_layernorm.weight": (4,), "multi_modal_projector.weight": (4, 4)}
    return TinyModel(f"{text.name}_multimodal", config, "language_model.model.", extra=extra)


def _seeing(text: TinyModel) -> TinyModel:
    config = {"architectures": ["Lfm2VlForConditionalGeneration"], "model_type": "lfm2_vl", "text_config": text.config}
    extra = {"model.vision_tower.post_layernorm.weight": (4,), "model.multi_modal_projector.linear_1.weight": (4, 4)}
    return TinyModel("lfm2_vl", config, "model.language_model.", extra=extra)


def _multimodal4(text: TinyModel) -> TinyModel:
    config = {"architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4", "text_config": text.config}
    extra = {"model.vision_tower.norm.weight": (4,), "model.audio_tower.norm.weight": (4,),
             "model.embed_vision.weight": (4, 4), "model.embed_audio.weight": (4, 4)}  # fmt: skip
    return TinyModel("gemma4_multimodal", config, "model.language_model.", extra=extra)


_ALL = (
    _gpt2("gpt2"),
    _gpt2("gpt2_bare", prefix="", n_inner=96),
    _llama("llama"),
    _llama("llama_bare", prefix=""),
    _llama("llama_new", **_new_form({"rope_type": "default"})),
    _llama("llama_tied", tie_word_embeddings=True),
    _llama("llama_bias", attention_bias=True, mlp_bias=True),
    _llama("llama_head_dim", head_dim=24),
    _llama("llama_gelu", hidden_act="gelu"),
    _llama("llama_linear", rope_scaling={"type": "linear", "factor": 4.0}),
    _llama("llama_dynamic", rope_scaling={"type": "dynamic", "factor": 2.0}),
    _llama("llama_llama3", rope_scaling=_LLAMA3),
    _llama("llama_llama3_new", **_new_form(_LLAMA3)),
    _llama("llama_yarn", rope_scaling=_YARN),
    _llama("llama_yarn_new", **_new_form(_YARN | {"attention_factor": 1.3, "beta_fast": 8, "beta_slow": 2})),
    _llama("mistral", "mistral", sliding_window=None),
    _llama("mistral_window", "mistral", sliding_window=8),
    _llama("qwen2", "qwen2", tie_word_embeddings=True, use_sliding_window=False, sliding_window=8),
    _llama("qwen2_window", "qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1),
    _llama("qwen3", "qwen3", head_dim=24, **_new_form({"rope_type": "default", "rope_theta": 1e6})),
    _llama("qwen3_moe", "qwen3_moe", **_QWEN3_MOE),
    _llama("qwen3_moe_normalized", "qwen3_moe", **_QWEN3_MOE | {"norm_topk_prob": True}),
    _llama("qwen3_moe_mixed", "qwen3_moe", **_QWEN3_MOE | {"mlp_only_layers": [0]}),
    _llama("lfm2_moe", "lfm2_moe", **_LFM2_MOE),
    _llama("lfm2_moe_unbiased", "lfm2_moe", **_LFM2_MOE | {"use_expert_bias": False}),
    _llama("lfm2_moe_raw", "lfm2_moe", **_LFM2_MOE | {"norm_topk_prob": False, "routed_scaling_factor": 1.0}),
    _llama("lfm2_moe_hybrid", "lfm2_moe", **_LFM2_MOE | {
        "layer_types": ["conv", "full_attention", "conv"], "conv_L_cache": 3, "conv_bias": False,
        "routed_scaling_factor": 1.0}),
    _llama("olmoe", "olmoe", **_OLMOE),
    _llama("granitemoe", "granitemoe", **_GRANITE_MOE),
    _llama("granitemoeshared", "granitemoeshared", **_GRANITE_MOE, shared_intermediate_size=56),
    _llama("qwen2_moe", "qwen2_moe", **_QWEN2_MOE),
    _llama("qwen2_moe_mixed", "qwen2_moe", **_QWEN2_MOE | {"mlp_only_layers": [0], "qkv_bias": False}),
    _llama("qwen2_moe_window", "qwen2_moe", **_QWEN2_MOE | {"use_sliding_window": True, "norm_topk_prob": True}),
    _llama("bitnet", "bitnet", hidden_act="relu2"),
    _llama("phi3", "phi3", sliding_window=8),
    _llama("phi3_partial", "phi3", tie_word_embeddings=True, partial_rotary_factor=0.5),
    _llama("phi3_longrope", "phi3", rope_scaling=_LONGROPE, original_max_position_embeddings=16),
    _llama("phi4_mini", "phi3", rope_scaling=_LONGROPE_OF_PART, original_max_position_embeddings=16,
           partial_rotary_factor=0.75, tie_word_embeddings=True, sliding_window=262144),
    _llama("llama_3_2", head_dim=24, tie_word_embeddings=True, rope_scaling=_LLAMA3 | {"factor": 32.0}),
    _gemma("gemma2", "gemma2", attn_logit_softcapping=2.0, final_logit_softcapping=3.0),
    _gemma("gemma3", "gemma3_text", sliding_window_pattern=3, rope_local_base_freq=1e4,
           rope_scaling={"factor": 8.0, "rope_type": "linear"}, **_GEMMA3 | {"rope_theta": 1e6}),
    _gemma("gemma3_new", "gemma3_text", rope_parameters=_GEMMA3_ROPE, final_logit_softcapping=3.0, **_GEMMA3,
           layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"]),
    _multimodal(_gemma("gemma3", "gemma3_text", rope_parameters=_GEMMA3_ROPE, **_GEMMA3,
                       layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"])),
    _llama("spark", "spark2_5", num_hidden_layers=4, head_dim=32, sliding_window=8, hidden_act="gelu",
           rope_theta="absent", rope_parameters=_SPARK_ROPE, tie_word_embeddings=True, attention_bias=False,
           mlp_bias=False, headwise_attn_output_gate=True, gate_attn_act_mode="sigmoid",
           layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]),
    _lfm2("lfm2"),
    _lfm2("lfm2_bias", conv_bias=True),
    _lfm2("lfm2_taps", conv_L_cache=5),
    _lfm2("lfm2_multiplier", block_ffn_dim_multiplier=1.3, block_ff_dim=150, block_multiple_of=16),
    _lfm2("lfm2_new", **_LFM2_5),
    _seeing(_lfm2("text", **_LFM2_5)),
    *(TinyModel(name, config) for name, config in tiny_gemma4.CONFIGS.items()),
    _multimodal4(TinyModel("text", tiny_gemma4.CONFIGS["gemma4"])),
    *(TinyModel(name, config) for name, config in tiny_recurrent.CONFIGS.items()),
    TinyModel("qwen3_5_multimodal", tiny_recurrent.seeing(tiny_recurrent.CONFIGS["qwen3_5"]), "model.language_model.",
              extra=tiny_recurrent.BESIDE),
)  # fmt: skip

NORMS_PLUS_ONE = ("gemma2", "gemma3_text", "qwen3_5_text")
"""Types of models whose weights of norms are less by one than what is multiplied."""


def is_less_by_one(model_type: str, name: str) -> bool:
    """Whether a tensor is one of these; name: whole, or without its ending. The norm within a delta net is not."""
    bare = name.removesuffix(".weight")
    return model_type in NORMS_PLUS_ONE and bare.endswith("norm") and not bare.endswith("linear_attn.norm")


_LLAMA_LIKE = {
    name: _llama(name, kind, tiny_llama_like.PREFIXES.get(kind, "model."), **changes)
    for name, (kind, changes) in tiny_llama_like.CONFIGURATIONS.items()
}
_MINISTRAL = _multimodal(_LLAMA_LIKE["ministral3"], "mistral3", "Mistral3")

MODELS: Mapping[str, TinyModel] = {model.name: model for model in (*_ALL, *_LLAMA_LIKE.values(), _MINISTRAL)}


def shapes(model: TinyModel) -> dict[str, tuple[int, ...]]:
    """The tensors that the published model of such a configuration has."""
    return published_shapes.shapes(model.config.get("text_config", model.config), model.prefix, model.head_name)


def uniform(name: str, seed: int, count: int) -> npt.NDArray[np.float64]:
    """Numbers in [-1, 1) that depend on nothing but the arguments: splitmix64 from a state made of name and seed."""
    state = np.uint64((zlib.crc32(name.encode()) << 32) | seed)
    with np.errstate(over="ignore"):
        z = state + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0


def tensors(model: TinyModel) -> Tensors:
    """The weights, fp32. Matrices keep the size of what they multiply; q and k are larger: attention is not even."""
    config = model.config.get("text_config", model.config)
    found: Tensors = {}
    for name, shape in shapes(model).items():
        bare = name.removeprefix(model.prefix)
        values = uniform(bare, model.seed, math.prod(shape)).reshape(shape)
        if re.search(r"(norm|norms\.\d+|ln_\w)\.weight$", bare):
            values = 0.3 * values + (0 if is_less_by_one(config["model_type"], bare) else 1)
        elif bare.endswith(("layer_scalar", "mamba.D")):
            values = 0.3 * values + 1
        elif bare.endswith("A_log"):  # some heads remember two tokens, some as many as the texts have
            values = 1.5 * values - 2
        elif bare.endswith("bias"):
            values = 0.3 * values
        elif bare in (
            "embed_tokens.weight",
            "embed_tokens_per_layer.weight",
            "embedding.weight",
            "wte.weight",
            "wpe.weight",
        ):
            values = values * (0.2 if config["model_type"].startswith("gemma") else 1)
        else:
            inputs = shape[0] if config["model_type"] == "gpt2" else shape[-1]
            gain = (
                2.0 if any(part in bare for part in ("q_proj", "k_proj", "qkv_proj", "q_k_v_proj", "c_attn")) else 1.0
            )
            values = gain * math.sqrt(3 / inputs) * values
        found[name] = values.astype(np.float32)
    return found | {name: np.zeros(shape, np.float32) for name, shape in model.extra.items()}


def stored(values: npt.NDArray[np.float32], dtype: str) -> bytes:
    """fp32 numbers as safetensors stores them: F32, F16, or BF16 (rounded to nearest even)."""
    if dtype == "F16":
        return values.astype("<f2").tobytes()
    if dtype == "BF16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    assert dtype == "F32"
    return values.astype("<f4").tobytes()


def write_safetensors(path: Path, weights: Mapping[str, npt.NDArray[np.float32]], dtype: str = "F32") -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in weights.items():
        piece = stored(values, dtype)
        place = [len(data), len(data) + len(piece)]
        header[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": place}
        data += piece
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def tokenizer_json() -> dict[str, Any]:
    """A byte-level BPE in GPT-2's manner: the bytes, twelve merges, four control tokens."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    spelled = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    space = spelled[ord(" ")]
    merges = ["t h", "th e", "i n", "a n", "an d", "e r", f"{space} the", f"{space} a", f"{space} in"]
    merges += ["o n", "r e", "in g"]
    tokens = [spelled[byte] for byte in range(256)] + [merge.replace(" ", "") for merge in merges]
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": 268 + i, "content": text, **flags} for i, text in enumerate(control)],
        "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "vocab": {token: i for i, token in enumerate(tokens + control)}, "merges": merges,
        },
    }  # fmt: skip


CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write(model: TinyModel, directory: Path, dtype: str = "F32", n_shards: int = 1) -> Path:
    """Writes the Hugging Face directory of a model and returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(model.config, indent=1))
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer_json(), ensure_ascii=False), encoding="utf-8")
    settings = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "chat_template": CHAT_TEMPLATE}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    weights = tensors(model)
    if n_shards == 1:
        write_safetensors(directory / "model.safetensors", weights, dtype)
        return directory
    names = sorted(weights)
    weight_map = {}
    for shard in range(n_shards):
        file_name = f"model-{shard + 1:05}-of-{n_shards:05}.safetensors"
        part = {name: weights[name] for name in names[shard::n_shards]}
        write_safetensors(directory / file_name, part, dtype)
        weight_map |= dict.fromkeys(part, file_name)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return directory
