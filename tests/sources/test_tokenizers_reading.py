"""What is read from tokenizer files and the configuration beside them, and what is refused."""

from __future__ import annotations

import base64
import copy
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers import (
    Algorithm,
    PreTokenizer,
    SpacePrefix,
    Tokenizer,
    TokenType,
    from_ranks,
    read_gguf,
    read_llama2c,
    read_rank_file,
    read_sentencepiece,
    read_tokenizer,
    read_tokenizer_json,
)
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.byte_level import byte_of_character
from rbe_edge.sources.tokenizers.pre_tokenizers import GPT2, LLAMA3, O200K, QWEN2, TEKKEN
from rbe_edge.sources.tokenizers.tokenizer import SearchedTokens

CHARACTER = {byte: character for character, byte in byte_of_character().items()}
VOCABULARY = {CHARACTER[byte]: byte for byte in range(256)} | {"ab": 256, "\u0120a": 257}


def document(**changes: Any) -> dict[str, Any]:
    """A small byte-level tokenizer.json."""
    added = [("<|im_start|>", 258, True), ("<|im_end|>", 259, True), ("<tool>", 260, False)]
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "post_processor": None,
        "added_tokens": [
            {"id": index, "content": text, "special": special, "lstrip": False, "rstrip": index == 260}
            for text, index, special in added
        ],
        "model": {"type": "BPE", "vocab": VOCABULARY, "merges": ["a b", ["\u0120", "a"]]},
        **changes,
    }


def write(directory: Path, **files: Any) -> Path:
    """Writes JSON files by their names without the suffix."""
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return directory


def read(directory: Path, **files: Any) -> Tokenizer:
    return read_tokenizer(write(directory, **{"tokenizer": document(), **files}))


def test_byte_level(tmp_path: Path) -> None:
    tokenizer = read(tmp_path)
    assert tokenizer.algorithm is Algorithm.BYTE_PAIRS and tokenizer.pre_tokenizer is PreTokenizer.GPT2
    assert tokenizer.size == 261
    assert tokenizer.tokens[256:259] == (b"ab", b" a", b"<|im_start|>")
    assert [kind.name for kind in tokenizer.types[257:]] == ["NORMAL", "CONTROL", "CONTROL", "USER_DEFINED"]
    assert [tuple(merge) for merge in tokenizer.merges] == [(97, 98, 0, 256), (32, 97, 1, 257)]
    assert tokenizer.strip_right == {260}
    assert tokenizer.ends_text == {259}, "by its name"
    assert tokenizer.bos is None and tokenizer.before == ()


def split_at(pattern: str, **options: Any) -> dict[str, Any]:
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False, **options}
    return {"type": "Sequence", "pretokenizers": [step, {"type": "ByteLevel", "use_regex": False}]}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"type": "ByteLevel"}, PreTokenizer.GPT2),
        ({"type": "ByteLevel", "use_regex": False}, PreTokenizer.NONE),
        (split_at(GPT2), PreTokenizer.GPT2),
        (split_at(LLAMA3), PreTokenizer.LLAMA3),
        (split_at(QWEN2), PreTokenizer.QWEN2),
        (split_at(QWEN2, behavior="Removed", invert=True), PreTokenizer.QWEN2),
        (split_at(O200K, behavior="Removed", invert=True), PreTokenizer.O200K),
        (split_at(TEKKEN), PreTokenizer.TEKKEN),
        (
            {
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}],
            },
            PreTokenizer.STARCODER,
        ),
    ],
)
def test_pre_tokenizers(tmp_path: Path, entry: dict[str, Any], expected: PreTokenizer) -> None:
    assert read(tmp_path, tokenizer=document(pre_tokenizer=entry)).pre_tokenizer is expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre_tokenizer": split_at(r"\w+")}, r"pre-tokenizer .*\\w.* not supported; supported are byte-level BPE"),
        ({"pre_tokenizer": split_at(LLAMA3, behavior="MergedWithNext")}, "pre-tokenizer .*MergedWithNext"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre-tokenizer .*Whitespace"),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581"}}, "pre-tokenizer .*Metaspace"),
        ({"normalizer": {"type": "Lowercase"}}, "normalizer .*Lowercase"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "A" * 9999}}, "normalizer .*Precompiled"),
        ({"post_processor": {"type": "BertProcessing"}}, "not built as a tokenizer.json"),
        ({"post_processor": {"type": "ByteProcessing"}}, "post-processor ByteProcessing"),
        ({"model": {"type": "WordLevel", "vocab": {"a": 0}}}, "type WordLevel is not supported"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}, "merge 0 needs the token 'b'"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c"]}}, "merge 0 is 'a b c'"),
        ({"model": {"type": "BPE", "vocab": {"a": 10**9}, "merges": []}}, "ids do not number"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.1}}, "dropout"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [], "end_of_word_suffix": "</w>"}}, "end_of_word"),
        ({"model": {"type": "BPE"}}, "`vocab`"),
        ({"model": None}, "no `model`"),
        ({"added_tokens": [{"content": "<x>"}]}, "not built as such"),
        ({"added_tokens": [{"id": 258, "content": 7}]}, "not built as such"),
        ({"added_tokens": [{"id": 10**9, "content": "<x>"}]}, "ids do not number"),
        ({"pre_tokenizer": [1]}, "not built as a tokenizer.json"),
    ],
)
def test_refused_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message) as caught:
        read(tmp_path, tokenizer=document(**changes))
    assert "tokenizer.json" in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800


def test_template_and_options(tmp_path: Path) -> None:
    template = {
        "type": "Sequence",
        "processors": [
            {"type": "ByteLevel"},
            {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "S"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "E"}}],
                "special_tokens": {"S": {"ids": [258]}, "E": {"ids": [259]}},
            },
        ],
    }
    files: dict[str, Any] = {"tokenizer": document(post_processor=template)}
    tokenizer = read(tmp_path, **files)
    assert (tokenizer.before, tokenizer.after) == ((258,), (259,))
    tokenizer = read(tmp_path, **files, tokenizer_config={"add_bos_token": False, "add_eos_token": True})
    assert (tokenizer.before, tokenizer.after) == ((), ()), "there is no EOS to add"
    names = {"bos_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>", "add_bos_token": True}
    tokenizer = read(tmp_path, tokenizer_config=names)
    assert (tokenizer.before, tokenizer.after) == ((258,), ())
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")


def test_special_ids_and_their_precedence(tmp_path: Path) -> None:
    config = {"bos_token_id": 258, "eos_token_id": [256, 999]}
    tokenizer = read(tmp_path, config=config)
    assert (tokenizer.bos, tokenizer.eos) == (258, 256)
    assert tokenizer.ends_text == {256}
    assert tokenizer.notes == ("eos_token_id is 999, but there are 261 tokens; left out",)
    tokenizer = read(tmp_path, config=config, generation_config={"eos_token_id": 257, "bos_token_id": None})
    assert tokenizer.ends_text == {256, 257}
    assert (tokenizer.bos, tokenizer.eos) == (258, 257)
    tokenizer = read(tmp_path, config=config, tokenizer_config={"bos_token": None, "eos_token": "<|im_end|>"})
    assert (tokenizer.bos, tokenizer.eos) == (None, 259)
    assert tokenizer.metadata() == {"eos_token": "<|im_end|>"}
    assert read(tmp_path, config={"pad_token_id": -1}, generation_config={"pad_token_id": 999}).pad is None
    assert read(tmp_path, config={"bos_token_id": 999}, tokenizer_config={}).bos is None


def test_chat_template(tmp_path: Path) -> None:
    assert read(tmp_path).chat_template is None
    assert read(tmp_path, tokenizer_config={"chat_template": "one"}).chat_template == "one"
    assert read(tmp_path, chat_template={"chat_template": "zero"}).chat_template == "one"
    assert read(tmp_path, tokenizer_config={}).chat_template == "zero"
    named = [{"name": "tool_use", "template": "two"}, {"name": "default", "template": "three"}]
    assert read(tmp_path, tokenizer_config={"chat_template": named}).chat_template == "three"
    (tmp_path / "chat_template.jinja").write_text("four", encoding="utf-8")
    assert read(tmp_path, tokenizer_config={"chat_template": "one"}).metadata() == {"chat_template": "four"}


def test_vocabulary_and_merges(tmp_path: Path) -> None:
    write(tmp_path, vocab=VOCABULARY)
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n\u0120 a\n", encoding="utf-8")
    with pytest.raises(TokenizerError, match="does not say how text is cut"):
        read_tokenizer(tmp_path)
    write(tmp_path, config={"model_type": "qwen2"})
    tokenizer = read_tokenizer(tmp_path)
    assert (tokenizer.pre_tokenizer, tokenizer.nfc) == (PreTokenizer.QWEN2, True)
    added = {"258": {"content": "<|end|>", "special": True, "lstrip": True}, "259": {"content": "<tool>"}}
    write(tmp_path, tokenizer_config={"tokenizer_class": "GPT2TokenizerFast", "added_tokens_decoder": added})
    tokenizer = read_tokenizer(tmp_path)
    assert (tokenizer.pre_tokenizer, tokenizer.nfc) == (PreTokenizer.GPT2, False)
    assert tokenizer.types[258:] == (TokenType.CONTROL, TokenType.USER_DEFINED)
    assert tokenizer.strip_left == tokenizer.ends_text == {258}
    for damaged in ([], {**VOCABULARY, "x": "7"}):
        write(tmp_path, vocab=damaged)
        with pytest.raises(TokenizerError, match="not a vocabulary"):
            read_tokenizer(tmp_path)
    write(tmp_path, vocab=VOCABULARY)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(TokenizerError, match=r"merges\.txt: No such file"):
        read_tokenizer(tmp_path)


def test_character_level(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, "<s>": 1, "<0x41>": 2, "\u2581": 3, "a": 4, "\u2581a": 5, "a\u2581": 6}
    model = {
        "vocab": vocabulary,
        "merges": [["\u2581", "a"]],
        "byte_fallback": True,
        "fuse_unk": True,
        "unk_token": "<unk>",
    }
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, replace]}
    added = [{"id": 1, "content": "<s>", "special": True}]
    files = document(model=model, normalizer=normalizer, pre_tokenizer=None, added_tokens=added)
    tokenizer = read(tmp_path, tokenizer=files)
    assert tokenizer.algorithm is Algorithm.CHARACTER_PAIRS
    assert tokenizer.tokens == (b"<unk>", b"<s>", b"A", b" ", b"a", b" a", b"a ")
    assert tokenizer.types[:3] == (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE)
    assert tokenizer.space_prefix is SpacePrefix.FRAGMENT and tokenizer.escaped_spaces and tokenizer.fuse_unknown
    assert tokenizer.pre_tokenizer is PreTokenizer.SPACES
    crossing = copy.deepcopy(files)
    crossing["model"]["vocab"]["a\u2581a"] = 7
    crossing["model"]["merges"].append(["a", "\u2581a"])
    assert read(tmp_path, tokenizer=crossing).pre_tokenizer is PreTokenizer.NONE, "a merge crosses words"


def test_padding_to_the_model(tmp_path: Path) -> None:
    tokenizer = read(tmp_path)
    padded = tokenizer.fitted_to(300)
    assert padded.size == 300 and padded.tokens[:261] == tokenizer.tokens
    assert set(padded.types[261:]) == {TokenType.UNUSED} and not padded.notes
    with pytest.raises(TokenizerError, match="261 tokens, the model only 260"):
        tokenizer.padded_to(260)


def test_searched_tokens_of_fewer_ids() -> None:
    given = ((b"<a>", 3), (b"<b>", 9))
    searched = SearchedTokens(given, ((b" <c>", 8),), frozenset({3, 8}), frozenset({9}), True)
    assert searched.ids() == {3, 8, 9}
    assert searched.below(9) == SearchedTokens(given[:1], ((b" <c>", 8),), frozenset({3, 8}), frozenset(), True)


def test_many_added_tokens_with_one_id(tmp_path: Path) -> None:
    """Each but the first gets an id of its own, in no more time than others take."""
    tokens = [{"id": 258, "content": f"<{number}>", "special": True} for number in range(20_000)]
    tokenizer = read(tmp_path, tokenizer=document(added_tokens=tokens))
    assert tokenizer.size == 258 + 20_000 and tokenizer.tokens[-1] == b"<19999>"


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="is not a directory"):
        read_tokenizer(tmp_path / "nowhere")
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(TokenizerError, match="not valid JSON"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b'"\xff"')
    with pytest.raises(TokenizerError, match="not valid JSON"):
        read_tokenizer(tmp_path)
    for reader in (read_tokenizer_json, read_sentencepiece, read_llama2c, read_gguf, read_rank_file):
        with pytest.raises(TokenizerError, match="No such file"):
            reader(tmp_path / "missing")


def sentencepiece_model(trainer: bytes = b"\x18\x02", normalizer: bytes = b"", pieces: int = 3) -> bytes:
    """A SentencePiece model of a few pieces, written field by field."""
    result = b""
    for index in range(pieces):
        piece = b"\x0a\x03" + [b"<u>", b"<s>", b"</s"][index] + b"\x15" + struct.pack("<f", -index)
        result += b"\x0a" + bytes([len(piece)]) + piece
    return result + b"\x12" + bytes([len(trainer)]) + trainer + b"\x1a" + bytes([len(normalizer)]) + normalizer


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (sentencepiece_model(trainer=b"\x18\x03"), "type Word is not supported"),
        (sentencepiece_model(trainer=b"\x18\x02\xc0\x01\x01"), "treat_whitespace_as_suffix"),
        (sentencepiece_model(normalizer=b"\x0a\x04nmt_\x12\x01x"), "normalizer 'nmt_' is not supported"),
        (sentencepiece_model(pieces=0), "no pieces"),
        (sentencepiece_model()[:-5], "not a SentencePiece model"),
        (b"\xff" * 40, "not a SentencePiece model"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not a SentencePiece model"),
    ],
)
def test_refused_sentencepiece_models(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(TokenizerError, match=message):
        read_tokenizer(tmp_path)


def test_sentencepiece_with_added_tokens(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model())
    write(tmp_path, added_tokens={"<|end|>": 3, "<tool>": 5}, special_tokens_map={"eos_token": "<|end|>"})
    tokenizer = read_tokenizer(tmp_path)
    assert tokenizer.size == 6 and tokenizer.before == (1,)
    assert tokenizer.types[3:] == (TokenType.CONTROL, TokenType.UNUSED, TokenType.USER_DEFINED)
    assert (tokenizer.eos, tokenizer.ends_text) == (3, {3})


def test_damaged_llama2c(tmp_path: Path) -> None:
    path = tmp_path / "tok.bin"
    for data in (b"", struct.pack("<ifi", 7, 0.0, -1), struct.pack("<ifi", 7, 0.0, 99) + b"abc"):
        path.write_bytes(data)
        with pytest.raises(TokenizerError, match=r"not a llama2\.c tokenizer"):
            read_llama2c(path)


@pytest.mark.parametrize("keep", [0, 3, 4, 12, 24, 40, 100_000])
def test_truncated_gguf(data_dir: Path, tmp_path: Path, keep: int) -> None:
    data = (data_dir / "tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(data[:keep])
    with pytest.raises(TokenizerError, match=r"cut\.gguf: cannot be read as GGUF"):
        read_gguf(tmp_path / "cut.gguf")


def test_rank_files(tmp_path: Path) -> None:
    path = tmp_path / "x.tiktoken"
    tokens = [*(bytes([byte]) for byte in range(256)), b"ab", b"abc"]
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))
    ranks = read_rank_file(path)
    assert ranks == {token: rank for rank, token in enumerate(tokens)}
    tokenizer = from_ranks(ranks, PreTokenizer.GPT2, {"<|end|>": 258}, end_of_text="<|end|>")
    assert [tuple(merge) for merge in tokenizer.merges] == [(97, 98, 256, 256), (256, 99, 257, 257)]
    assert tokenizer.ends_text == {258} and tokenizer.whole_pieces
    with pytest.raises(TokenizerError, match="'<eos>' is not among"):
        from_ranks(ranks, PreTokenizer.GPT2, {}, end_of_text="<eos>")
    path.write_bytes(b"YWI= 1 2\n")
    with pytest.raises(TokenizerError, match="line 1"):
        read_rank_file(path)


def test_a_merge_never_makes_a_control_token(tmp_path: Path) -> None:
    """Conversions of SentencePiece models list merges to </s>; plain text must not become the end of a text."""
    changed = document()
    changed["model"] = {**changed["model"], "merges": ["a b", "< s", "<s >"]}
    changed["model"]["vocab"] = {**VOCABULARY, "<s": 261, "<s>": 262}
    changed["added_tokens"].append({"id": 262, "content": "<s>", "special": True})
    tokenizer = read(tmp_path, tokenizer=changed)
    assert len(tokenizer.merges) == 3
    blob = write_blob(tokenizer)
    assert struct.unpack_from("<I", blob, 100) == (2,)
