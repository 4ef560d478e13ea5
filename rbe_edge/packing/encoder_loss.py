"""What an encoder's errors are measured by (docs/encoders.md, "Packing"): the cosine distance of the vectors that stand
for texts, the divergence of classes, or of the words that it would fill in.

A vector u of length 1 that moves by e has a cosine distance of |e|^2 / 2. With r of independent normal numbers the mean
of the squared gradient of r . u is therefore the curvature of that distance, as drawn labels give that of a divergence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.loss import NATS_PER_TOKEN, FloatArray, Show
from rbe_edge.runtime.gradient_values import Gradient
from rbe_edge.runtime.model import Model

if TYPE_CHECKING:
    from rbe_edge.runtime.gradients import Gradients

Array = npt.NDArray[np.float64]

_STEP = 1e-4  # of a difference that stands for a slope


@dataclass(frozen=True)
class _Norm:
    """Of one vector; bias None: none. kind: as norm.kind."""

    kind: str
    epsilon: float
    weight: Array
    bias: Array | None

    def of(self, x: Array) -> Array:
        shift = x.mean(-1, keepdims=True) if self.kind == "layer" else 0.0
        found: Array = (x - shift) * self._scale(x - shift) * self.weight
        return found if self.bias is None else found + self.bias

    def back(self, x: Array, d: Array) -> Array:
        """The gradient by x of d, that by the result."""
        centred = x - x.mean(-1, keepdims=True) if self.kind == "layer" else x
        scale = self._scale(centred)
        g, value = d * self.weight, centred * scale
        mean = g.mean(-1, keepdims=True) if self.kind == "layer" else 0.0
        found: Array = scale * (g - mean - value * (g * value).mean(-1, keepdims=True))
        return found

    def _scale(self, centred: Array) -> Array:
        found: Array = 1.0 / np.sqrt((centred * centred).mean(-1, keepdims=True) + self.epsilon)
        return found


def _activation(name: str, x: Array) -> Array:
    """By the names of `pooled.activations`."""
    if name == "tanh":
        return np.asarray(np.tanh(x))
    if name == "relu":
        return np.maximum(x, 0)
    if name == "silu":
        return np.asarray(x / (1 + np.exp(-x)))
    if name == "gelu_tanh":
        return np.asarray(x / (1 + np.exp(-math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))))
    if name == "gelu":
        return np.asarray(x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2)
    return x


@dataclass(frozen=True)
class _Layer:
    """Behind the pooling: norm(activation(W x + bias))."""

    name: str
    weight: Array
    bias: Array | None
    activation: str
    norm: _Norm | None

    def inner(self, x: Array) -> Array:
        found = self.weight @ x
        return found if self.bias is None else found + self.bias

    def of(self, x: Array) -> Array:
        active = _activation(self.activation, self.inner(x))
        return active if self.norm is None else self.norm.of(active)

    def back(self, x: Array, d: Array) -> Array:
        """By W x + bias of d, that by the result."""
        inner = self.inner(x)
        if self.norm is not None:
            d = self.norm.back(_activation(self.activation, inner), d)
        slope = _activation(self.activation, inner + _STEP) - _activation(self.activation, inner - _STEP)
        return d * slope / (2 * _STEP)


class EncoderLoss:
    """Of an encoder. Reads the model's copy with dense weights, which must not change meanwhile."""

    damping = 0.2  # docs/encoders.md has the measurement

    def __init__(self, model: Model, copy: DenseCopy) -> None:
        self._model, self._copy = model, copy
        info = model.encoder_info
        self._pooling = info.pooling
        self._classes = info.is_classes
        self._has_words = info.pooling is None and info.has_word_head
        self.name = "classes" if self._classes else "words of an encoder" if self._has_words else "vectors"
        self.unit = "nats per text" if self._classes else NATS_PER_TOKEN if self._has_words else "cosine distance"
        self._last_norm = self._norm("norm") if "norm" in copy.areas else None
        self._embedding_norm = self._norm("embedding.norm") if "embedding.norm" in copy.areas else None
        words = str(model.metadata.get("pooled.activations", "")).split()
        self._layers = [self._layer(number, word) for number, word in enumerate(words)]

    def windows(self, windows: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """All, by length."""
        return sorted(windows, key=len)

    def units(self, windows: Sequence[Sequence[int]]) -> float:
        if self._pooling is not None:
            return 1.0
        return sum(map(len, windows)) / len(windows)

    def gradient(
        self, gradients: Gradients, states: FloatArray, window: int, seed: int, show: Show | None
    ) -> FloatArray:
        if self._has_words:
            return gradients.head(states, window=window, seed=seed, show=show).d_hidden
        rng = np.random.default_rng(seed)
        normed = states.astype(np.float64)
        if self._last_norm is not None:
            normed = self._last_norm.of(normed)
        d = np.zeros_like(normed)
        for first in range(0, len(states), window):
            part = slice(first, first + window)
            d[part] = self._of_text(normed[part], rng, show)
        found: FloatArray = d.astype(np.float32)
        gradients.norm(states, found, window=window)
        return found

    def by_looked_up(self, windows: Sequence[Sequence[int]], d_hidden: FloatArray) -> FloatArray:
        if self._embedding_norm is None:
            return d_hidden
        width = d_hidden.shape[1]
        tables = {name: self._matrix(name, width) for name in ("embedding", "positions", "segments") if self._has(name)}
        scale = self._model.metadata.get("embedding.scale", 1.0)
        assert isinstance(scale, int | float)
        found, first = np.empty_like(d_hidden), 0
        for window in windows:
            x = scale * tables["embedding"][list(window)].astype(np.float64)
            if "positions" in tables:
                x += tables["positions"][: len(window)]
            if "segments" in tables:
                x += tables["segments"][0]
            part = slice(first, first + len(window))
            found[part] = self._embedding_norm.back(x, d_hidden[part].astype(np.float64))
            first += len(window)
        return found

    def _of_text(self, normed: Array, rng: np.random.Generator, show: Show | None) -> Array:
        """The gradient by what stands behind the last norm, [tokens][width], of a draw for one text."""
        if self._pooling is None:
            return _toward(normed, rng)
        inputs = [_pooled(self._pooling, normed)]
        for layer in self._layers:
            inputs.append(layer.of(inputs[-1]))
        d = self._of_classes(inputs[-1], rng) if self._classes else _toward(inputs[-1], rng)
        for layer, x in zip(reversed(self._layers), reversed(inputs[:-1]), strict=True):
            d_inner = layer.back(x, d)
            if show is not None:
                show(self._shown(layer, x, d_inner))
            d = layer.weight.T @ d_inner
        return _unpooled(self._pooling, normed, d)

    def _of_classes(self, scores: Array, rng: np.random.Generator) -> Array:
        """By the scores, of minus the logarithm of the probability of a class that is drawn; one score is that of the
        first of two."""
        logits = scores if len(scores) > 1 else np.array([scores[0], 0.0])
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        drawn = int(rng.choice(len(shares), p=shares))
        found: Array = (shares - (np.arange(len(shares)) == drawn))[: len(scores)]
        return found

    def _shown(self, layer: _Layer, x: Array, d: Array) -> Gradient:
        rows, cols = layer.weight.shape
        of_layer = self._model.info.layers
        x32, d32 = x.astype(np.float32)[np.newaxis], d.astype(np.float32)[np.newaxis]
        return Gradient(layer.name, of_layer, rows, cols, 0, 1, np.ascontiguousarray(x32), d32, None)

    def _has(self, name: str) -> bool:
        return name in self._copy.areas

    def _matrix(self, name: str, cols: int) -> FloatArray:
        return self._copy.read(name).reshape(-1, cols)

    def _vector(self, name: str) -> Array | None:
        return self._copy.read(name).astype(np.float64) if self._has(name) else None

    def _norm(self, name: str) -> _Norm:
        weight = self._vector(name)
        assert weight is not None
        epsilon = self._model.metadata["norm.epsilon"]
        assert isinstance(epsilon, float)
        return _Norm(str(self._model.metadata["norm.kind"]), epsilon, weight, self._vector(f"{name}.bias"))

    def _layer(self, number: int, activation: str) -> _Layer:
        name = f"pooled.{number}"
        tensor = self._model.tensors[name]
        weight = self._copy.read(name).reshape(tensor.rows, tensor.cols).astype(np.float64)
        norm = self._norm(f"{name}.norm") if self._has(f"{name}.norm") else None
        return _Layer(name, weight, self._vector(f"{name}.bias"), activation, norm)


def _toward(x: Array, rng: np.random.Generator) -> Array:
    """Of rows, or one vector, scaled to length 1: the gradient of r . u by x, r drawn."""
    length = np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-30)
    u, r = x / length, rng.standard_normal(x.shape)
    found: Array = (r - (r * u).sum(-1, keepdims=True) * u) / length
    return found


def _pooled(pooling: str, normed: Array) -> Array:
    if pooling == "mean":
        return np.asarray(normed.mean(axis=0))
    if pooling == "max":
        return np.asarray(normed.max(axis=0))
    first_or_last: Array = normed[0] if pooling == "cls" else normed[-1]
    return first_or_last


def _unpooled(pooling: str, normed: Array, d: Array) -> Array:
    """The gradient by the rows of d, that by the vector that was made of them."""
    found = np.zeros_like(normed)
    if pooling == "mean":
        found[:] = d / len(normed)
    elif pooling == "max":
        found[normed.argmax(axis=0), np.arange(len(d))] = d
    else:
        found[0 if pooling == "cls" else -1] = d
    return found
