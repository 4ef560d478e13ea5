"""Where models come from: lazily read weights and the configuration that belongs to them.

A source is opened without reading any weight: tensors are views into memory-mapped files, converted to fp32 one at a
time when asked. Hugging Face directories are read here, llama2.c checkpoints in llama2c.py, GGUF files in gguf/,
downloads in hub.py.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import PackError
from rbe_edge.progress import Report

FloatArray = npt.NDArray[np.float32]

#: Number types of safetensors that can be packed, and how numpy reads them. bf16 is read as its bits.
STORED_AS: Mapping[str, str] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"


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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PackError(f"{path}: cannot be read ({error.strerror}); check the source directory") from error
    except (ValueError, RecursionError) as error:
        raise PackError(f"{path}: not valid JSON ({error}); download the file again") from error
    if not isinstance(value, dict):
        raise PackError(f"{path}: holds {type(value).__name__}, not an object; download the file again")
    return value


def read_safetensors(path: Path) -> dict[str, SourceTensor]:
    """The tensors of one safetensors file, as views into it.

    The safetensors package checks the file (header, offsets, size); the views are made here, because its numpy
    interface cannot read bf16.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as checked:
            names = set(checked.keys())
    except (OSError, SafetensorError) as error:
        raise PackError(f"{path}: not a complete safetensors file ({error}); download it again") from error
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header_bytes = int.from_bytes(mapped[:8], "little")
    header = json.loads(mapped[8 : 8 + header_bytes])
    tensors: dict[str, SourceTensor] = {}
    for name in sorted(names):
        entry = header[name]
        stored_as = STORED_AS.get(entry["dtype"])
        shape = tuple(entry["shape"])
        if stored_as is None:
            tensors[name] = SourceTensor(name, shape, entry["dtype"], np.empty(0, np.uint8))
            continue
        data = np.frombuffer(mapped, stored_as, math.prod(shape), 8 + header_bytes + entry["data_offsets"][0])
        kind = {"<f4": "fp32", "<f2": "fp16", "<u2": "bf16"}[stored_as]
        tensors[name] = SourceTensor(name, shape, kind, data.reshape(shape))
    return tensors


def _shards(directory: Path) -> dict[Path, set[str] | None]:
    """The safetensors files of a directory and the tensors each must hold (None: whatever it holds)."""
    single = directory / SINGLE_NAME
    if single.is_file():
        return {single: None}
    index_path = directory / INDEX_NAME
    if not index_path.is_file():
        old = next(iter(sorted(directory.glob("pytorch_model*.bin"))), None)
        if old is not None:
            raise PackError(
                f"{old}: pickled PyTorch weights are not read, they can run code; convert them once with "
                f"`AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)` of transformers, which writes "
                f"{SINGLE_NAME}"
            )
        raise PackError(f"{directory}: no {SINGLE_NAME} and no {INDEX_NAME}; download the weights in safetensors form")
    weight_map = read_json(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise PackError(f"{index_path}: has no weight_map; download the file again")
    shards: dict[Path, set[str] | None] = {}
    for tensor, file_name in weight_map.items():
        if not isinstance(file_name, str) or Path(file_name).name != file_name:
            raise PackError(f"{index_path}: names the shard {file_name!r}, which is not a file of this directory")
        wanted = shards.setdefault(directory / file_name, set())
        assert wanted is not None
        wanted.add(tensor)
    for path in sorted(shards):
        if not path.is_file():
            raise PackError(f"{path}: the shard is missing; download the model again")
    return shards


def open_directory(directory: Path, name: str | None = None) -> Source:
    """Opens a Hugging Face directory: config.json and safetensors, single or in shards."""
    config_path = directory / "config.json"
    if not config_path.is_file():
        gguf = next(iter(sorted(directory.glob("*.gguf"))), None)
        if gguf is not None:
            raise PackError(f"{directory}: has no config.json but GGUF files; give one of them, such as {gguf}")
        raise PackError(f"{directory}: has no config.json, so it is no Hugging Face model; give the model's directory")
    config = read_json(config_path)
    shards = _shards(directory)
    tensors: dict[str, SourceTensor] = {}
    for path in sorted(shards):
        found = read_safetensors(path)
        wanted = shards[path]
        if wanted is not None:
            missing = sorted(wanted - found.keys())
            if missing:
                raise PackError(f"{path}: lacks the tensor {missing[0]} that the index promises; download it again")
            found = {key: found[key] for key in wanted}
        tensors.update(found)
    return Source(name or directory.resolve().name, config, tensors, tuple(sorted(shards)), directory)


def open_source(source: str | Path, tokenizer: Path | None = None, revision: str | None = None) -> Source:
    """Opens a directory, a GGUF file, a llama2.c checkpoint, or downloads `org/name`. Nothing but headers is read.

    Raises PackError with what to do; MissingExtra where a download needs huggingface_hub or quantised tensors gguf.
    """
    path = Path(source)
    if path.is_dir():
        if tokenizer is not None:
            raise PackError("--tokenizer is for llama2.c checkpoints; a Hugging Face directory has its own tokenizer")
        return open_directory(path)
    if path.is_file():
        from rbe_edge.sources.gguf.header import is_gguf

        if path.suffix == ".gguf" or is_gguf(path):
            from rbe_edge.sources.gguf.source import open_gguf

            if tokenizer is not None:
                raise PackError("--tokenizer is for llama2.c checkpoints; a GGUF file has its own tokenizer")
            return open_gguf(path)
        if path.suffix == ".bin" and not path.name.startswith("pytorch_model"):
            from rbe_edge.sources.llama2c import open_checkpoint

            return open_checkpoint(path, tokenizer)
        raise PackError(
            f"{path}: not a source; give a Hugging Face directory, a GGUF file, a llama2.c .bin file or org/name"
        )
    from rbe_edge.sources.hub import download, is_repository

    if is_repository(str(source)):
        return open_directory(download(str(source), revision), str(source))
    raise PackError(f"{path}: not found; give a Hugging Face directory, a GGUF file, a llama2.c .bin file or org/name")
