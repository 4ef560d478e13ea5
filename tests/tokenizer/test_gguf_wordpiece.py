"""Unigram and WordPiece in GGUF files: equality with SentencePiece and the package tokenizers, whose vocabularies they
are. llama.cpp's own vectors for BERT are in test_tokenizer_llama_cpp.py."""

from __future__ import annotations

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from native_tokenizer import NativeTokenizer
from tokenizer_samples import corpora, differing, long_known, random_texts
from tokenizers import Tokenizer

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers import TokenType, read_gguf, write_blob
from rbe_edge.sources.tokenizers.sentencepiece_model import CHARSMAP, NORMALIZER, _fields, _texts

gguf = pytest.importorskip("gguf")

SENTENCES = [
    "the battery of a small computer lasts longer when its model is small and cold",
    "caf\u00e9 \u6211\u60f3 \u0431\u044a\u043b",
] * 99


def write(path: Path, kind: str, **fields: Any) -> Path:
    """A file of a vocabulary alone, with the keys of llama.cpp's converter."""
    writer = gguf.GGUFWriter(path, kind)
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre("default")
    writer.add_token_list(fields.pop("tokens"))
    writer.add_token_types(fields.pop("types"))
    if "scores" in fields:
        writer.add_token_scores(fields.pop("scores"))
    for name, value in fields.items():
        if isinstance(value, bool):
            writer.add_bool(f"tokenizer.ggml.{name}", value)
        elif isinstance(value, bytes):
            writer.add_array(f"tokenizer.ggml.{name}", value)
        else:
            writer.add_uint32(f"tokenizer.ggml.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def texts() -> list[str]:
    source = random.Random(5)
    parts = [
        *SENTENCES[0].split(" "),
        "  ",
        " ",
        "\n",
        "\ufb01",
        "\u2460",
        "\u304b\u3099",
        "\t",
        "\u0001",
        "<unk>",
        "</s>",
    ]
    mixed = ["".join(source.choice(parts) for _ in range(source.randrange(9))) for _ in range(2_000)]
    return [*mixed, *SENTENCES[:2], *random_texts(2_000, seed=1)]


def t5_file(path: Path, model: bytes, **changes: Any) -> Path:
    """A SentencePiece model as T5's converter writes it."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    normalizer = next(value for field, value in _fields(model) if field == NORMALIZER)
    size = processor.vocab_size()
    types = [TokenType.NORMAL] * size
    for index in range(size):
        if processor.is_unknown(index):
            types[index] = TokenType.UNKNOWN
        elif processor.is_control(index):
            types[index] = TokenType.CONTROL
    fields = {
        "tokens": [processor.id_to_piece(index) for index in range(size)],
        "types": [int(kind) for kind in types],
        "scores": [processor.get_score(index) for index in range(size)],
        "eos_token_id": processor.eos_id(),
        "unknown_token_id": processor.unk_id(),
        "add_space_prefix": True,
        "remove_extra_whitespaces": True,
        "precompiled_charsmap": _texts(normalizer).get(CHARSMAP, b""),
    }
    return write(path, "t5", **{key: value for key, value in (fields | changes).items() if value is not None})


@pytest.fixture(scope="module")
def model() -> bytes:
    result = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=result, vocab_size=90, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
    )  # fmt: skip
    return result.getvalue()


def test_unigram(tmp_path: Path, model: bytes) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokenizer = read_gguf(t5_file(tmp_path / "t5.gguf", model))
    assert tokenizer.after == (1,) and tokenizer.before == () and tokenizer.ends_text == {1}
    samples = texts()
    with NativeTokenizer(write_blob(tokenizer)) as native:
        found = [native.encode(text) for text in samples]
        assert native.encode("small", special_prefix=True) == [*reference.encode("small"), 1]
        assert native.encode("</s>", parse_special=True) == [1]
    assert not differing(samples, reference.encode(samples), found)


def test_t5s_own_vocabulary(data_dir: Path, tmp_path: Path) -> None:
    """Read from GGUF and from tokenizer.json it gives the same, where no cluster of characters is in the text."""
    document = json.loads((data_dir / "tokenizers/t5/tokenizer.json").read_text(encoding="utf-8"))
    entries = document["model"]["vocab"]
    special = {entry["content"] for entry in document["added_tokens"]}
    path = write(
        tmp_path / "t5.gguf",
        "t5",
        tokens=[text for text, _ in entries],
        scores=[score for _, score in entries],
        types=[int(TokenType.CONTROL if text in special else TokenType.NORMAL) for text, _ in entries],
        add_space_prefix=True,
        remove_extra_whitespaces=True,
        unknown_token_id=2,
        eos_token_id=1,
        precompiled_charsmap=base64.b64decode(document["normalizer"]["precompiled_charsmap"]),
    )
    reference = Tokenizer.from_file(str(data_dir / "tokenizers/t5/tokenizer.json"))
    samples = [line for text in corpora(data_dir, limit=200_000).values() for line in text.split("\n")]
    with NativeTokenizer(write_blob(read_gguf(path))) as native:
        found = [native.encode(text, special_prefix=True) for text in samples]
    assert not differing(samples, [encoding.ids for encoding in reference.encode_batch(samples)], found)


def test_what_is_damaged(tmp_path: Path, model: bytes) -> None:
    path = tmp_path / "t5.gguf"
    with pytest.raises(TokenizerError, match="precompiled_charsmap is damaged"):
        read_gguf(t5_file(path, model, precompiled_charsmap=b"\x10\0\0\0abc"))
    tokenizer = read_gguf(t5_file(path, model, precompiled_charsmap=None, eos_token_id=99_999, unknown_token_id=None))
    assert tokenizer.after == () and tokenizer.unknown == 2 and tokenizer.normalization.steps == ()
    assert any("eos_token_id is 99999" in note for note in tokenizer.notes)


def test_word_pieces(minilm: Path, tmp_path: Path) -> None:
    """A published vocabulary with the keys of the converter: special tokens are named, or have the usual names."""
    document = json.loads((minilm / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = sorted(document["model"]["vocab"], key=document["model"]["vocab"].__getitem__)

    def stored(text: str) -> str:
        if text.startswith("[") and text.endswith("]"):
            return text
        return text[2:] if text.startswith("##") else f"\u2581{text}"

    special = {entry["content"] for entry in document["added_tokens"]}
    types = [int(TokenType.CONTROL if text in special else TokenType.NORMAL) for text in vocabulary]
    reference = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    samples = [text for text in random_texts(3_000, seed=2) if long_known(text)]
    expected = [encoding.ids for encoding in reference.encode_batch(samples)]
    for keys in ({}, {"cls_token_id": 101, "seperator_token_id": 102, "unknown_token_id": 100, "padding_token_id": 0}):
        path = write(tmp_path / "bert.gguf", "bert", tokens=[*map(stored, vocabulary)], types=types, **keys)
        with NativeTokenizer(write_blob(read_gguf(path))) as native:
            found = [native.encode(text, special_prefix=True, parse_special=True) for text in samples]
        assert not differing(samples, expected, found)
