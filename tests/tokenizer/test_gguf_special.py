"""Special tokens of GGUF vocabularies, as llama.cpp has them whatever types the file gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest
from native_tokenizer import NativeTokenizer

from rbe_edge.sources.tokenizers import Tokenizer, TokenType, read_gguf, write_blob
from rbe_edge.sources.tokenizers.byte_level import byte_of_character

SPELLED = {byte: character for character, byte in byte_of_character().items()}
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = (int(kind) for kind in TokenType)
FIRST = 258  # after the bytes and two merges


def write(path: Path, names: list[str], types: list[int], **fields: Any) -> Path:
    """A byte-level vocabulary: bytes, "ab", "abc", and names with their types."""
    tokens = [SPELLED[byte] for byte in range(256)] + ["ab", "abc", *names]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "gpt-2")
    writer.add_array("tokenizer.ggml.tokens", fields.pop("tokens", tokens))
    writer.add_array("tokenizer.ggml.token_type", [NORMAL] * FIRST + types)
    writer.add_array("tokenizer.ggml.merges", ["a b", "ab c"])
    if "name" in fields:
        writer.add_string("general.name", fields.pop("name"))
    if "template" in fields:
        writer.add_string("tokenizer.chat_template", fields.pop("template"))
    for key, value in fields.items():
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def write_pieces(path: Path, pieces: list[tuple[str, int]]) -> Path:
    """A SentencePiece vocabulary: <unk>, the bytes, pieces."""
    rows = [("<unk>", UNKNOWN), *((f"<0x{byte:02X}>", BYTE) for byte in range(256)), *pieces]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("tokenizer.ggml.model", "llama")
    writer.add_array("tokenizer.ggml.tokens", [text for text, _ in rows])
    writer.add_array("tokenizer.ggml.token_type", [kind for _, kind in rows])
    writer.add_array("tokenizer.ggml.scores", [-float(index) for index in range(len(rows))])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def encode(tokenizer: Tokenizer, text: str, parse_special: bool = True) -> list[int]:
    with NativeTokenizer(write_blob(tokenizer)) as native:
        return native.encode(text, parse_special=parse_special)


def kinds(path: Path, names: list[str], types: list[int], **fields: Any) -> list[str]:
    return [kind.name for kind in read_gguf(write(path, names, types, **fields)).types[FIRST:]]


@pytest.mark.parametrize("kind", [0, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, 7, 99])
@pytest.mark.parametrize("name", ["<|im_end|>", "<|endoftext|>", "<end_of_turn>", "</s>", "[EOT]", "<eos>"])
def test_ends_are_control_tokens(tmp_path: Path, name: str, kind: int) -> None:
    tokenizer = read_gguf(write(tmp_path / "v.gguf", [name], [kind], template=f"{{{{ m }}}}{name}"))
    assert FIRST in tokenizer.ends_text
    assert tokenizer.types[FIRST] is TokenType.CONTROL
    assert encode(tokenizer, f"a{name}ab") == [97, FIRST, 256]
    assert FIRST not in encode(tokenizer, f"a{name}ab", parse_special=False)


def test_a_tag_of_html_is_no_end(tmp_path: Path) -> None:
    """As in Gemma's vocabulary: shown, found in text, and no end, unless the file names it as one."""
    path = write(tmp_path / "v.gguf", ["</s>", "<end_of_turn>"], [USER_DEFINED, CONTROL])
    tokenizer = read_gguf(path)
    assert tokenizer.types[FIRST] is TokenType.USER_DEFINED and FIRST not in tokenizer.ends_text
    assert FIRST + 1 in tokenizer.ends_text
    assert encode(tokenizer, "a</s>ab", parse_special=False) == [97, FIRST, 256]


def test_ends_where_no_token_is_typed_as_a_control_token(tmp_path: Path) -> None:
    """A mistake of converters: then names are all that there is."""
    path = write(tmp_path / "v.gguf", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"], [NORMAL] * 3, eos=FIRST + 2)
    assert read_gguf(path).ends_text == {FIRST + 1, FIRST + 2}
    path = write(tmp_path / "w.gguf", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"], [CONTROL, NORMAL, CONTROL])
    assert read_gguf(path).ends_text == {FIRST + 2}


def test_other_names_keep_their_types(tmp_path: Path) -> None:
    names = ["<|im_start|>", "<tool>", "<|x|>", "[PAD1]"]
    found = kinds(tmp_path / "v.gguf", names, [NORMAL, USER_DEFINED, CONTROL, UNUSED])
    assert found == ["NORMAL", "USER_DEFINED", "CONTROL", "UNUSED"]
    tokenizer = read_gguf(tmp_path / "v.gguf")
    assert FIRST not in encode(tokenizer, "<|im_start|>"), "llama.cpp spells it too"
    assert encode(tokenizer, "a<tool><|x|>", parse_special=False)[:2] == [97, FIRST + 1]


def test_parts_to_fill_in(tmp_path: Path) -> None:
    """Of each kind the first, unless the file names one."""
    names = ["<|fim_prefix|>", "<PRE>", "<|fim_suffix|>"]
    assert kinds(tmp_path / "v.gguf", names, [NORMAL] * 3) == ["CONTROL", "NORMAL", "CONTROL"]
    assert kinds(tmp_path / "w.gguf", names, [NORMAL] * 3, fim_pre=FIRST + 1) == ["NORMAL", "NORMAL", "CONTROL"]
    assert kinds(tmp_path / "x.gguf", names, [NORMAL] * 3, suffix=FIRST) == ["CONTROL", "NORMAL", "NORMAL"]


def test_what_gpt_oss_and_gemma_4_show(tmp_path: Path) -> None:
    names = ["<|channel|>", "<|end|>", "<|return|>", "<|call|>"]
    assert kinds(tmp_path / "v.gguf", names, [CONTROL] * 4) == ["USER_DEFINED", "USER_DEFINED", "CONTROL", "CONTROL"]
    assert kinds(tmp_path / "w.gguf", names[:2], [CONTROL] * 2) == ["USER_DEFINED", "CONTROL"]
    assert kinds(tmp_path / "x.gguf", ["<|tool_response>", "</s>"], [NORMAL] * 2) == ["CONTROL", "NORMAL"]


@pytest.mark.parametrize("kind", [0, UNUSED, BYTE, 7, 99])
def test_types_that_are_none_leave_text(tmp_path: Path, kind: int) -> None:
    """Tokens that text merges to are text, however the file calls them."""
    path = write(tmp_path / "v.gguf", ["<|im_end|>"], [CONTROL])
    assert encode(read_gguf(path), "abc a") == [257, 32, 97]
    writer_types = [NORMAL] * 97 + [kind] + [NORMAL] * (FIRST - 98)
    changed = write_types(tmp_path / "w.gguf", [*writer_types[:-1], kind, CONTROL])
    assert encode(read_gguf(changed), "abc a") == [257, 32, 97]


def write_types(path: Path, types: list[int]) -> Path:
    tokens = [SPELLED[byte] for byte in range(256)] + ["ab", "abc", "<|im_end|>"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", "gpt-2")
    writer.add_array("tokenizer.ggml.tokens", tokens)
    writer.add_array("tokenizer.ggml.token_type", types)
    writer.add_array("tokenizer.ggml.merges", ["a b", "ab c"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("unknown", [None, FIRST, FIRST + 1, 97])
def test_a_byte_without_a_token_is_left_out(tmp_path: Path, unknown: int | None) -> None:
    tokens = [SPELLED[byte] for byte in range(256)] + ["ab", "abc", "<|endoftext|>", "<unk>"]
    tokens[0x13] = "<gone>"
    fields = {} if unknown is None else {"unknown": unknown}
    names = ["<|endoftext|>", "<unk>"]
    tokenizer = read_gguf(write(tmp_path / "v.gguf", names, [CONTROL, CONTROL], tokens=tokens, **fields))
    assert encode(tokenizer, "a\x13b") == [97, 98], "as in llama.cpp"


def test_white_space_behind_phi_3s_tokens(tmp_path: Path) -> None:
    names = ["<|user|>", "<s>", "<|im_end|>"]
    path = write(tmp_path / "v.gguf", names, [CONTROL] * 3, name="Phi-3-mini")
    tokenizer = read_gguf(path)
    assert tokenizer.strip_right == {FIRST, FIRST + 2}
    assert encode(tokenizer, "<|user|>\n ab<s> ab") == [FIRST, 256, FIRST + 1, 32, 256]
    assert read_gguf(write(tmp_path / "w.gguf", names, [CONTROL] * 3, name="Llama")).strip_right == frozenset()


def test_pieces(tmp_path: Path) -> None:
    """All special tokens are found in the text as it was given; a space stands in front behind each."""
    space, a, tool, end, wide = range(257, 262)
    pieces = [
        ("\u2581", NORMAL),
        ("a", NORMAL),
        ("<t>", USER_DEFINED),
        ("</s>", NORMAL),
        ("\u2581\u2581x", USER_DEFINED),
    ]
    tokenizer = read_gguf(write_pieces(tmp_path / "v.gguf", pieces))
    assert encode(tokenizer, "a<t>a</s>a") == [space, a, tool, space, a, end, space, a]
    assert encode(tokenizer, "<unk>a") == [0, space, a] and 0 not in encode(tokenizer, "<unk>a", parse_special=False)
    assert encode(tokenizer, "\u2581\u2581x") == [wide]
    assert encode(tokenizer, "  x") == [space, space, space, 1 + ord("x")]
