"""Opens GGUF files as sources: one file, or all parts of a split one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rbe_edge.errors import PackError
from rbe_edge.sources.config import Config
from rbe_edge.sources.gguf import gemma4, recurrent, t5
from rbe_edge.sources.gguf.architectures import EMBEDDING, LM_HEAD
from rbe_edge.sources.gguf.configuration import (
    ROPE_TENSORS,
    Keys,
    configuration,
    find_dialect,
    head_counts,
    sentence_layout,
)
from rbe_edge.sources.gguf.experts import expert_configuration
from rbe_edge.sources.gguf.header import Header, read_header
from rbe_edge.sources.gguf.tensors import GgufTensor, view_tensors
from rbe_edge.sources.messages import shown
from rbe_edge.sources.types import Source, SourceTensor

# How llama.cpp's gguf-split names the parts.
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

_COMPARED_ROWS = 1024


def open_gguf(path: Path) -> Source:
    """Opens a GGUF file; of a split one any part stands for all. Nothing but headers is read.

    Raises PackError for another kind of file, a damaged or incomplete one, and architectures, features and types of
    tensors that are not supported; MissingExtra where tensors are quantised and the package gguf is absent.
    """
    parts = _parts(path)
    metadata = parts[0][1].metadata
    if metadata.get("general.architecture") == t5.NAME:
        return _open_t5(path, parts)
    dialect = find_dialect(metadata, path.name)
    keys = Keys(Config(metadata, path.name), dialect.name)
    tensors = _tensors(parts, dialect.rotary(*head_counts(keys)) if dialect.neighbours else {})
    rope = {name: tensors.pop(name) for name in ROPE_TENSORS if name in tensors}
    if _same(tensors, LM_HEAD, EMBEDDING):
        del tensors[LM_HEAD]  # early converters of GPT-2 wrote a tied lm_head a second time
    read = gemma4.configuration if dialect.name == gemma4.NAME else configuration
    config = read(dialect, keys, tensors, rope) | expert_configuration(dialect, keys)
    found: Mapping[str, SourceTensor] = tensors
    if dialect.name in recurrent.NAMES:
        config |= recurrent.configuration(keys, config["num_hidden_layers"])
        found = recurrent.arranged(keys, tensors)
    files = tuple(part for part, _ in parts)
    return Source(
        files[0].name, config, found, files, path.parent, files[0], layout="gguf", described_in=path.name,
        sentence=sentence_layout(dialect, keys),
    )  # fmt: skip


def _tensors(parts: list[tuple[Path, Header]], rotary: Mapping[str, int]) -> dict[str, GgufTensor]:
    """Those of all parts; rotary: Dialect.rotary()."""
    tensors: dict[str, GgufTensor] = {}
    for part, header in parts:
        for name, tensor in view_tensors(part, header, rotary).items():
            if name in tensors:
                raise PackError(f"{part}: {name} is also in another part; the parts do not belong together")
            tensors[name] = tensor
    return tensors


def _open_t5(path: Path, parts: list[tuple[Path, Header]]) -> Source:
    keys = Keys(Config(parts[0][1].metadata, path.name), t5.NAME)
    tensors = t5.renamed(_tensors(parts, {}), path.name)
    files = tuple(part for part, _ in parts)
    return Source(
        files[0].name, t5.configuration(keys, tensors), tensors, files, path.parent, files[0], layout="gguf",
        described_in=path.name,
    )  # fmt: skip


def _parts(path: Path) -> list[tuple[Path, Header]]:
    """All files of a model and their headers, the first one with the metadata first."""
    header = read_header(path)
    count, number = (_split_key(header, path, key) for key in ("split.count", "split.no"))
    if count <= 1:
        return [(path, header)]
    named = PART.fullmatch(path.name)
    if named is None or int(named["count"]) != count or int(named["number"]) != number + 1:
        raise PackError(
            f"{path}: is part {number + 1} of {count}, but not named so; give it back its name, "
            f"NAME-{number + 1:05}-of-{count:05}.gguf"
        )
    parts = []
    for index in range(count):
        part = path.with_name(f"{named['stem']}-{index + 1:05}-of-{count:05}.gguf")
        if not part.is_file():
            raise PackError(f"{part}: this part of the model is missing; download it too")
        found = header if part == path else read_header(part)
        if (_split_key(found, part, "split.no"), _split_key(found, part, "split.count")) != (index, count):
            raise PackError(f"{part}: is another part than its name says; download it again")
        parts.append((part, found))
    promised = _split_key(parts[0][1], path, "split.tensors.count")
    held = sum(len(found.tensors) for _, found in parts)
    if promised not in (0, held):
        raise PackError(f"{parts[0][0]}: promises {promised} tensors, the parts hold {held}; download them again")
    return parts


def _split_key(header: Header, path: Path, key: str) -> int:
    value: Any = header.metadata.get(key, 0)
    if not isinstance(value, int) or not 0 <= value < 100000:  # five digits in the name
        raise PackError(f"{path}: {key} is {shown(value)}; the file is damaged, download it again")
    return value


def _same(tensors: dict[str, GgufTensor], name: str, other: str) -> bool:
    """Whether two tensors are both there and stored as the same bytes."""
    one, two = tensors.get(name), tensors.get(other)
    if one is None or two is None or (one.shape, one.data.dtype) != (two.shape, two.data.dtype):
        return False
    if one.quantised != two.quantised or one.kind != two.kind:
        return False
    rows = range(0, len(one.data), _COMPARED_ROWS)
    pairs = ((one.data[at : at + _COMPARED_ROWS], two.data[at : at + _COMPARED_ROWS]) for at in rows)
    return all(np.array_equal(a.view(np.uint8), b.view(np.uint8)) for a, b in pairs)
