"""Equality with tiktoken: GPT-2's encoding, and Llama 3's and Qwen2's vocabularies read as ranks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from native_tokenizer import NativeTokenizer
from tokenizer_samples import any_texts, cased_texts, corpora, differing, edge_texts, random_texts

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.gguf.header import read_header
from rbe_edge.sources.tokenizers import PreTokenizer, from_ranks, read_tokenizer_json
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.byte_level import to_bytes
from rbe_edge.sources.tokenizers.pre_tokenizers import PATTERNS

PATTERN_OF = {kind: pattern for pattern, kind in PATTERNS.items()}
Pair = tuple[tiktoken.Encoding, NativeTokenizer]


def pair_from_ranks(ranks: dict[bytes, int], kind: PreTokenizer, special: dict[str, int]) -> Pair:
    reference = tiktoken.Encoding(kind.name, pat_str=PATTERN_OF[kind], mergeable_ranks=ranks, special_tokens=special)
    return reference, NativeTokenizer(write_blob(from_ranks(ranks, kind, special)))


def gguf_ranks(path: Path) -> dict[bytes, int]:
    data = read_header(path).metadata
    tokens = enumerate(zip(data["tokenizer.ggml.tokens"], data["tokenizer.ggml.token_type"], strict=True))
    return {to_bytes(text): index for index, (text, kind) in tokens if kind == 1}


@pytest.fixture(scope="module")
def gpt2_ranks(data_dir: Path) -> dict[bytes, int]:
    vocabulary = json.loads((data_dir / "tokenizers/gpt2/encoder.json").read_text(encoding="utf-8"))
    return {to_bytes(text): index for text, index in vocabulary.items() if text != "<|endoftext|>"}


@pytest.fixture(scope="module")
def gpt2(gpt2_ranks: dict[bytes, int]) -> Iterator[Pair]:
    pair = pair_from_ranks(gpt2_ranks, PreTokenizer.GPT2, {"<|endoftext|>": 50256})
    yield pair
    pair[1].close()


@pytest.fixture(scope="module", params=[PreTokenizer.LLAMA3, PreTokenizer.QWEN2])
def modern(data_dir: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    name = {PreTokenizer.LLAMA3: "llama-bpe", PreTokenizer.QWEN2: "qwen2"}[request.param]
    ranks = gguf_ranks(data_dir / f"tokenizers/ggml-vocab/ggml-vocab-{name}.gguf")
    pair = pair_from_ranks(ranks, request.param, {})
    yield pair
    pair[1].close()


def check_corpora(data_dir: Path, pair: Pair, limit: int) -> None:
    reference, native = pair
    for name, text in corpora(data_dir, limit).items():
        tokens = native.encode(text)
        assert tokens == reference.encode_ordinary(text), name
        assert native.decode(tokens) == text.encode("utf-8"), name


def test_gpt2_corpora(data_dir: Path, gpt2: Pair) -> None:
    check_corpora(data_dir, gpt2, limit=2_000_000)


def test_modern_corpora(data_dir: Path, modern: Pair) -> None:
    check_corpora(data_dir, modern, limit=300_000)


def check_text(pair: Pair, text: str) -> None:
    reference, native = pair
    tokens = native.encode(text)
    assert tokens == reference.encode_ordinary(text)
    assert native.decode(tokens) == text.encode("utf-8")


@given(text=edge_texts())
def test_gpt2_edges(gpt2: Pair, text: str) -> None:
    check_text(gpt2, text)


@given(text=any_texts())
def test_gpt2_any_text(gpt2: Pair, text: str) -> None:
    check_text(gpt2, text)


def test_modern_any_text(modern: Pair) -> None:
    reference, native = modern
    texts = random_texts(10_000, seed=7)
    expected = [reference.encode_ordinary(text) for text in texts]
    assert not differing(texts, expected, [native.encode(text) for text in texts])


@given(data=any_texts().map(str.encode) | edge_texts().map(lambda text: text.encode("utf-16-le")))
def test_gpt2_any_bytes(gpt2: Pair, data: bytes) -> None:
    _, native = gpt2
    assert native.decode(native.encode(data)) == data


def test_gpt2_special_tokens(gpt2: Pair) -> None:
    reference, native = gpt2
    text = "one<|endoftext|> two <|endoftext|>"
    assert native.encode(text, parse_special=True) == reference.encode(text, allowed_special="all")
    assert native.encode(text) == reference.encode_ordinary(text)


def test_gpt2_merges_and_ranks_agree(data_dir: Path, gpt2: Pair) -> None:
    """The same vocabulary read from tokenizer.json, with its merges."""
    tokenizer = read_tokenizer_json(data_dir / "tokenizers/gpt2/tokenizer.json")
    texts = [*random_texts(5_000, seed=3), *corpora(data_dir, limit=300_000).values()]
    with NativeTokenizer(write_blob(tokenizer)) as native:
        found = [native.encode(text) for text in texts]
    assert not differing(texts, [gpt2[0].encode_ordinary(text) for text in texts], found)


@pytest.mark.parametrize("kind", [PreTokenizer.O200K, PreTokenizer.TEKKEN])
def test_expressions_that_know_the_case(data_dir: Path, kind: PreTokenizer) -> None:
    """In a vocabulary of all bytes and all pairs of bytes, so that the tokens tell where the pieces end."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {bytes([a, b]): 256 + 256 * a + b for a in range(256) for b in range(256)}
    texts = [*cased_texts(40_000, seed=5), *random_texts(20_000, seed=9), *corpora(data_dir, limit=100_000).values()]
    reference, native = pair_from_ranks(ranks, kind, {})
    with native:
        found = [native.encode(text) for text in texts]
    assert not differing(texts, [reference.encode_ordinary(text) for text in texts], found)


@pytest.mark.parametrize("text", ["A\u6211" * 50_000, "\u0301A" * 50_000, "A" * 100_000, "\u6211" + "A" * 100_000])
def test_long_words_of_mixed_case(text: str) -> None:
    """Where the expression gives back what it took, of a long run."""
    reference, native = pair_from_ranks({bytes([byte]): byte for byte in range(256)}, PreTokenizer.O200K, {})
    with native:
        assert native.encode(text) == reference.encode_ordinary(text)


def test_missing_bytes_are_refused() -> None:
    with pytest.raises(TokenizerError, match="single bytes"):
        from_ranks({b"a": 0}, PreTokenizer.GPT2, {})
