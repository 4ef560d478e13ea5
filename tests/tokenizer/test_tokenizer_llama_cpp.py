"""Equality with llama.cpp: its own test vectors, every line, and the library on a text where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_tokenizer import NativeTokenizer
from tokenizer_samples import differing

from rbe_edge.sources.tokenizers import read_gguf
from rbe_edge.sources.tokenizers.blob import write_blob

SEPARATOR = "\n__ggml_vocab_test__\n"


@pytest.mark.parametrize(
    "name", ["gpt-2", "llama-spm", "llama-bpe", "qwen2", "phi-3", "starcoder", "falcon", "bert-bge"]
)
def test_vectors(data_dir: Path, name: str) -> None:
    path = data_dir / "tokenizers/ggml-vocab" / f"ggml-vocab-{name}.gguf"
    texts = Path(f"{path}.inp").read_bytes().decode("utf-8").split(SEPARATOR)
    expected = [[int(token) for token in line.split()] for line in Path(f"{path}.out").read_text().splitlines()]
    if texts[-1] == "":
        texts.pop()
    assert len(texts) == len(expected) >= 40
    with NativeTokenizer(write_blob(read_gguf(path))) as tokenizer:
        found = [tokenizer.encode(text) for text in texts]
    assert not differing(texts, expected, found)


@pytest.mark.parametrize("name", ["gpt-2", "llama-spm", "qwen2", "phi-3"])
def test_the_library(data_dir: Path, name: str) -> None:
    """A part of Wikipedia, line by line, through the vocabularies of published models."""
    llama_cpp = pytest.importorskip("llama_cpp")
    path = data_dir / "tokenizers/ggml-vocab" / f"ggml-vocab-{name}.gguf"
    lines = (data_dir / "text/wiki.test.raw").read_text(encoding="utf-8")[:40_000].split("\n")
    theirs = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    expected = [theirs.tokenize(line.encode(), add_bos=False, special=False) for line in lines]
    theirs.close()
    with NativeTokenizer(write_blob(read_gguf(path))) as tokenizer:
        found = [tokenizer.encode(line) for line in lines]
    assert not differing(lines, expected, found)
