"""What tokenizer_config.json and its kind change in a tokenizer, beside transformers 5 where it is installed."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from native_tokenizer import NativeTokenizer

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers import SpacePrefix, Tokenizer, TokenType, read_tokenizer, write_blob
from rbe_edge.sources.tokenizers.byte_level import byte_of_character

SPACE = "\u2581"
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def llama_like() -> dict[str, Any]:
    """Characters, a few merges and byte fallback, with the normalizer of older conversions."""
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), SPACE, *"Heloworldxyzusr<>|"]
    names = list(dict.fromkeys(names))
    merges = [f"{SPACE} H", "l o", "e r", f"{SPACE} w", "u s", "us er", f"{SPACE} x"]
    names += [merge.replace(" ", "") for merge in merges]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    vocabulary = {name: index for index, name in enumerate(names)}
    return {
        "version": "1.0",
        "added_tokens": [{"id": vocabulary[name], "content": name, **FLAGS} for name in ("<unk>", "<s>", "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, replace]},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocabulary,
            "merges": merges,
        },
    }  # fmt: skip


def gpt2_like() -> dict[str, Any]:
    spelled = {byte: character for character, byte in byte_of_character().items()}
    vocabulary = {spelled[byte]: byte for byte in range(256)} | {"\u0120x": 256, "us": 257, "er": 258, "user": 259}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    vocabulary["<|endoftext|>"] = 260
    return {
        "version": "1.0", "added_tokens": [{"id": 260, "content": "<|endoftext|>", **FLAGS}], "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": ["\u0120 x", "u s", "e r", "us er"]},
    }  # fmt: skip


def write(directory: Path, document: dict[str, Any], **files: Any) -> Path:
    for name, content in {"tokenizer": document, **files}.items():
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return directory


def read(directory: Path, document: dict[str, Any], **files: Any) -> Tokenizer:
    return read_tokenizer(write(directory, document, **files))


def encode(tokenizer: Tokenizer, text: str) -> list[bytes]:
    with NativeTokenizer(write_blob(tokenizer)) as native:
        return [native.token_bytes(token, special=True) for token in native.encode(text, parse_special=True)]


@pytest.mark.parametrize(
    ("config", "prefix"),
    [
        ({}, SpacePrefix.FRAGMENT),
        ({"tokenizer_class": "LlamaTokenizer", "legacy": True}, SpacePrefix.FRAGMENT),
        ({"tokenizer_class": "LlamaTokenizerFast"}, SpacePrefix.FIRST),
        ({"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_prefix_space": None}, SpacePrefix.FIRST),
        ({"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}, SpacePrefix.NONE),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": False}, SpacePrefix.FRAGMENT),
    ],
)
def test_spaces_in_front(tmp_path: Path, config: dict[str, Any], prefix: SpacePrefix) -> None:
    """Of Llama's class; others leave them to tokenizer.json."""
    tokenizer = read(tmp_path, llama_like(), tokenizer_config=config, config={"model_type": "llama"})
    assert tokenizer.space_prefix is prefix
    phi3 = read(tmp_path, llama_like(), tokenizer_config=config, config={"model_type": "phi3"})
    assert phi3.space_prefix is SpacePrefix.FRAGMENT, "transformers takes such files as they stand"


def test_flags_of_the_configuration_count(tmp_path: Path) -> None:
    document = gpt2_like()
    document["added_tokens"].append({"id": 261, "content": "<a>", **FLAGS})
    changed = {"261": {"content": "<a>", **FLAGS, "rstrip": True, "special": False}}
    tokenizer = read(tmp_path, document, tokenizer_config={"added_tokens_decoder": changed})
    assert tokenizer.strip_right == {261} and tokenizer.types[261] is TokenType.CONTROL, "what was special stays so"
    assert encode(tokenizer, "<a> x") == [b"<a>", b"x"]
    more = {"262": {"content": "<b>", **FLAGS, "single_word": True}}
    config = {"added_tokens_decoder": more, "additional_special_tokens": ["<c>"], "pad_token": "<d>"}
    tokenizer = read(tmp_path, document, tokenizer_config=config)
    assert tokenizer.tokens[262:] == (b"<b>", b"<d>", b"<c>")
    assert encode(tokenizer, "<b><c>x<b>") == [b"<b>", b"<c>", b"x", b"<", b"b", b">"]


def test_older_files_count_without_a_decoder(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "special_tokens_map": {"eos_token": {"content": "<e>", "lstrip": True, "special": True}},
        "added_tokens": {"<e>": 261, "<t>": 262},
    }
    tokenizer = read(tmp_path, gpt2_like(), **files)
    assert tokenizer.types[261:] == (TokenType.CONTROL, TokenType.USER_DEFINED) and tokenizer.eos == 261
    ignored = read(tmp_path, gpt2_like(), **files, tokenizer_config={"added_tokens_decoder": {}})
    assert ignored.size == 261


def test_names_with_the_sign_of_spaces(tmp_path: Path) -> None:
    """U+2581 in a name stands for itself in text, and for a space in what is written."""
    document = llama_like()
    size = len(document["model"]["vocab"])
    document["added_tokens"].append({"id": size, "content": f"{SPACE}<P>", **FLAGS})
    tokenizer = read(tmp_path, document)
    assert encode(tokenizer, f"x{SPACE}<P>")[-1] == b" <P>"
    assert encode(tokenizer, "x <P>")[-1] != b" <P>"


@pytest.mark.parametrize(
    "config",
    [
        {"added_tokens_decoder": {"x": {"content": "<a>"}}},
        {"added_tokens_decoder": {"261": {"lstrip": True}}},
        {"added_tokens_decoder": {"261": 7}},
        {"added_tokens_decoder": 7},
        {"additional_special_tokens": [7]},
        {"eos_token": {"content": 7}},
    ],
)
def test_damaged_configurations(tmp_path: Path, config: dict[str, Any]) -> None:
    with pytest.raises(TokenizerError, match="not built as such") as caught:
        read(tmp_path, gpt2_like(), tokenizer_config=config)
    assert "\n" not in str(caught.value)


# ---- beside transformers -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def auto() -> Callable[[Path], Any]:
    """AutoTokenizer.from_pretrained, quiet."""
    transformers = pytest.importorskip("transformers", minversion="5")
    transformers.utils.logging.set_verbosity_error()

    def load(directory: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return transformers.AutoTokenizer.from_pretrained(str(directory))

    return load


CONTENTS = [
    "<|im_start|>",
    "<|im_end|>",
    "[PAD]",
    "<mask>",
    "<|a|>",
    "<|a|>b",
    f"{SPACE}<PRE>",
    "[INST]",
    "<s>",
    "</s>",
]
WORDS = ["user", "Hello", "  ", "\n"]
BETWEEN = ["Hello", " world", " x", "user", " ", "  ", "\n", SPACE, "\u00a0", "x", ".", "12"]


def flags(source: random.Random) -> dict[str, bool]:
    return {flag: source.random() < 0.3 for flag in FLAGS}


def random_directory(directory: Path, source: random.Random) -> list[str]:
    """Writes a tokenizer with configuration files of all kinds; the texts of its added tokens."""
    llama = source.random() < 0.6
    document = llama_like() if llama else gpt2_like()
    vocabulary = document["model"]["vocab"]
    for content in source.sample(CONTENTS, source.randrange(5)) + source.sample(WORDS, source.randrange(2)):
        if content not in [entry["content"] for entry in document["added_tokens"]]:
            index = vocabulary.get(content, len(vocabulary) + len(document["added_tokens"]) - (3 if llama else 1))
            special = content in CONTENTS and source.random() < 0.6
            document["added_tokens"].append({"id": index, "content": content, **flags(source), "special": special})
    known = {entry["id"]: entry for entry in document["added_tokens"]}
    new = sorted(index for index in known if index >= len(vocabulary))
    for at, index in enumerate(new):  # without gaps: transformers would give other ids
        known[index]["id"] = len(vocabulary) + at
    config: dict[str, Any] = {}
    if source.random() < 0.5:
        entries = {str(entry["id"]): {**entry} for entry in document["added_tokens"]}
        for entry in entries.values():
            del entry["id"]
            if source.random() < 0.3:
                entry |= {flag: value for flag, value in flags(source).items() if flag != "special"}
        config["added_tokens_decoder"] = entries
    for name in ("bos_token", "eos_token", "pad_token", "image_token"):
        if source.random() < 0.4:
            config[name] = source.choice(CONTENTS)
    if source.random() < 0.3:
        config[source.choice(["additional_special_tokens", "extra_special_tokens"])] = source.sample(CONTENTS, 2)
    if source.random() < 0.6:
        config["tokenizer_class"] = source.choice(
            ["LlamaTokenizer", "LlamaTokenizerFast"] if llama else ["GPT2Tokenizer"]
        )
    for option in ("legacy", "add_prefix_space"):
        if source.random() < 0.4:
            config[option] = source.choice([True, False])
    model_type = source.choice(["llama", "phi3", "mistral"])
    write(directory, document, tokenizer_config=config, config={"model_type": model_type})
    return [entry["content"] for entry in document["added_tokens"]] + ["[PAD]", "<|a|>"]


@pytest.mark.parametrize("seed", range(40))
def test_beside_transformers(tmp_path: Path, auto: Callable[[Path], Any], seed: int) -> None:
    source = random.Random(seed)
    names = random_directory(tmp_path, source)
    reference = auto(tmp_path)
    with NativeTokenizer(write_blob(read_tokenizer(tmp_path))) as native:
        for _ in range(60):
            text = "".join(source.choice(names + BETWEEN * 2) for _ in range(source.randrange(1, 7)))
            try:
                expected = reference(text, add_special_tokens=False).input_ids
            except BaseException as error:  # a panic of package tokenizers
                assert "bad split" in str(error)
                continue
            config = (tmp_path / "tokenizer_config.json").read_text(encoding="utf-8")
            assert native.encode(text, parse_special=True) == list(expected), f"{text!a} {config}"


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("add_prefix_space", [True, False, None])
def test_sentencepiece_of_llamas_class(tmp_path: Path, legacy: bool, add_prefix_space: bool | None) -> None:
    """tokenizer.model alone: the class decides where a space stands in front."""
    sentencepiece = pytest.importorskip("sentencepiece")
    prose = tmp_path / "prose.txt"
    prose.write_text("Hello world, the user says hello.\nThe battery of a small computer.\n" * 50, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(prose), model_prefix=str(tmp_path / "tokenizer"), model_type="bpe", vocab_size=330,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        user_defined_symbols=["<tool>"],
    )  # fmt: skip
    config: dict[str, Any] = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy}
    config["added_tokens_decoder"] = {
        "330": {"content": "<|x|>", **FLAGS},
        "331": {"content": "<y>", **FLAGS, "special": False},
    }
    if add_prefix_space is not None:
        config["add_prefix_space"] = add_prefix_space
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    tokenizer = read_tokenizer(tmp_path)
    first = b" Hello" if add_prefix_space is not False else b"Hello"
    assert b"".join(encode(tokenizer, "Hello")) == first
    behind = b" user" if legacy and add_prefix_space is not False else b"user"
    for name in ("<|x|>", "<y>", "<tool>", "</s>"):
        assert b"".join(encode(tokenizer, f"Hello{name}user")) == first + name.encode() + behind
