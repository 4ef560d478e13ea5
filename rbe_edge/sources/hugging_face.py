"""Hugging Face directories: config.json and safetensors, single or in shards."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rbe_edge.errors import PackError
from rbe_edge.sources import bitnet
from rbe_edge.sources.json_file import read_json
from rbe_edge.sources.messages import shown
from rbe_edge.sources.sentence_layout import read_layout
from rbe_edge.sources.types import Source, SourceTensor
from rbe_edge.terminal_text import one_line

#: Number types of safetensors that can be packed, and how numpy reads them. bf16 is read as its bits. Some forms of a
#: model (bitnet.py) have codes in bytes.
STORED_AS: Mapping[str, str] = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "U8": "u1"}

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    value = read_json(path, PackError)
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
        raise PackError(
            f"{path}: not a complete safetensors file ({one_line(str(error), 120)}); download it again"
        ) from error
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header_bytes = int.from_bytes(mapped[:8], "little")
    try:
        header = json.loads(mapped[8 : 8 + header_bytes])
        return {name: _view(mapped, 8 + header_bytes, name, header[name]) for name in sorted(names)}
    except (KeyError, TypeError, ValueError, RecursionError) as error:  # such as a name that stands twice
        raise PackError(
            f"{path}: its header cannot be read ({one_line(str(error), 120)}); download it again"
        ) from error


def _view(mapped: mmap.mmap, start: int, name: str, entry: Mapping[str, Any]) -> SourceTensor:
    """A tensor as the header describes it; without its numbers where their type is not read."""
    stored_as = STORED_AS.get(entry["dtype"])
    shape = tuple(entry["shape"])
    if stored_as is None:
        return SourceTensor(name, shape, entry["dtype"], np.empty(0, np.uint8))
    data = np.frombuffer(mapped, stored_as, math.prod(shape), start + entry["data_offsets"][0])
    kind = {"<f4": "fp32", "<f2": "fp16", "<u2": "bf16"}.get(stored_as, entry["dtype"])
    return SourceTensor(name, shape, kind, data.reshape(shape))


def _shards(directory: Path) -> dict[str, set[str]]:
    """The names of the safetensors files of a directory, and the tensors that the index promises of each (none where
    there is no index)."""
    if (directory / SINGLE_NAME).is_file():
        return {SINGLE_NAME: set()}
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
    weight_map = _read_object(index_path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise PackError(f"{index_path}: has no weight_map; download the file again")
    shards: dict[str, set[str]] = {}
    for tensor, file_name in weight_map.items():
        if not isinstance(file_name, str) or Path(file_name).name != file_name or not file_name.isprintable():
            raise PackError(f"{index_path}: names the shard {shown(file_name)}, which is not a file of this directory")
        shards.setdefault(file_name, set()).add(tensor)
    return shards


def open_directory(directory: Path, name: str | None = None) -> Source:
    """Opens a Hugging Face directory: config.json and safetensors, single or in shards.

    Of an index only the names of the files count, as in transformers: a tensor may be in another shard than it says,
    and a shard may be missing where nothing of it is needed. Source.missing has what it promises in vain.
    """
    config_path = directory / "config.json"
    if not config_path.is_file():
        gguf = next(iter(sorted(directory.glob("*.gguf"))), None)
        if gguf is not None:
            raise PackError(f"{directory}: has no config.json but GGUF files; give one of them, such as {gguf}")
        raise PackError(f"{directory}: has no config.json, so it is no Hugging Face model; give the model's directory")
    config = _read_object(config_path)
    tensors: dict[str, SourceTensor] = {}
    missing: dict[str, str] = {}
    files = []
    for file_name, promised in sorted(_shards(directory).items()):
        path = directory / file_name
        if path.is_file():
            files.append(path)
            tensors |= read_safetensors(path)
            missing |= dict.fromkeys(promised - tensors.keys(), f"{file_name} lacks it although the index promises it")
        else:
            missing |= dict.fromkeys(promised, f"{file_name} is missing")
    if not files:
        raise PackError(f"{directory}: none of the shards that {INDEX_NAME} names is there; download the model again")
    missing = {tensor: why for tensor, why in missing.items() if tensor not in tensors}
    layout = read_layout(directory)
    for layer in layout.dense if layout is not None else ():
        path = directory / layer.path / SINGLE_NAME
        if not path.is_file():
            raise PackError(f"{path}: is missing, or not in safetensors form; download the model again")
        files.append(path)
        found = read_safetensors(path)
        tensors |= {
            f"{layer.path}.{tensor}": replace(one, name=f"{layer.path}.{tensor}") for tensor, one in found.items()
        }
    title = name or directory.resolve().name
    return bitnet.loaded(Source(title, config, tensors, tuple(files), directory, missing=missing, sentence=layout))
