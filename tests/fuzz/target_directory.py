"""Hugging Face directories: all that packing reads of one but its weights, which are zeros. An input has five lines:
config.json, the header of model.safetensors, tokenizer.json, tokenizer_config.json, generation_config.json."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import tiny_models
from json_changes import END
from tiny_models import MODELS

from rbe_edge.errors import PackError, TokenizerError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.tokenizers import write_blob
from rbe_edge.sources.tokenizers.of_source import source_tokenizer

MOST_BYTES = 64 << 10
IS_JSON = True

_MODELS = ("llama_llama3", "gemma3_new", "qwen3_moe_normalized", "gpt2", "granite4", "phi3_longrope", "gemma4")
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
_MOST_WEIGHTS = 1 << 24  # bytes
_folder = tempfile.TemporaryDirectory(prefix="rbe-fuzz-")


def _header(data: bytes) -> bytes:
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def seeds() -> dict[str, bytes]:
    found = {}
    for name in _MODELS:
        directory = tiny_models.write(MODELS[name], Path(_folder.name) / name)
        parts = [(directory / file).read_bytes() if (directory / file).exists() else b"{}" for file in _FILES]
        parts[1] = _header(parts[1])
        found[name] = END.join(json.dumps(json.loads(part)).encode() for part in parts)
    return found


def _end_of(header: bytes) -> int:
    """Where the last tensor ends, as the header says; 0 where it says nothing that can be so."""
    try:
        entries: Any = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        return int(min(max(0, *ends, 0), _MOST_WEIGHTS))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
        return 0


def run(data: bytes) -> None:
    directory = Path(_folder.name) / "model"
    directory.mkdir(exist_ok=True)
    parts = data.split(END, len(_FILES) - 1)
    for name, part in zip(_FILES, [*parts, *[b""] * (len(_FILES) - len(parts))], strict=True):
        with (directory / name).open("wb") as file:
            if name == "model.safetensors":
                file.write(len(part).to_bytes(8, "little"))
            file.write(part)
            if name == "model.safetensors":
                file.truncate(8 + len(part) + _end_of(part))
    try:
        source = open_source(directory)
        plan = plan_model(source)
        write_blob(source_tokenizer(source, plan.metadata["vocabulary"]))
    except (PackError, TokenizerError) as error:
        assert "\n" not in str(error), "a message of one line"
