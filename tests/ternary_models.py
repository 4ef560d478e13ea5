"""Tiny models with binary and ternary matrices, and what the engine makes of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiny_models
from tiny_models import MODELS, TinyModel

from rbe_edge import Model

FloatArray = npt.NDArray[np.float32]

TOKENS = [(7 * i + 3) % 268 for i in range(40)]
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def wide(name: str = "qwen3") -> TinyModel:
    """A model whose rows are whole groups of 256 weights, with heads of 64."""
    config = {**MODELS[name].config, "hidden_size": 256, "intermediate_size": 768}
    return dataclasses.replace(MODELS[name], config=config | ({"head_dim": 64} if "head_dim" in config else {}))


def simple(values: FloatArray, group: int, *, binary: bool) -> FloatArray:
    """The nearest binary or ternary matrix with scales that are numbers of fp16 and of bf16. group 0: one for all."""
    rows, cols = values.shape
    size = group or cols
    cut = values.reshape(rows, -1, size)
    mean = np.abs(cut).mean((0, 1, 2) if group == 0 else 2, keepdims=True)
    scale = np.ldexp(np.round(np.frexp(mean)[0] * 128) / 128, np.frexp(mean)[1]).astype(np.float32)
    signs = np.where(cut < 0, -1, 1) if binary else np.clip(np.round(cut / scale), -1, 1)
    return np.asarray(signs * scale, np.float32).reshape(rows, cols)


def written(
    directory: Path, group: int, *, binary: bool, dtype: str = "BF16", every: str = "", name: str = "qwen3"
) -> Path:
    """A model with such matrices in its layers; every: the only ones, by an ending of their names."""
    model = wide(name)
    tiny_models.write(model, directory, dtype)
    weights = tiny_models.tensors(model)
    for tensor, values in weights.items():
        part = tensor.split(".")[-2]
        if part in MATRICES and (not every or part == every):
            weights[tensor] = simple(values, group, binary=binary)
    tiny_models.write_safetensors(directory / "model.safetensors", weights, dtype)
    return directory


def scored(path: Path, threads: int = 2, pass_tokens: int = 16) -> FloatArray:
    with Model.open(path) as model:
        return scored_by(model, threads, pass_tokens)


def scored_by(model: Model, threads: int = 2, pass_tokens: int = 16) -> FloatArray:
    with model.session(kv="f32", context=64, threads=threads, pass_tokens=pass_tokens) as session:
        logits = session.score(TOKENS, logits=True).logits
    assert logits is not None
    return logits


def divergence(expected: FloatArray, found: FloatArray) -> float:
    """Mean KL per token in nats."""

    def log_softmax(x: FloatArray) -> npt.NDArray[np.float64]:
        x = x.astype(np.float64) - x.max(1, keepdims=True)
        return np.asarray(x - np.log(np.exp(x).sum(1, keepdims=True)))

    p, q = log_softmax(expected), log_softmax(found)
    return float((np.exp(p) * (p - q)).sum(1).mean())
