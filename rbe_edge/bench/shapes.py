"""Models of a real shape filled with random bits, so that speed can be measured without any weights.

The time of a token depends on shapes and rates, not on values: a stream of random bits costs what an encoded one does,
and gives a Gaussian matrix (docs/codec.md). Scales are set so that activations stay near one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis
from rbe_edge.errors import OptionError
from rbe_edge.format import writer
from rbe_edge.format.encoder import parts_of
from rbe_edge.format.experts import is_of_expert
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.tokenizer import Tokenizer

FloatArray = npt.NDArray[np.float32]

EMBEDDING_PLANES = (4, 2)
"""Six bits, as the packer gives a tied embedding; llama.cpp's mixtures store theirs in Q6_K."""

_PIECE = 1 << 24  # bytes of random stream made at a time


@dataclass(frozen=True)
class Shape:
    """A Llama-layout decoder with a tied embedding; width = heads x head_dim."""

    name: str
    of: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int

    @property
    def parameters(self) -> int:
        return sum(rows * cols for _, rows, cols in self.tensors())

    @property
    def metadata(self) -> dict[str, MetadataValue]:
        """What this kind of shape says beside shape_metadata()."""
        return {}

    def feed_forward_part(self, layer: int) -> Iterator[tuple[str, int, int]]:
        """As tensors(), of one layer behind its norm."""
        part = f"layers.{layer}.feed_forward."
        yield part + "gate", self.feed_forward, self.width
        yield part + "up", self.feed_forward, self.width
        yield part + "down", self.width, self.feed_forward

    def values(self, name: str, rows: int, cols: int, random: np.random.Generator) -> FloatArray:
        """Of a tensor that is fp32."""
        if name != "rope.frequencies":
            return np.ones(cols, np.float32)
        found: FloatArray = (500000.0 ** (-np.arange(cols) / cols)).astype(np.float32)
        return found

    def tensors(self) -> Iterator[tuple[str, int, int]]:
        """Name, rows and columns of every tensor, in the file's order; a vector has one row."""
        kv = self.kv_heads * self.head_dim
        yield "embedding", self.vocabulary, self.width
        for layer in range(self.layers):
            attention, feed_forward = f"layers.{layer}.attention.", f"layers.{layer}.feed_forward."
            yield attention + "norm", 1, self.width
            yield attention + "q", self.heads * self.head_dim, self.width
            yield attention + "k", kv, self.width
            yield attention + "v", kv, self.width
            yield attention + "o", self.width, self.heads * self.head_dim
            yield feed_forward + "norm", 1, self.width
            yield from self.feed_forward_part(layer)
        yield "norm", 1, self.width


@dataclass(frozen=True)
class Mixture(Shape):
    """The same with experts in place of the feed-forward parts, each `feed_forward` wide, of which a token uses `used`.

    hot: so many of them, the first ones, have `advantage` added to their scores, which are sigmoids, before the choice.
    """

    experts: int
    used: int
    hot: int = 0
    advantage: float = 0.0

    @property
    def metadata(self) -> dict[str, MetadataValue]:
        return {
            "experts": self.experts, "experts.used": self.used, "experts.feed_forward": self.feed_forward,
            "experts.score": "sigmoid", "experts.normalize": 1,
        }  # fmt: skip

    def feed_forward_part(self, layer: int) -> Iterator[tuple[str, int, int]]:
        part = f"layers.{layer}.experts."
        yield part + "router", self.experts, self.width
        yield part + "router.bias", 1, self.experts
        for expert in range(self.experts):
            yield f"{part}{expert}.gate", self.feed_forward, self.width
            yield f"{part}{expert}.up", self.feed_forward, self.width
            yield f"{part}{expert}.down", self.width, self.feed_forward

    def values(self, name: str, rows: int, cols: int, random: np.random.Generator) -> FloatArray:
        if name.endswith(".router"):  # logits of standard deviation 1
            return (random.standard_normal((rows, cols)) / math.sqrt(cols)).astype(np.float32)
        if name.endswith(".router.bias"):
            return np.where(np.arange(cols) < self.hot, self.advantage, 0.0).astype(np.float32)
        return super().values(name, rows, cols, random)


# Hyper-parameters as published with the models.
SHAPES = {
    shape.name: shape
    for shape in (
        Shape("135M", "SmolLM2-135M", 30, 576, 9, 3, 64, 1536, 49152),
        Shape("0.5B", "Qwen2.5-0.5B", 24, 896, 14, 2, 64, 4864, 151936),
        Shape("1B", "Llama-3.2-1B", 16, 2048, 32, 8, 64, 8192, 128256),
        Shape("3B", "Llama-3.2-3B", 28, 3072, 24, 8, 128, 8192, 128256),
    )
}

CONTEXT = 32768


def shape_named(name: str) -> Shape:
    """Raises OptionError where there is no such shape."""
    for known, shape in SHAPES.items():
        if known.lower() == name.lower():
            return shape
    raise OptionError(f"there is no shape {name}; give one of {', '.join(SHAPES)}")


def parse_planes(text: str) -> tuple[int, ...]:
    """'4' -> (4,), '2+2' -> (2, 2). Raises OptionError."""
    try:
        planes = tuple(int(part) for part in text.split("+"))
    except ValueError:
        planes = ()
    if not 1 <= len(planes) <= 4 or any(bits not in trellis.CODEBOOKS for bits in planes):
        raise OptionError(f"planes {text!r} are not possible; give 1 to 4, or a sum such as 2+2")
    return planes


def write_model(
    shape: Shape, planes: tuple[int, ...], out: Path, seed: int = 1, tokenizer: Tokenizer | None = None
) -> None:
    """A `.rbe` file of the shape, matrices as `planes`, the embedding as EMBEDDING_PLANES. tokenizer: None where it is
    fed token ids. Needs as much disk as the file; memory: a few MB. Raises PackError, and TokenizerError where the
    tokenizer has more tokens than the shape."""
    random = np.random.default_rng(seed)
    books = sorted({*planes, *EMBEDDING_PLANES})
    tensors = list(_stored(shape, planes))
    entries = [_entry(name, rows, cols, store, books) for name, rows, cols, store in tensors]
    codebooks = [writer.CodebookEntry(bits, trellis.CODEBOOKS[bits].t1, trellis.CODEBOOKS[bits].t2) for bits in books]
    metadata, blobs = shape_metadata(shape, planes), {}
    if tokenizer is not None:
        metadata |= tokenizer.metadata()
        blobs = {"tokenizer": write_blob(tokenizer.padded_to(shape.vocabulary))}
    parts = parts_of(metadata, [entry.name for entry in entries])
    with writer.PackWriter(out, metadata, codebooks, blobs, entries, force=True, parts=parts) as file:
        for name, rows, cols, store in tensors:
            if store:
                scale = trellis.CODEBOOKS[store[0]].step / math.sqrt(cols)
                file.write_tensor(_random_planes(random, rows, cols, store), 0.0, scale)
            else:
                file.write_tensor([shape.values(name, rows, cols, random).tobytes()], 0.0)
        file.commit()


def write_outline(shape: Shape, planes: tuple[int, ...], out: Path) -> None:
    """The same file with an index and holes: it takes no room, and runs nowhere. For estimates of memory."""
    books = sorted({*planes, *EMBEDDING_PLANES})
    entries = [_entry(name, rows, cols, store, books) for name, rows, cols, store in _stored(shape, planes)]
    codebooks = [writer.CodebookEntry(bits, trellis.CODEBOOKS[bits].t1, trellis.CODEBOOKS[bits].t2) for bits in books]
    metadata = shape_metadata(shape, planes)
    parts = parts_of(metadata, [entry.name for entry in entries])
    made = writer.PackWriter(out, metadata, codebooks, {}, entries, force=True, parts=parts)
    with out.open("wb") as file:
        file.write(made.outline())
        file.truncate(made.file_bytes)


def _stored(shape: Shape, planes: tuple[int, ...]) -> Iterator[tuple[str, int, int, tuple[int, ...]]]:
    found = [*shape.tensors(), ("rope.frequencies", 1, shape.head_dim // 2)]
    for name, rows, cols in sorted(found, key=lambda tensor: is_of_expert(tensor[0])):
        dense = rows == 1 or name.endswith(".router")
        yield name, rows, cols, () if dense else EMBEDDING_PLANES if name == "embedding" else planes


def _entry(name: str, rows: int, cols: int, planes: tuple[int, ...], books: list[int]) -> writer.TensorEntry:
    if not planes:
        return writer.TensorEntry(name, writer.KIND_FP32, rows, cols, 4 * rows * cols)
    n_bytes = trellis.encoded_bytes(rows, cols, planes)
    assert n_bytes is not None, name  # every shape is far above the shortest lane
    # Matrices that read one activation share its rotation.
    seed = {"k": "q", "v": "q", "up": "gate"}.get(name.rsplit(".", 1)[-1], name.rsplit(".", 1)[-1])
    return writer.TensorEntry(
        name, writer.KIND_TRELLIS, rows, cols, n_bytes,
        seed=sum(seed.encode()), rotation_block=trellis.rotation_block(cols),
        codebooks=tuple(books.index(bits) for bits in planes),
    )  # fmt: skip


def _random_planes(random: np.random.Generator, rows: int, cols: int, planes: tuple[int, ...]) -> Iterator[bytes]:
    """The parts of a tensor's data: row scales of one, a quarter per further plane, and random streams."""
    for index, layout in enumerate(trellis.plane_layouts(rows, cols, planes)):
        scales = np.full(rows, 0.25**index, np.float16).tobytes()
        yield scales.ljust(-(-len(scales) // 64) * 64, b"\0")
        left = layout.stream_bytes
        while left:
            yield random.bytes(min(left, _PIECE))
            left -= min(left, _PIECE)
        yield bytes(-layout.stream_bytes % 64)


def shape_metadata(shape: Shape, planes: tuple[int, ...]) -> dict[str, MetadataValue]:
    """The metadata of a packed file whose weights are random streams of `planes` bits each."""
    return {
        "name": f"random {shape.name}", "architecture": "llama", "parameters": shape.parameters,
        "packer.options": f"random streams, planes={'+'.join(map(str, planes))}",
        "layers": shape.layers, "width": shape.width, "vocabulary": shape.vocabulary, "context": CONTEXT,
        "heads": shape.heads, "kv_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "feed_forward": shape.feed_forward,
        "norm.kind": "rms", "norm.epsilon": 1e-5, "norm.place": "pre", "position.kind": "rope",
        "attention.scale": 1 / math.sqrt(shape.head_dim), "feed_forward.activation": "silu", "feed_forward.gated": 1,
        **shape.metadata,
    }  # fmt: skip
