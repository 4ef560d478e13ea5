"""A source of a published shape filled with Gaussian weights, to time packing where no model of that size is at hand.

    python tools/random_source.py out/ --shape 1B --tokenizer DIRECTORY
    time rbe pack out -o out.rbe --bits 4 --effort quick

A Llama checkpoint in BF16. Its tokenizer is that of DIRECTORY, with no more tokens than the shape's vocabulary. The
weights say nothing of quality.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.bench import shapes

_NAMES = {
    "embedding": "embed_tokens", "norm": "norm", "attention.norm": "input_layernorm", "attention.q": "self_attn.q_proj",
    "attention.k": "self_attn.k_proj", "attention.v": "self_attn.v_proj", "attention.o": "self_attn.o_proj",
    "feed_forward.norm": "post_attention_layernorm", "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj", "feed_forward.down": "mlp.down_proj",
}  # fmt: skip

GAIN = 0.6
"""Of a matrix: the standard deviation of its output for inputs of standard deviation 1."""

EMBEDDING_DEVIATION = 0.02


def checkpoint_name(name: str) -> str:
    """Of a tensor of a shape, as Llama's checkpoints name it."""
    if name.startswith("layers."):
        _, layer, part = name.split(".", 2)
        return f"model.layers.{layer}.{_NAMES[part]}.weight"
    return f"model.{_NAMES[name]}.weight"


def tensors(shape: shapes.Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name in the checkpoint and dimensions."""
    for name, rows, cols in shape.tensors():
        yield checkpoint_name(name), (cols,) if rows == 1 else (rows, cols)


def _config(shape: shapes.Shape) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim, "vocab_size": shape.vocabulary,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_theta": 500000.0,
        "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip


def _values(name: str, dimensions: tuple[int, ...], random: np.random.Generator) -> npt.NDArray[np.float32]:
    if len(dimensions) == 1:
        return np.ones(dimensions, np.float32)
    deviation = EMBEDDING_DEVIATION if "embed_tokens" in name else GAIN / math.sqrt(dimensions[1])
    return random.standard_normal(dimensions, dtype=np.float32) * np.float32(deviation)


def write(shape: shapes.Shape, directory: Path, seed: int = 1) -> None:
    """config.json and model.safetensors. Memory: the largest tensor, three times."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(_config(shape), indent=1) + "\n")
    header, end = {}, 0
    for name, dimensions in tensors(shape):
        size = 2 * math.prod(dimensions)
        header[name] = {"dtype": "BF16", "shape": list(dimensions), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(seed)
    with (directory / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, dimensions in tensors(shape):
            bits = _values(name, dimensions, random).view(np.uint32)
            file.write((bits >> 16).astype("<u2").tobytes())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("out", type=Path, help="directory to write into")
    parser.add_argument("--shape", default="1B", choices=list(shapes.SHAPES))
    parser.add_argument("--tokenizer", type=Path, required=True, help="directory with a tokenizer.json")
    options = parser.parse_args(arguments)
    tokenizer = options.tokenizer / "tokenizer.json"
    if not tokenizer.is_file():
        parser.error(f"{options.tokenizer} has no tokenizer.json")
    write(shapes.shape_named(options.shape), options.out)
    shutil.copy(tokenizer, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
