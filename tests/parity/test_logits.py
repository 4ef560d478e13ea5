"""The engine against logits that transformers computed for the same tiny models (tools/golden_vectors.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from parity_cases import CASES, GOLDEN, RELATIVE, TOLERANCE, Case
from tiny_llama_like import WITH_OPTIONS

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack


def packed(case: Case, directory: Path, bits: int = 32) -> Path:
    source = tiny_models.write(case.model, directory / case.model.name)
    return pack(source, directory / f"{case.name}-{bits}.rbe", PackOptions(bits=bits, calibrate="none")).path


def golden(name: str) -> dict[str, npt.NDArray[np.float32]]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def scored(path: Path, case: Case, pass_tokens: int = 64) -> npt.NDArray[np.float32]:
    """The engine's logits after every token, read in passes of `pass_tokens` tokens."""
    with Model.open(path) as model, model.session(kv="f32", context=case.context, pass_tokens=pass_tokens) as session:
        logits = session.score(case.tokens, logits=True).logits
    assert logits is not None
    return logits


@pytest.mark.parametrize("name", CASES)
def test_logits(tmp_path: Path, name: str) -> None:
    case, expected = CASES[name], golden(name)
    np.testing.assert_array_equal(expected["tokens"], case.tokens)
    logits = scored(packed(case, tmp_path), case)
    bound = min(TOLERANCE, RELATIVE * float(np.abs(expected["logits"]).max()))
    assert np.abs(logits[:, expected["columns"]] - expected["logits"]).max() < bound
    assert np.abs(logits[-1] - expected["last"]).max() < bound


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("llama_linear", "llama"),
        ("llama_llama3", "llama"),
        ("llama_yarn", "llama"),
        ("llama_yarn_new", "llama_yarn"),
        ("llama_bias", "llama"),
        ("llama_gelu", "llama"),
        ("mistral_window", "mistral"),
        ("qwen2_window", "llama"),
        ("bitnet", "llama"),
        ("phi3", "llama"),
        ("phi3_longrope", "llama"),
        ("phi3_longrope", "phi3_longrope_short"),
        ("gemma3_new", "gemma3_multimodal"),
        ("smollm3", "smollm3_rotary"),
        ("ministral3", "ministral3_even"),
        ("exaone4_window", "exaone4"),
        ("stablelm_bias", "stablelm"),
        ("ernie4_5_bias", "ernie4_5"),
        ("qwen3_moe", "qwen3"),
        ("qwen3_moe_normalized", "qwen3_moe"),
        ("qwen3_moe_mixed", "qwen3_moe"),
        ("granitemoeshared", "granitemoe"),
        ("qwen2_moe", "qwen2"),
        ("qwen2_moe_mixed", "qwen2_moe"),
        ("qwen2_moe_window", "qwen2_moe"),
        ("lfm2_moe_unbiased", "lfm2_moe"),
        ("lfm2_moe_raw", "lfm2_moe"),
        ("lfm2_bias", "lfm2"),
        ("qwen3_5", "qwen3_5_even"),
        ("granite4", "granite4_groups"),
        ("granite4", "granite4_rope"),
        ("lfm2_taps", "lfm2"),
        ("lfm2_multiplier", "lfm2"),
        ("lfm2_new", "lfm2"),
        ("gemma4", "gemma4_unshared"),
        ("gemma4", "gemma4_e4b"),
        ("gemma4_unshared", "gemma4_joined"),
    ],
)
def test_features_move_the_logits(name: str, base: str) -> None:
    """A feature that were ignored could not pass the comparison above."""
    ours, other = golden(name)["logits"], golden(base)["logits"]
    n = min(len(ours), len(other))
    assert np.abs(ours[:n] - other[:n]).max() > 20 * TOLERANCE


@pytest.mark.parametrize("bits", [32, 16, 4])
@pytest.mark.parametrize(
    "name",
    [
        "gpt2", "llama", "mistral_window", "gemma3_new", "gemma4", "gemma4_joined", "qwen3_moe_mixed", "lfm2_moe",
        "qwen2_moe", "granitemoeshared", "lfm2_bias", "qwen3_5", "qwen3_5_even", "granite4", "granite4_groups",
        *WITH_OPTIONS,
    ],
)  # fmt: skip
def test_prefill_and_decode_agree(tmp_path: Path, name: str, bits: int) -> None:
    """However a text is cut into passes, and token by token as in decoding, the logits are the same."""
    case = CASES[name]
    path = packed(case, tmp_path, bits)
    whole = scored(path, case)
    for pass_tokens in (1, 5):
        np.testing.assert_array_equal(scored(path, case, pass_tokens), whole)
    with Model.open(path) as model, model.session(kv="f32") as session:
        for token, expected in zip(case.tokens, whole, strict=True):
            session.prefill([token])
            np.testing.assert_array_equal(session.logits, expected)
