"""llama.cpp is the judge of what a GGUF file means: the same files through llama.cpp and through the engine.

The models have no published counterpart, so nothing but the conventions (the order of rotary pairs, fused matrices,
norms, scaled positions) makes the logits agree. Skipped without llama-cpp-python.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf_models import gguf_tensors, write_gguf
from tiny_models import CONTEXT, MODELS, TinyModel

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack

pytest.importorskip("gguf")
llama_cpp = pytest.importorskip("llama_cpp")

FloatArray = npt.NDArray[np.float32]

TOKENS = [(37 * i * i + 11 * i + 5) % 268 for i in range(24)]

# Largest difference of a logit, where logits have a standard deviation of 1 to 5: fp32 sums in another order (measured:
# 4e-5), and llama.cpp looks GELU up in a table of fp16 (measured: 4.8e-3; where layers have more of them 2.2e-2).
FP32, GELU, MANY_GELU = 1e-4, 1e-2, 4e-2

# Not among them: windows of Mistral and of EXAONE 4 with few layers, which llama.cpp does not know; OLMoE, and ERNIE
# with biases, which it does not open.
FAMILIES = (
    "llama_3_2", "phi4_mini", "smollm3", "ministral3", "ministral3_even", "granite", "olmo2", "exaone", "exaone4",
    "hunyuan_v1_dense", "stablelm", "stablelm_bias", "ernie4_5", "minicpm", "lfm2", "lfm2_taps", "lfm2_multiplier",
    "lfm2_moe_hybrid", "qwen2_moe", "qwen3_moe", "qwen3_moe_normalized", "granitemoe", "granitemoeshared",
)  # fmt: skip

# Where llama.cpp has no window for an architecture, takes another scale of attention than the configuration, or needs
# biases of convolutions.
_CHANGES: dict[str, dict[str, Any]] = {
    "phi3": {"sliding_window": None}, "phi3_longrope": {"sliding_window": None},
    "gemma2": {"query_pre_attn_scalar": 24}, "gemma3": {"query_pre_attn_scalar": 24},
    "gemma3_new": {"query_pre_attn_scalar": 24}, "granite4_groups": {"mamba_conv_bias": True, "logits_scaling": 1.0},
}  # fmt: skip


def the_model(name: str) -> TinyModel:
    return dataclasses.replace(MODELS[name], config={**MODELS[name].config, **_CHANGES.get(name, {})})


def opened(path: Path, **more: Any) -> Any:
    return llama_cpp.Llama(
        str(path), n_ctx=CONTEXT, n_batch=CONTEXT, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False,
        type_k=0, type_v=0, flash_attn=False, **more,
    )  # fmt: skip


def llama_logits(path: Path, tokens: list[int]) -> FloatArray:
    model = opened(path)
    model.eval(tokens)
    logits = np.array(model.scores[: len(tokens)])
    model.close()
    return logits


def engine_logits(path: Path, out: Path, tokens: list[int]) -> FloatArray:
    packed = pack(path, out, PackOptions(bits=32)).path
    with Model.open(packed) as model, model.session(kv="f32", context=CONTEXT) as session:
        logits = session.score(tokens, logits=True).logits
    assert logits is not None
    return logits


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("llama", FP32),
        ("llama_tied", FP32),
        ("llama_bias", FP32),
        ("llama_linear", FP32),
        ("llama_llama3", FP32),
        ("llama_yarn", FP32),
        ("qwen2", FP32),
        ("qwen3", FP32),
        ("phi3", FP32),
        ("phi3_longrope", FP32),
        *((name, FP32) for name in FAMILIES),
        ("qwen3_5", FP32),
        ("qwen3_5_moe", FP32),
        ("qwen3_next", FP32),
        ("granite4", FP32),
        ("granite4_groups", FP32),
        ("granite4_moe", FP32),
        ("granite4_rope", FP32),
        ("gpt2", GELU),
        ("gemma2", GELU),
        ("gemma3", GELU),
        ("gemma3_new", GELU),
        ("gemma4_e4b", MANY_GELU),
        ("gemma4_unshared", GELU),
        ("gemma4_joined", MANY_GELU),
        ("spark", MANY_GELU),
    ],
)
def test_logits(tmp_path: Path, name: str, tolerance: float) -> None:
    path = write_gguf(the_model(name), tmp_path / "model.gguf")
    expected = llama_logits(path, TOKENS)
    found = engine_logits(path, tmp_path / "model.rbe", TOKENS)
    assert expected.std() > 0.5
    assert np.abs(found - expected).max() < tolerance


def test_the_convention_moves_the_logits(tmp_path: Path) -> None:
    """Rows of q and k in the order of a Hugging Face directory are another model: the order shows."""
    weights = gguf_tensors(MODELS["llama"])
    other = gguf_tensors(MODELS["qwen2"])  # the same weights, not permuted
    mixed = weights | {name: other[name] for name in weights if name.endswith((".attn_q.weight", ".attn_k.weight"))}
    found = [
        engine_logits(write_gguf(MODELS["llama"], tmp_path / "m.gguf", tensors=tensors), tmp_path / name, TOKENS)
        for name, tensors in (("one.rbe", weights), ("two.rbe", mixed))
    ]
    assert np.abs(found[0] - found[1]).max() > 1000 * FP32


LINES = [
    "the king and the ring in a tree on there",
    "<|im_start|>user\nthe end<|im_end|>",
    "  two  spaces, a\ttab and\n\na line",
    "d\u00e9j\u00e0 vu \u4e2d\u6587 \U0001f600 it's 1234567 I'LL",
    "",
    "x" * 300,
]


@pytest.mark.parametrize("special", [False, True])
def test_the_tokenizer(tmp_path: Path, special: bool) -> None:
    """The ids of llama.cpp, control tokens read or not."""
    path = write_gguf(MODELS["llama"], tmp_path / "model.gguf", changes={"tokenizer.ggml.add_bos_token": True})
    theirs = opened(path)
    with Model.open(pack(path, tmp_path / "m.rbe", PackOptions(bits=32)).path) as model:
        for line in LINES:
            ids = theirs.tokenize(line.encode(), add_bos=True, special=special)
            assert list(model.tokenize(line, special=True, parse_special=special)) == ids
    theirs.close()
