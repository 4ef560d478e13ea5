"""Equality with SentencePiece, on stories260K's model and on small models trained here."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
import sentencepiece
from native_tokenizer import NativeTokenizer
from tokenizer_samples import corpora, differing, random_texts

from rbe_edge.sources.tokenizers import PreTokenizer, Tokenizer, TokenType, read_llama2c, read_sentencepiece
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.sentencepiece_model import PIECE_TYPE, PIECES, _fields, _piece

WORDS = "the battery of a small computer lasts longer when its model is small and cold".split()
WORDS += ["caf\u00e9", "\u6211\u60f3", "\u0431\u044a\u043b"]
PARTS = ["<u>", "  ", " ", "\n", "\u3000", "\u2581", "hi", " a", "b c", "<s>", "the", "\u00e9", " small", "\U0001f999"]


def training_text() -> list[str]:
    source = random.Random(4)
    return [" ".join(source.choice(WORDS) for _ in range(source.randrange(1, 12))) for _ in range(300)]


def texts() -> list[str]:
    source = random.Random(3)
    mixed = ["".join(source.choice(PARTS) for _ in range(source.randrange(12))) for _ in range(2_000)]
    return [*mixed, *training_text(), *random_texts(2_000, seed=9)]


def train(**options: object) -> bytes:
    model = io.BytesIO()
    defaults = {"model_type": "bpe", "vocab_size": 360, "normalization_rule_name": "identity"}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_text()),
        model_writer=model,
        hard_vocab_limit=False,
        minloglevel=2,
        **(defaults | options),
    )
    return model.getvalue()


def with_unused_pieces(model: bytes) -> bytes:
    """The model with half of its normal pieces of several characters marked as unused."""
    source = random.Random(8)
    result = bytearray()
    for field, value in _fields(model):
        assert isinstance(value, bytes)  # the messages of a model
        if field == PIECES:
            text, _, kind = _piece(value)
            if kind is TokenType.NORMAL and len(text) > 1 and source.random() < 0.5:
                value += bytes([PIECE_TYPE << 3, TokenType.UNUSED])
        size = [len(value) & 127 | 128, len(value) >> 7] if len(value) > 127 else [len(value)]
        result += bytes([field << 3 | 2, *size]) + value
    return bytes(result)


def compare(reference: sentencepiece.SentencePieceProcessor, tokenizer: Tokenizer, samples: list[str]) -> None:
    with NativeTokenizer(write_blob(tokenizer)) as native:
        found = [native.encode(text) for text in samples]
    assert not differing(samples, reference.encode(samples), found)


def read(model: bytes, directory: Path) -> Tokenizer:
    """A trained model, from a file."""
    (directory / "tokenizer.model").write_bytes(model)
    return read_sentencepiece(directory / "tokenizer.model")


@pytest.mark.parametrize("user_defined", [[], ["<u>", "\u2581\u2581", "\n"]])
@pytest.mark.parametrize("across_words", [False, True])
@pytest.mark.parametrize("collapse", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("fallback", [False, True])
def test_trained(
    tmp_path: Path, fallback: bool, prefix: bool, collapse: bool, across_words: bool, user_defined: list[str]
) -> None:
    model = train(
        byte_fallback=fallback,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=collapse,
        split_by_whitespace=not across_words,
        user_defined_symbols=user_defined,
        character_coverage=0.98,
        pad_id=3,
    )
    tokenizer = read(model, tmp_path)
    assert tokenizer.pre_tokenizer is (PreTokenizer.NONE if across_words else PreTokenizer.SPACES)
    compare(sentencepiece.SentencePieceProcessor(model_proto=model), tokenizer, texts())


def test_unused_tokens(tmp_path: Path) -> None:
    """Pieces that may not be in the result still stand between others while merging, and split again at the end."""
    model = with_unused_pieces(train(byte_fallback=True, vocab_size=450))
    tokenizer = read(model, tmp_path)
    assert tokenizer.types.count(TokenType.UNUSED) > 20
    compare(sentencepiece.SentencePieceProcessor(model_proto=model), tokenizer, texts())


# What the map of characters changes, deletes and joins, and what is no part of it.
MAPPED = ["\ufb01", "\u2460", "\uff21", "\u304b\u3099", "\uff76\uff9e", "\u00bd", "a\u0301"]
MAPPED += ["\r\n", "\t", "\u0001", "\u00ad", "\ufeff"]


@pytest.mark.parametrize("user_defined", [[], ["<u>", "\n"]])
@pytest.mark.parametrize("across_words", [False, True])
@pytest.mark.parametrize("collapse", [False, True])
@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("fallback", [False, True])
@pytest.mark.parametrize("rules", ["nmt_nfkc_cf", "identity"])
def test_trained_unigram(
    tmp_path: Path,
    rules: str,
    fallback: bool,
    prefix: bool,
    collapse: bool,
    across_words: bool,
    user_defined: list[str],
) -> None:
    model = train(
        model_type="unigram",
        vocab_size=500 if fallback else 200,
        normalization_rule_name=rules,
        byte_fallback=fallback,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=collapse,
        split_by_whitespace=not across_words,
        user_defined_symbols=user_defined,
        character_coverage=0.98,
        pad_id=3,
    )
    tokenizer = read(model, tmp_path)
    assert tokenizer.pre_tokenizer is (PreTokenizer.NONE if across_words else PreTokenizer.SPACES)
    assert bool(tokenizer.normalization.charsmap) == (rules != "identity")
    source = random.Random(7)
    mapped = ["".join(source.choice(MAPPED + PARTS) for _ in range(source.randrange(8))) for _ in range(1_000)]
    samples = [*texts(), *mapped]
    expected = sentencepiece.SentencePieceProcessor(model_proto=model).encode(samples)
    with NativeTokenizer(write_blob(tokenizer)) as native:
        found = [native.encode(text) for text in samples]
    # SentencePiece adds scores in 32 bits: which of two orders of the same tokens it takes is chance then.
    pairs = enumerate(zip(expected, found, strict=True))
    ties = {i for i, (want, got) in pairs if want != got and sorted(want) == sorted(got)}
    assert len(ties) < 10
    kept = [i for i in range(len(samples)) if i not in ties]
    assert not differing([samples[i] for i in kept], [expected[i] for i in kept], [found[i] for i in kept])


def test_unigram_of_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    """SentencePiece makes U+FFFD of each."""
    model = train(model_type="unigram", vocab_size=200, normalization_rule_name="nmt_nfkc")
    (tmp_path / "tokenizer.model").write_bytes(model)
    reference = sentencepiece.SentencePieceProcessor(model_proto=model)
    broken = [b"a\xffb", b"\xc3", b"the \xe2\x82 battery", b"\xed\xa0\x80x", b"\xf4\x90\x80\x80"]
    with NativeTokenizer(write_blob(read_sentencepiece(tmp_path / "tokenizer.model"))) as native:
        assert [native.encode(text) for text in broken] == [reference.encode(text) for text in broken]


def test_stories260k(data_dir: Path) -> None:
    path = data_dir / "stories260K/tok512.model"
    samples = [*random_texts(5_000, seed=1), *corpora(data_dir, limit=300_000).values()]
    compare(sentencepiece.SentencePieceProcessor(model_file=str(path)), read_sentencepiece(path), samples)


def test_llama2c_is_the_same_vocabulary(data_dir: Path) -> None:
    """tok512.bin has the tokens of tok512.model; run.c does not collapse spaces, so the texts here have single ones."""
    binary = read_llama2c(data_dir / "stories260K/tok512.bin")
    model = read_sentencepiece(data_dir / "stories260K/tok512.model")
    assert (binary.tokens, binary.types) == (model.tokens, model.types)
    assert binary.before == model.before == (1,)
    samples = [" ".join(text.split()) for text in corpora(data_dir, limit=300_000).values()]
    reference = sentencepiece.SentencePieceProcessor(model_file=str(data_dir / "stories260K/tok512.model"))
    compare(reference, binary, samples)
    with NativeTokenizer(write_blob(binary)) as native:
        for text in samples:
            assert native.decode(native.encode(text, special_prefix=True)).decode("utf-8") == " " + text
