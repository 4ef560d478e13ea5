"""Equality with llama.cpp's own test vectors, every line of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_tokenizer import NativeTokenizer
from tokenizer_samples import differing

from rbe_edge.packing.tokenizers import read_gguf

SEPARATOR = "\n__ggml_vocab_test__\n"


@pytest.mark.parametrize("name", ["gpt-2", "llama-spm", "llama-bpe", "qwen2", "phi-3", "starcoder", "falcon"])
def test_vectors(data_dir: Path, name: str) -> None:
    path = data_dir / "tokenizers/ggml-vocab" / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{path}.inp").read_bytes().decode("utf-8").split(SEPARATOR)
    expected = [[int(token) for token in line.split()] for line in Path(f"{path}.out").read_text().splitlines()]
    if texts[-1] == "":
        texts.pop()
    assert len(texts) == len(expected) >= 40
    with NativeTokenizer(read_gguf(path).to_blob()) as tokenizer:
        found = [tokenizer.encode(text) for text in texts]
    assert not differing(texts, expected, found)
