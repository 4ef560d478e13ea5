"""The tiny models that golden_packs.py packs, smaller than those of tests/tiny_models.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tiny_models
from ternary_models import simple


def llama(**changes: Any) -> tiny_models.TinyModel:
    config = dict(tiny_models.MODELS["llama_tied"].config) | {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }  # fmt: skip
    return tiny_models.TinyModel("golden", config | changes)


# No size is a multiple of what the others are: heads of 26, 37 rows and columns, blocks of 4 and 1.
ODD = llama(hidden_size=52, intermediate_size=37)
# The first layer without experts, and a bias for the choice.
EXPERTS = tiny_models.TinyModel("golden", dict(tiny_models.MODELS["lfm2_moe"].config) | {
    "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 36, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "num_experts": 5, "layer_types": ["full_attention"] * 2,
})  # fmt: skip
# A shared part beside experts, and a layer without either.
SHARED = tiny_models.TinyModel("golden", dict(tiny_models.MODELS["qwen2_moe_mixed"].config) | {
    "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 36, "shared_expert_intermediate_size": 44,
    "num_attention_heads": 2, "num_key_value_heads": 1, "num_experts": 5,
})  # fmt: skip
HYBRID = llama(**dict(tiny_models.MODELS["lfm2_bias"].config) | {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "full_attn_idxs": [1], "block_auto_adjust_ff_dim": False,
})  # fmt: skip
# A delta net before attention with gates; a state space with experts and a shared part beside attention.
DELTA_NET = tiny_models.TinyModel("golden", dict(tiny_models.MODELS["qwen3_5"].config) | {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
})  # fmt: skip
STATE_SPACE = tiny_models.TinyModel("golden", dict(tiny_models.MODELS["granite4_moe"].config) | {
    "hidden_size": 32, "intermediate_size": 36, "shared_intermediate_size": 40, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "layer_types": ["mamba", "attention"], "mamba_n_heads": 4,
    "num_local_experts": 3,
})  # fmt: skip
_OF_GPT2 = dict(tiny_models.MODELS["gpt2"].config) | {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 24}
GPT2 = tiny_models.TinyModel("golden", _OF_GPT2, "transformer.")
# Layers of several shapes and layer embeddings.
LAYERS = tiny_models.TinyModel("golden", dict(tiny_models.MODELS["gemma4"].config) | {
    "num_hidden_layers": 3, "num_kv_shared_layers": 1, "hidden_size": 32, "intermediate_size": 40,
    "num_attention_heads": 2, "hidden_size_per_layer_input": 16,
    "layer_types": ["sliding_attention", "full_attention", "full_attention"],
})  # fmt: skip

# One of every architecture, with what it alone has: windows, long rotary scaling, caps, biases, norms of q and k; the
# planes of its matrices, and of embedding and lm_head.
ANSWERS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "gpt2": ((4,), (3,)),
    "llama_llama3": ((2, 1), (4,)),
    "mistral_window": ((3,), (2, 2)),
    "qwen2_window": ((2,), (4,)),
    "qwen3": ((4,), (2,)),
    "qwen3_moe_mixed": ((3,), (4,)),
    "qwen2_moe": ((4,), (3,)),
    "lfm2_moe": ((2, 1), (4,)),
    "phi3_longrope": ((3,), (4,)),
    "gemma2": ((2, 2), (3,)),
    "gemma3_new": ((3, 1), (4,)),
    "smollm3": ((4,), (2,)),
    "ministral3": ((2, 2), (3,)),
    "olmo2": ((3,), (4,)),
    "hunyuan_v1_dense": ((4,), (3,)),
    "lfm2_taps": ((3,), (4,)),
    "gemma4": ((3,), (4,)),
    "qwen3_5": ((4,), (3,)),
    "qwen3_next": ((3,), (4,)),
    "granite4": ((2, 2), (4,)),
    "granite4_groups": ((4,), (3,)),
}


def write_ternary(directory: Path) -> Path:
    """Ternary and binary matrices: groups of 32 columns, rows with one scale, scales beyond fp16."""
    model = tiny_models.MODELS["bitnet"]
    weights = tiny_models.tensors(model)
    for name, values in weights.items():
        if "proj" in name and not name.endswith("layers.1.self_attn.v_proj.weight"):
            group = 0 if ".mlp." in name else 32
            weights[name] = simple(values, group, binary="k_proj" in name or "up_proj" in name)
            weights[name] *= np.float32(2.0**-30 if "k_proj" in name else 1)
    tiny_models.write(model, directory)
    tiny_models.write_safetensors(directory / "model.safetensors", weights)
    return directory
