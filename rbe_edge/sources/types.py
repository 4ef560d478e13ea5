"""Where models come from: lazily read weights and the configuration that belongs to them.

A source is opened without reading any weight: tensors are views into memory-mapped files, converted to fp32 one at a
time when asked. open.py opens sources of every kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.progress import Report
from rbe_edge.sources.sentence_layout import SentenceLayout

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SourceTensor:
    """One tensor of a source. `data` is a view into a mapped file; nothing is read before read() is called.

    `data` may have more dimensions than `shape` (llama2.c, where rows are permuted); it then holds the numbers of
    `shape` in row-major order of its own axes.
    """

    name: str
    shape: tuple[int, ...]
    kind: str  # "fp32", "fp16" or "bf16"
    data: npt.NDArray[Any]

    def read(self, axis: int = 0, start: int = 0, stop: int | None = None) -> FloatArray:
        """The numbers as fp32 (exact for every kind), from start to stop along an axis, in memory of their own."""
        view = self.data
        if (start, stop) != (0, None):
            assert view.ndim == len(self.shape), f"{self.name} is permuted and cannot be cut"
            view = view[(slice(None),) * axis + (slice(start, stop),)]
        shape = list(self.shape)
        shape[axis] = (self.shape[axis] if stop is None else stop) - start
        if self.kind == "bf16":
            bits = view.astype(np.uint32, order="C")
            bits <<= 16
            return bits.view(np.float32).reshape(shape)
        return view.astype(np.float32, order="C").reshape(shape)


@dataclass(frozen=True)
class Source:
    """A model as published: its configuration (in Hugging Face's words), its tensors, and where they came from."""

    name: str  # of the directory, the file or the repository; for provenance
    config: Mapping[str, Any]
    tensors: Mapping[str, SourceTensor]
    weight_files: tuple[Path, ...]  # in name order
    directory: Path  # holds the tokenizer and the chat template
    tokenizer: Path | None = None  # named explicitly
    layout: str = "hugging_face"  # whose names and conventions the tensors follow; or "gguf"
    described_in: str = "config.json"  # where the configuration stands; for messages
    missing: Mapping[str, str] = field(default_factory=dict)  # tensors that the files promise and lack, and why
    sentence: SentenceLayout | None = None  # how it makes a vector of a text, where it says so

    def sha256(self, progress: Report | None = None) -> str:
        """SHA-256 over the bytes of the weight files in name order, in hexadecimal; progress(done, total) in bytes."""
        digest = hashlib.sha256()
        total = sum(path.stat().st_size for path in self.weight_files)
        done = 0
        for path in self.weight_files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, total)
        return digest.hexdigest()
