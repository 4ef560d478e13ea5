"""Equality with the package tokenizers, on published files and on small ones trained here."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_tokenizer import NativeTokenizer
from tokenizer_samples import cased_texts, corpora, differing, edge_texts, long_known, random_texts
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from rbe_edge.sources.gguf.header import read_header
from rbe_edge.sources.tokenizers import (
    PreTokenizer,
    read_gguf,
    read_tokenizer,
    read_tokenizer_json,
    read_vocabulary_and_merges,
)
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.pre_tokenizers import (
    CL100K,
    DEEPSEEK3,
    HAN,
    LLAMA3,
    NUMBERS,
    O200K,
    QWEN2,
    QWEN35,
    SPARK,
    TEKKEN,
)

# Falcon's vocabulary lacks some bytes, which both leave out; tokenizers then still cuts between what was beside them.
LAST_IN_FALCON = 0x3FFFF


def compare(reference: Tokenizer, native: NativeTokenizer, texts: list[str]) -> None:
    expected = [encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)]
    assert not differing(texts, expected, [native.encode(text, parse_special=True) for text in texts])
    some = texts[:500]
    anywhere = [b"".join(b"\xff" + character.encode() for character in text) for text in some]
    assert not differing(some, expected[:500], [native.encode(text, marked=True) for text in anywhere])
    nowhere = [native.encode(text) for text in some]
    assert not differing(some, nowhere, [native.encode(text, marked=True) for text in some])


@pytest.mark.parametrize("name", ["tokenizers/gpt2", "tokenizers/smollm2", "wiki18m"])
def test_published_files(data_dir: Path, name: str) -> None:
    reference = Tokenizer.from_file(str(data_dir / name / "tokenizer.json"))
    with NativeTokenizer(write_blob(read_tokenizer(data_dir / name))) as native:
        compare(reference, native, [*random_texts(5_000, seed=5), *corpora(data_dir, limit=300_000).values()])


def test_qwen2(data_dir: Path) -> None:
    directory = data_dir / "tokenizers/qwen2.5"
    reference = Tokenizer(models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt")))
    reference.normalizer = normalizers.NFC()
    reference.pre_tokenizer = split(QWEN2)
    # tokenizers normalizes with an old version of Unicode, which orders some newer marks otherwise.
    texts = [text for text in random_texts(10_000, seed=5) if long_known(text)]
    assert len(texts) > 1_000
    tokenizer = read_vocabulary_and_merges(directory, PreTokenizer.QWEN2, [], nfc=True)
    with NativeTokenizer(write_blob(tokenizer)) as native:
        compare(reference, native, [*texts, *corpora(data_dir, limit=300_000).values()])


def test_falcon(data_dir: Path) -> None:
    path = data_dir / "tokenizers/ggml-vocab/ggml-vocab-falcon.gguf"
    data = read_header(path).metadata
    vocabulary = {text: index for index, text in enumerate(data["tokenizer.ggml.tokens"])}
    merges = [tuple(pair.split(" ")) for pair in data["tokenizer.ggml.merges"]]
    reference = Tokenizer(models.BPE(vocabulary, merges))
    reference.pre_tokenizer = falcon_pre_tokenizer()
    texts = [*random_texts(5_000, seed=5, last=LAST_IN_FALCON), *corpora(data_dir, limit=300_000).values()]
    texts = [text.replace("<|endoftext|>", "") for text in texts]
    with NativeTokenizer(write_blob(read_gguf(path))) as native:
        compare(reference, native, texts)


# ---- small tokenizers, trained here ------------------------------------------------------------------------------

PROSE = (
    "The battery of a small computer lasts longer when the model is small. It's 42 degrees; we'll see, I'd say!  "
    "In 2024 there were 33 333 of them...\n\n\tdef main(x):\n        return x + 1  # don't\r\n"
    "\u041d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438. "
    "\u6211\u60f3\u5728\u5de5\u4f5c \U0001f999 caf\u00e9 na\u00efve \u00bd \u00b2\n"
)


def byte_level(**options: Any) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **options})


def falcon_pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation("contiguous"),
            byte_level(),
            pre_tokenizers.Digits(False),
            pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
        ]
    )


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level(use_regex=False)])


def parts(pattern: str, *more: pre_tokenizers.PreTokenizer) -> pre_tokenizers.PreTokenizer:
    """Numbers, then Han and kana, then the pattern."""
    splits = [pre_tokenizers.Split(Regex(one), "isolated") for one in (NUMBERS, HAN, pattern)]
    return pre_tokenizers.Sequence([*splits, *more, byte_level(use_regex=False)])


PRE_TOKENIZERS: dict[str, Callable[[], pre_tokenizers.PreTokenizer]] = {
    "gpt2": byte_level,
    "gpt2 with a space": lambda: byte_level(add_prefix_space=True),
    "whole text": lambda: byte_level(use_regex=False),
    "llama3": lambda: split(LLAMA3),
    "qwen2": lambda: split(QWEN2),
    "qwen3.5": lambda: split(QWEN35),
    "starcoder": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level()]),
    "falcon": falcon_pre_tokenizer,
    "o200k": lambda: split(O200K),
    "tekken": lambda: split(TEKKEN),
    "cl100k": lambda: split(CL100K),
    "lfm2.5": lambda: split(CL100K.removesuffix("+")),
    "possessive cl100k": lambda: split(CL100K.replace("]?", "]?+").replace("+[\\r", "++[\\r")),
    "deepseek3": lambda: parts(DEEPSEEK3),
    "spark": lambda: parts(SPARK, pre_tokenizers.Digits(True)),
}


def add_tokens(tokenizer: Tokenizer) -> None:
    tokenizer.add_special_tokens(
        [
            AddedToken("<|end|>", normalized=False, rstrip=True),
            AddedToken("<|user|>", normalized=False, lstrip=True),
            AddedToken("<|user|>x", normalized=False),
        ]
    )
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("</tool>", normalized=False, lstrip=True)])


SPECIAL = ["<|end|>", "<|user|>", "<|user|>x", "<tool>", "</tool>", " ", "\n", "\u3000", "the", " a", "<|us", "<tool"]


def special_texts() -> list[str]:
    source = random.Random(11)
    return ["".join(source.choice(SPECIAL) for _ in range(source.randrange(9))) for _ in range(2_000)]


@pytest.mark.parametrize("name", list(PRE_TOKENIZERS))
def test_trained_byte_level(tmp_path: Path, name: str) -> None:
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = PRE_TOKENIZERS[name]()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    reference.train_from_iterator([PROSE] * 3, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet))
    add_tokens(reference)
    reference.save(str(tmp_path / "tokenizer.json"))
    with NativeTokenizer(write_blob(read_tokenizer_json(tmp_path / "tokenizer.json"))) as native:
        compare(reference, native, [PROSE, *random_texts(3_000, seed=2), *cased_texts(3_000, seed=4), *special_texts()])


def llama_like() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary as converted from SentencePiece: <unk>, <s>, bytes, then merged pieces and single characters."""
    trained = Tokenizer(models.BPE())
    trained.train_from_iterator([PROSE.replace(" ", "\u2581")] * 3, trainers.BpeTrainer(vocab_size=400))
    model = json.loads(trained.to_str())["model"]
    names = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    return {name: index for index, name in enumerate(names)}, [tuple(pair) for pair in model["merges"]]


def prepend_and_replace(tokenizer: Tokenizer) -> None:
    steps = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    tokenizer.normalizer = normalizers.Sequence(steps)


def metaspace_first(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)


def metaspace_always(tokenizer: Tokenizer) -> None:
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)


def replace_only(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")


# As in Llama 2 and Phi-3, in Mistral, in older conversions, in Gemma.
CHARACTER_LEVEL = [prepend_and_replace, metaspace_first, metaspace_always, replace_only]


@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("prepare", CHARACTER_LEVEL)
def test_trained_character_level(tmp_path: Path, prepare: Callable[[Tokenizer], None], fallback: bool) -> None:
    vocabulary, merges = llama_like()
    reference = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=fallback))
    prepare(reference)
    reference.add_special_tokens([AddedToken("<unk>", normalized=False), AddedToken("<s>", normalized=False)])
    add_tokens(reference)
    reference.save(str(tmp_path / "tokenizer.json"))
    with NativeTokenizer(write_blob(read_tokenizer_json(tmp_path / "tokenizer.json"))) as native:
        compare(reference, native, [PROSE, *random_texts(3_000, seed=2), *special_texts()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeTokenizer]:
    """A small tokenizer with Llama 3's expression."""
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = split(LLAMA3)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    reference.train_from_iterator([PROSE] * 3, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    path = tmp_path_factory.mktemp("trained") / "tokenizer.json"
    reference.save(str(path))
    with NativeTokenizer(write_blob(read_tokenizer_json(path))) as native:
        yield native


@given(text=edge_texts(), broken=st.sampled_from([b"", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]))
def test_round_trip(trained: NativeTokenizer, text: str, broken: bytes) -> None:
    data = text.encode("utf-8") + broken + text.encode("utf-8")
    assert trained.decode(trained.encode(data)) == data
