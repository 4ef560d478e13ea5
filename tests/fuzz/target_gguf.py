"""GGUF files: all that packing reads of one but its weights. An input is what stands before the weights, which are
zeros."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gguf_models
from tiny_models import MODELS

from rbe_edge.errors import PackError, TokenizerError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.tokenizers import write_blob
from rbe_edge.sources.tokenizers.of_source import source_tokenizer

MOST_BYTES = 32 << 10
IS_JSON = False

_MODELS = ("llama", "gemma2", "qwen3_moe_normalized", "lfm2", "qwen3_5", "phi3_longrope")
_WEIGHTS = 1 << 21  # bytes of zeros
_folder = tempfile.TemporaryDirectory(prefix="rbe-fuzz-")


def seeds() -> dict[str, bytes]:
    """One header of each model."""
    found = {}
    for name in _MODELS:
        model = MODELS[name]
        data = gguf_models.write_gguf(model, Path(_folder.name) / "seed.gguf").read_bytes()
        weights = sum(-(-values.nbytes // 32) * 32 for values in gguf_models.gguf_tensors(model).values())
        found[name] = data[: len(data) - weights]
    return found


def run(data: bytes) -> None:
    path = Path(_folder.name) / "model.gguf"
    with path.open("wb") as file:
        file.write(data)
        file.truncate(len(data) + _WEIGHTS)
    try:
        source = open_source(path)
        plan = plan_model(source)
        write_blob(source_tokenizer(source, plan.metadata["vocabulary"]))
    except (PackError, TokenizerError) as error:
        assert "\n" not in str(error), "a message of one line"
