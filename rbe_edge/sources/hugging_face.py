"""Hugging Face directories: config.json and safetensors, single or in shards."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rbe_edge.errors import PackError
from rbe_edge.sources.types import Source, SourceTensor

#: Number types of safetensors that can be packed, and how numpy reads them. bf16 is read as its bits.
STORED_AS: Mapping[str, str] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"


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
