"""Tiny random encoders as `.rbe` files, and what they should give: a forward pass in double precision.

shape = Shape(norm_place="post", segments=2)
tensors = write(tmp_path / "tiny.rbe", shape)
hidden = reference(shape, tensors, [5, 7, 9])
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part
from rbe_edge.format.writer import KIND_FP32, KIND_TRELLIS, CodebookEntry, Data, PackWriter, TensorEntry
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.hugging_face import read_tokenizer_json

WORDS = (
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    *"the a cat dog sat on mat paris is capital of france in city big river".split(),
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), *"bcdefghijklmnopqrstuvwxyz", ".", ",",
)  # fmt: skip
PART = Part("encoder", 1, b"", required=True)

Tensors = dict[str, npt.NDArray[np.float32]]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """As the metadata of the same names. pooled: rows and activation of each pooled layer; pooled_norm: the first one
    has a norm."""

    layers: int = 3
    width: int = 32
    heads: int = 4
    feed_forward: int = 48
    context: int = 96
    direction: str = "both"
    windows: tuple[int, ...] | None = None
    norm_place: str = "post"
    position: str = "learned"
    activation: str = "gelu"
    gated: bool = False
    segments: int = 2
    embedding_norm: bool = True
    first_norm: bool = True
    biases: bool = True
    head: str | None = "masked"
    head_activation: str = "gelu"
    pooling: str | None = None
    pooled: tuple[tuple[int, str], ...] = ()
    pooled_norm: bool = False
    normalize: bool = False
    kind: str | None = None
    seed: int = 1

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


_GOLDEN_SIZES = {"layers": 2, "width": 64, "feed_forward": 96, "context": 192}
GOLDEN = {
    "encoder": Shape(
        **_GOLDEN_SIZES, windows=(0, 9), pooling="mean", pooled=((48, "tanh"), (5, "gelu")), pooled_norm=True,
        normalize=True, seed=2,
    ),
    "encoder_modern": Shape(
        **_GOLDEN_SIZES, windows=(33, 0), norm_place="pre", first_norm=False, position="rope", gated=True, segments=0,
        biases=False, head="none", pooling="cls", pooled=((3, "none"),), kind="classes", seed=3,
    ),
}  # fmt: skip
"""Those of tests/golden/v3."""


def metadata(shape: Shape) -> dict[str, MetadataValue]:
    """The keys of docs/format.md."""
    found: dict[str, MetadataValue] = {
        "name": "tiny encoder", "architecture": "tiny", "layers": shape.layers, "width": shape.width,
        "vocabulary": len(WORDS), "context": shape.context, "heads": shape.heads, "kv_heads": shape.heads,
        "head_dim": shape.head_dim, "feed_forward": shape.feed_forward, "norm.kind": "layer", "norm.epsilon": 1e-5,
        "norm.place": shape.norm_place, "position.kind": shape.position, "attention.direction": shape.direction,
        "feed_forward.activation": shape.activation, "feed_forward.gated": int(shape.gated), "segments": shape.segments,
    }  # fmt: skip
    found |= {"attention.windows": shape.windows} if shape.windows else {}
    found |= {"head.kind": shape.head} if shape.head else {}
    found |= {"head.activation": shape.head_activation} if shape.head == "masked" else {}
    found |= {"pooling": shape.pooling} if shape.pooling else {}
    if shape.pooled:
        words = " ".join(activation for _, activation in shape.pooled)
        found |= {"pooled.layers": len(shape.pooled), "pooled.activations": words}
    found |= {"pooled.normalize": 1} if shape.normalize else {}
    found |= {"pooled.kind": shape.kind} if shape.kind else {}
    return found


def random_tensors(shape: Shape) -> Tensors:
    """Of all names that the shape asks for."""
    random = np.random.default_rng(shape.seed)
    width, inner = shape.width, shape.feed_forward
    found: Tensors = {}

    def matrix(name: str, rows: int, cols: int) -> None:
        found[name] = random.normal(0, 1.3 / math.sqrt(cols), (rows, cols)).astype(np.float32)
        if shape.biases:
            found[f"{name}.bias"] = random.normal(0, 0.1, (1, rows)).astype(np.float32)

    def norm(name: str, n: int) -> None:
        found[name] = random.normal(1, 0.2, (1, n)).astype(np.float32)
        if shape.biases:
            found[f"{name}.bias"] = random.normal(0, 0.1, (1, n)).astype(np.float32)

    for name, rows in ("embedding", len(WORDS)), ("positions", shape.context), ("segments", shape.segments):
        if rows and (name != "positions" or shape.position == "learned"):
            found[name] = random.normal(0, 0.7, (rows, width)).astype(np.float32)
    if shape.position == "rope":
        pairs = shape.head_dim // 2
        found["rope.frequencies"] = (100.0 ** (-np.arange(pairs) / pairs)).astype(np.float32)[None]
    if shape.embedding_norm:
        norm("embedding.norm", width)
    for layer in range(shape.layers):
        at = f"layers.{layer}"
        place = "stream_norm" if shape.norm_place == "post" else "norm"
        if layer or shape.first_norm or place == "stream_norm":
            norm(f"{at}.attention.{place}", width)
        for part in "qkvo":
            matrix(f"{at}.attention.{part}", width, width)
        norm(f"{at}.feed_forward.{place}", width)
        if shape.gated:
            matrix(f"{at}.feed_forward.gate", inner, width)
        matrix(f"{at}.feed_forward.up", inner, width)
        matrix(f"{at}.feed_forward.down", width, inner)
    if shape.norm_place != "post":
        norm("norm", width)
    if shape.head == "masked":
        matrix("head.dense", width, width)
        norm("head.norm", width)
        found["head.bias"] = random.normal(0, 0.3, (1, len(WORDS))).astype(np.float32)
    cols = width
    for index, (rows, _) in enumerate(shape.pooled):
        matrix(f"pooled.{index}", rows, cols)
        if shape.pooled_norm and index == 0:
            norm(f"pooled.{index}.norm", rows)
        cols = rows
    return found


def tokenizer_blob(directory: Path) -> bytes:
    """WordPiece of WORDS, with [CLS] before a text and [SEP] behind it."""
    special = [
        {"id": index, "content": word, "special": True, "lstrip": False, "rstrip": False, "single_word": False,
         "normalized": False}
        for index, word in enumerate(WORDS[:5])
    ]  # fmt: skip
    document = {
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {word: index for index, word in enumerate(WORDS)}},
    }  # fmt: skip
    path = directory / "tokenizer.json"
    path.write_text(json.dumps(document))
    return write_blob(read_tokenizer_json(path))


def _stored(
    name: str, array: npt.NDArray[np.float32], planes: tuple[int, ...]
) -> tuple[TensorEntry, Sequence[Data], float, float]:
    """Its entry and data, error and scale. Matrices that the trellis can hold are stored so where there are planes."""
    rows, cols = array.shape
    if (
        not planes
        or rows == 1
        or name in ("positions", "segments")
        or trellis.encoded_bytes(rows, cols, planes) is None
    ):
        return TensorEntry(name, KIND_FP32, rows, cols, array.nbytes), [array], 0.0, 0.0
    seed = len(name.split(".")) * 1000 + cols  # alike for what reads one activation
    encoded = trellis.encode(array, planes, seed)
    books = tuple(bits - 1 for bits in planes)
    block = trellis.rotation_block(cols)
    n_bytes = sum(map(len, encoded.data))
    entry = TensorEntry(name, KIND_TRELLIS, rows, cols, n_bytes, seed, block, 0, books)
    return entry, encoded.data, encoded.error, encoded.tensor_scale


def write(
    path: Path,
    shape: Shape,
    *,
    changes: Mapping[str, MetadataValue | None] | None = None,
    tensors: Tensors | None = None,
    parts: Sequence[Part] = (PART,),
    tokenizer: bool = True,
    planes: tuple[int, ...] = (),
    blobs: Path | None = None,
) -> Tensors:
    """A file of fp32 tensors, or of planes of the trellis. changes: to its metadata; None leaves a key out.
    tokenizer: whether it has one, which is made in the directory `blobs`."""
    found = random_tensors(shape) if tensors is None else tensors
    keys = metadata(shape) | dict(changes or {})
    kept = {key: value for key, value in keys.items() if value is not None}
    stored = [_stored(name, array, planes) for name, array in found.items()]
    books = [trellis.CODEBOOKS[bits] for bits in (1, 2, 3, 4)] if planes else []
    codebooks = [CodebookEntry(book.bits, book.t1, book.t2) for book in books]
    entries = [entry for entry, _, _, _ in stored]
    made = {"tokenizer": tokenizer_blob(blobs or path.parent)} if tokenizer else {}
    with PackWriter(path, kept, codebooks, made, entries, force=True, parts=parts) as file:
        for _, data, error, scale in stored:
            file.write_tensor(data, error, scale)
        file.commit()
    return found


# ---- the same in double precision ----


def _gelu(x: Doubles) -> Doubles:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def activate(name: str, x: Doubles) -> Doubles:
    if name == "gelu":
        return _gelu(x)
    if name == "gelu_tanh":
        return x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if name == "silu":
        return x / (1 + np.exp(-x))
    return {"relu": np.maximum(x, 0), "tanh": np.tanh(x), "none": x}[name]


class Reference:
    """The computation of docs/format.md on the tensors of a file."""

    def __init__(self, shape: Shape, tensors: Tensors) -> None:
        self.shape = shape
        self.tensors = {name: array.astype(np.float64) for name, array in tensors.items()}

    def linear(self, name: str, x: Doubles) -> Doubles:
        return x @ self.tensors[name].T + self.tensors.get(f"{name}.bias", 0.0)

    def norm(self, name: str, x: Doubles) -> Doubles:
        if name not in self.tensors:
            return x
        mean = x.mean(-1, keepdims=True)
        scaled = (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.tensors[name][0] + self.tensors.get(f"{name}.bias", np.zeros((1, 1)))[0]

    def _turned(self, x: Doubles) -> Doubles:
        """Rotary positions of [tokens][heads][head_dim]."""
        if "rope.frequencies" not in self.tensors:
            return x
        angles = np.arange(len(x))[:, None] * self.tensors["rope.frequencies"][0]
        cos, sin, half = np.cos(angles)[:, None], np.sin(angles)[:, None], x.shape[2] // 2
        first, second = x[..., :half], x[..., half:]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    def _attention(self, at: str, x: Doubles, window: int) -> Doubles:
        shape, n = self.shape, len(x)
        q, k, v = (self.linear(f"{at}.{part}", x).reshape(n, shape.heads, shape.head_dim) for part in "qkv")
        q, k = self._turned(q), self._turned(k)
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(shape.head_dim)
        apart = np.arange(n)[:, None] - np.arange(n)[None]
        hidden = (np.abs(apart) >= window) if window else np.zeros((n, n), bool)
        if shape.direction == "causal":
            hidden |= apart < 0
        scores[:, hidden] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return self.linear(f"{at}.o", np.einsum("hij,jhd->ihd", weights, v).reshape(n, shape.width))

    def _feed_forward(self, at: str, x: Doubles) -> Doubles:
        up = self.linear(f"{at}.up", x)
        if self.shape.gated:
            return self.linear(f"{at}.down", activate(self.shape.activation, self.linear(f"{at}.gate", x)) * up)
        return self.linear(f"{at}.down", activate(self.shape.activation, up))

    def hidden(self, tokens: Sequence[int], segments: Sequence[int] | None = None) -> Doubles:
        x = self.tensors["embedding"][list(tokens)]
        if "positions" in self.tensors:
            x = x + self.tensors["positions"][: len(tokens)]
        if "segments" in self.tensors:
            x = x + self.tensors["segments"][list(segments or [0] * len(tokens))]
        x = self.norm("embedding.norm", x)
        for layer in range(self.shape.layers):
            window = self.shape.windows[layer] if self.shape.windows else 0
            for part in "attention", "feed_forward":
                at = f"layers.{layer}.{part}"
                normed = self.norm(f"{at}.norm", x)
                x = x + (self._attention(at, normed, window) if part == "attention" else self._feed_forward(at, normed))
                x = self.norm(f"{at}.stream_norm", x)
        return self.norm("norm", x)

    def pooled(self, tokens: Sequence[int], segments: Sequence[int] | None = None) -> Doubles:
        rows = self.hidden(tokens, segments)
        x = {"cls": rows[0], "last": rows[-1], "mean": rows.mean(0), "max": rows.max(0)}[self.shape.pooling or "mean"]
        x = x[None]
        for index, (_, activation) in enumerate(self.shape.pooled):
            x = activate(activation, self.linear(f"pooled.{index}", x))
            x = self.norm(f"pooled.{index}.norm", x)
        return x[0] / np.sqrt((x**2).sum()) if self.shape.normalize else x[0]

    def word_logits(self, tokens: Sequence[int], positions: Sequence[int]) -> Doubles:
        rows = activate(self.shape.head_activation, self.linear("head.dense", self.hidden(tokens)[list(positions)]))
        return self.norm("head.norm", rows) @ self.tensors["embedding"].T + self.tensors["head.bias"][0]
