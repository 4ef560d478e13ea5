"""Reads the vocabulary of a GGUF file, with llama.cpp's meaning of its keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.packing.tokenizers.byte_level import merges_from_pairs, to_bytes
from rbe_edge.packing.tokenizers.endings import known_endings
from rbe_edge.packing.tokenizers.gguf_metadata import read_gguf_metadata
from rbe_edge.packing.tokenizers.hugging_face import with_unknown
from rbe_edge.packing.tokenizers.pre_tokenizers import SUPPORTED
from rbe_edge.packing.tokenizers.sentencepiece_model import piece_tokens
from rbe_edge.packing.tokenizers.tokenizer import (
    Algorithm,
    PreTokenizer,
    SpacePrefix,
    Tokenizer,
    TokenType,
    split_for,
)

PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer.GPT2,
    "llama-bpe": PreTokenizer.LLAMA3,
    "llama3": PreTokenizer.LLAMA3,
    "llama-v3": PreTokenizer.LLAMA3,
    "qwen2": PreTokenizer.QWEN2,
    "starcoder": PreTokenizer.STARCODER,
    "smollm": PreTokenizer.STARCODER,
    "falcon": PreTokenizer.FALCON,
}


def read_gguf(path: Path) -> Tokenizer:
    """The tokenizer inside a GGUF file: models "llama" (SentencePiece BPE) and "gpt2" (byte-level BPE)."""
    fields = read_gguf_metadata(path)

    def get(key: str, default: Any = None) -> Any:
        return fields.get(f"tokenizer.{key}", default)

    kind = get("ggml.model")
    if kind == "llama":
        return _sentencepiece(get, str(path))
    if kind == "gpt2":
        return _byte_level(get, str(path))
    raise TokenizerError(f"{path}: a tokenizer of type {kind} is not supported; supported are {SUPPORTED}")


def _common(get: Callable[..., Any], tokens: list[str], types: tuple[TokenType, ...], add_bos: bool) -> dict[str, Any]:
    """What both kinds share."""
    bos, eos = get("ggml.bos_token_id"), get("ggml.eos_token_id")
    ends = {get(f"ggml.{name}_token_id") for name in ("eos", "eot", "eom")} - {None}
    special = {text: i for i, text in enumerate(tokens) if types[i] in (TokenType.CONTROL, TokenType.USER_DEFINED)}
    return {
        "bos": bos,
        "eos": eos,
        "unknown": get("ggml.unknown_token_id"),
        "pad": get("ggml.padding_token_id"),
        "before": (bos,) if get("ggml.add_bos_token", add_bos) and bos is not None else (),
        "after": (eos,) if get("ggml.add_eos_token", False) and eos is not None else (),
        "ends_text": frozenset(ends | known_endings(special)),
        "chat_template": get("chat_template"),
    }


def _types(get: Callable[..., Any], tokens: list[str]) -> tuple[TokenType, ...]:
    return tuple(TokenType(value) for value in get("ggml.token_type", [TokenType.NORMAL] * len(tokens)))


def _sentencepiece(get: Callable[..., Any], where: str) -> Tokenizer:
    texts: list[str] = get("ggml.tokens")
    types = _types(get, texts)
    tokens, types = piece_tokens(list(zip(texts, types, strict=True)), escaped_spaces=True, where=where)
    mergeable = [i for i, type_ in enumerate(types) if type_ in (TokenType.NORMAL, TokenType.UNUSED)]
    return Tokenizer(
        algorithm=Algorithm.PRIORITIES,
        tokens=tokens,
        types=types,
        pre_tokenizer=split_for(tokens, mergeable),
        scores=tuple(get("ggml.scores")),
        space_prefix=SpacePrefix.FRAGMENT if get("ggml.add_space_prefix", True) else SpacePrefix.NONE,
        escaped_spaces=True,
        **_common(get, texts, types, add_bos=True),
    )


def _byte_level(get: Callable[..., Any], where: str) -> Tokenizer:
    name = get("ggml.pre")
    if name not in PRE_TOKENIZERS:
        raise TokenizerError(f"{where}: the pre-tokenizer {name} is not supported; supported are {SUPPORTED}")
    pre_tokenizer = PRE_TOKENIZERS[name]
    texts: list[str] = get("ggml.tokens")
    types = _types(get, texts)
    plain = (TokenType.NORMAL, TokenType.UNUSED)
    tokens = tuple(
        to_bytes(text) if kind in plain else text.encode("utf-8") for text, kind in zip(texts, types, strict=True)
    )
    ids = {text: index for index, text in enumerate(texts)}
    common = _common(get, texts, types, add_bos=pre_tokenizer is PreTokenizer.LLAMA3)
    # Llama 3 looks whole pieces up first and Qwen2 normalizes; GGUF implies both by the name of the pre-tokenizer.
    return Tokenizer(
        algorithm=Algorithm.BYTE_PAIRS,
        tokens=tokens,
        types=with_unknown(types, common["unknown"]),
        pre_tokenizer=pre_tokenizer,
        merges=merges_from_pairs(get("ggml.merges"), ids, where),
        whole_pieces=pre_tokenizer is PreTokenizer.LLAMA3,
        nfc=pre_tokenizer is PreTokenizer.QWEN2,
        **common,
    )
