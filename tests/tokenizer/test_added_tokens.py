"""Added tokens with all their flags: equality with the package tokenizers, on small tokenizers of every kind."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from native_tokenizer import NativeTokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from rbe_edge.sources.tokenizers import read_tokenizer, read_tokenizer_json, write_blob

PROSE = [
    "The battery of a small computer lasts longer. It's 42 degrees; user assistant\nHello world. Caf\u00e9 <tag> x"
] * 9


def character_level(kind: str) -> dict[str, Any]:
    """As converted from SentencePiece models: with a normalizer, or with Metaspace and a scheme."""
    reference = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    special = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    reference.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    reference.train_from_iterator(PROSE, trainers.BpeTrainer(vocab_size=500, special_tokens=special))
    reference.pre_tokenizer = None
    escape = normalizers.Replace(" ", "\u2581")
    if kind == "prepend":
        reference.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), escape])
    elif kind == "replace":
        reference.normalizer = escape
    else:
        reference.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    document: dict[str, Any] = json.loads(reference.to_str())
    document["added_tokens"] = document["added_tokens"][:2]
    return document


def byte_level(kind: str) -> dict[str, Any]:
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "bytes, spaced")
    reference.decoder = decoders.ByteLevel()
    if kind == "bytes, NFC":
        reference.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    reference.train_from_iterator(PROSE, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    document: dict[str, Any] = json.loads(reference.to_str())
    return document


BASES = {kind: character_level(kind) for kind in ("prepend", "replace", "first", "always", "never")}
BASES |= {kind: byte_level(kind) for kind in ("bytes", "bytes, spaced", "bytes, NFC")}

# Special ones are nothing that text merges to: a control token that its flags hide is spelled here, found there.
NAMES = [
    "<|im_start|>",
    "<|im_end|>",
    "<|a|>",
    "<|a|>b",
    "|>b",
    "\u2581<PRE>",
    "[INST]",
    "\uff5cUser\uff5c",
    "a\u00a0b",
]
WORDS = ["e\u0301", "user", "Hello", " word", "tag", "  ", "\n", "\n\n"]
BETWEEN = [
    " ",
    "  ",
    "\n",
    "\t",
    "\u00a0",
    "\u3000",
    "\u2581",
    "\u200b",
    "e\u0301",
    "\u00e9",
    "\u0338",
    "x",
    "_",
    "7",
    "\u00bd",
    ".",
    "Hello",
    " world",
]


def with_tokens(base: dict[str, Any], source: random.Random) -> tuple[dict[str, Any], list[str]]:
    """A tokenizer with some added tokens, and their texts."""
    document = json.loads(json.dumps(base))
    contents = source.sample(NAMES, source.randrange(1, 5)) + source.sample(WORDS, source.randrange(3))
    size = max(document["model"]["vocab"].values()) + 1
    for content in contents:
        known = document["model"]["vocab"].get(content)
        flags = {flag: source.random() < 0.3 for flag in ("single_word", "lstrip", "rstrip", "normalized")}
        special = content in NAMES and source.random() < 0.6
        entry = {"id": size if known is None else known, "content": content, "special": special, **flags}
        document["added_tokens"].append(entry)
        size += known is None
    return document, contents


def differences(path: Path, document: dict[str, Any], names: list[str], source: random.Random, count: int) -> list[str]:
    path.write_text(json.dumps(document), encoding="utf-8")
    reference = Tokenizer.from_file(str(path))
    wrong = []
    with NativeTokenizer(write_blob(read_tokenizer_json(path))) as native:
        for _ in range(count):
            text = "".join(source.choice(names * 3 + BETWEEN) for _ in range(source.randrange(1, 7)))
            try:
                expected = reference.encode(text, add_special_tokens=False).ids
            except BaseException as error:  # a panic: one token strips white space that another strips to its left
                assert "bad split" in str(error)
                continue
            marked = b"".join(b"\xff" + character.encode() for character in text)
            for found in (native.encode(text, parse_special=True), native.encode(marked, marked=True)):
                if found != expected:
                    wrong.append(f"{text!a}: expected {expected}, found {found}, added {document['added_tokens'][-6:]}")
    return wrong


@pytest.mark.parametrize("kind", list(BASES))
def test_random_tokens(tmp_path: Path, kind: str) -> None:
    source = random.Random(list(BASES).index(kind))
    for _ in range(20):
        document, names = with_tokens(BASES[kind], source)
        assert not differences(tmp_path / "tokenizer.json", document, names, source, 50)


def test_every_character_beside_a_single_word(tmp_path: Path) -> None:
    """Which characters make a word, before and behind a token."""
    document = json.loads(json.dumps(BASES["bytes"]))
    size = len(document["model"]["vocab"])
    flags = {"special": False, "single_word": True, "lstrip": False, "rstrip": False, "normalized": False}
    document["added_tokens"] = [{"id": size, "content": "<|w|>", **flags}]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    reference = Tokenizer.from_file(str(path))
    # Letters of few scripts are enough; of the rest all.
    codes = [code for code in range(0x20000) if not 0x3400 <= code < 0xF900] + list(range(0xE0000, 0xE0200))
    with NativeTokenizer(write_blob(read_tokenizer_json(path))) as native:
        for start in range(0, len(codes), 256):
            part = [chr(code) for code in codes[start : start + 256]]
            text = "".join(f"{character}<|w|> <|w|>{character} " for character in part)
            assert native.encode(text) == reference.encode(text, add_special_tokens=False).ids, hex(codes[start])


PLAIN = {"special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


@pytest.mark.parametrize("kind", list(BASES))
def test_ordinary_tokens_need_nothing_new(tmp_path: Path, kind: str) -> None:
    """Files with such tokens stay readable to older builds."""
    document = json.loads(json.dumps(BASES[kind]))
    size = max(document["model"]["vocab"].values()) + 1
    document["added_tokens"] += [
        {"id": size, "content": "<|im_start|>", **PLAIN},
        {"id": size + 1, "content": "<tool_call>", **PLAIN, "special": False},
        {"id": size + 2, "content": "<|end|>", **PLAIN, "rstrip": True},
    ]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    tokenizer = read_tokenizer_json(path)
    assert tokenizer.searched is None
    document["added_tokens"][-2]["single_word"] = True
    path.write_text(json.dumps(document), encoding="utf-8")
    searched = read_tokenizer_json(path).searched
    assert searched is not None and searched.single_word == {size + 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [("<|a|>", "<|a|>b"), ("<|a|>", "|>b"), ("x<|a|>", "<|a|"), ("<|abc|>", "b")],
)
def test_overlapping_tokens_are_found_in_one_pass(tmp_path: Path, first: str, second: str) -> None:
    document = json.loads(json.dumps(BASES["bytes"]))
    size = len(document["model"]["vocab"])
    document["added_tokens"] = [
        {"id": size, "content": first, **PLAIN},
        {"id": size + 1, "content": second, **PLAIN, "special": False},
    ]
    assert not differences(tmp_path / "t.json", document, [first, second], random.Random(3), 100)


def test_what_has_no_token(tmp_path: Path) -> None:
    """A byte without a token becomes the unknown token or nothing; never one that ends a text."""
    document = json.loads(json.dumps(BASES["bytes"]))
    vocabulary = document["model"]["vocab"]
    size = len(vocabulary)
    document["model"]["vocab"] = {("<gone>" if text == "q" else text): index for text, index in vocabulary.items()}
    document["added_tokens"] = [{"id": size, "content": "<|endoftext|>", **PLAIN}]
    path = tmp_path / "tokenizer.json"
    for unknown, expected in (("<|endoftext|>", []), (None, []), ("<gone>", [vocabulary["q"]])):
        document["model"]["unk_token"] = unknown
        document["model"]["vocab"]["<|endoftext|>"] = size
        path.write_text(json.dumps(document), encoding="utf-8")
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}), encoding="utf-8")

        with NativeTokenizer(write_blob(read_tokenizer(tmp_path))) as native:
            assert native.encode("q") == expected
            assert native.encode("x<|endoftext|>", parse_special=True)[-1] == size
