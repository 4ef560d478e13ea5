"""Reads the vocabulary of a GGUF file, with llama.cpp's meaning of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rbe_edge.errors import PackError, TokenizerError
from rbe_edge.sources.gguf.header import read_header
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers.byte_level import merges_from_pairs, to_bytes
from rbe_edge.sources.tokenizers.endings import KNOWN_ENDINGS, known_endings
from rbe_edge.sources.tokenizers.gguf_special import (
    NAMED_KEYS,
    as_text,
    corrected_types,
    made_of_others,
    with_special,
)
from rbe_edge.sources.tokenizers.pre_tokenizers import SUPPORTED
from rbe_edge.sources.tokenizers.sentencepiece_model import piece_tokens
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, PreTokenizer, SpacePrefix, Tokenizer, TokenType, split_for
from rbe_edge.terminal_text import one_line

# llama.cpp's names (llama-vocab.cpp) of how text is cut.
PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer.GPT2,
    "phi-2": PreTokenizer.GPT2,
    "trillion": PreTokenizer.GPT2,
    "llama-bpe": PreTokenizer.LLAMA3,
    "llama3": PreTokenizer.LLAMA3,
    "llama-v3": PreTokenizer.LLAMA3,
    "falcon3": PreTokenizer.LLAMA3,
    "smaug-bpe": PreTokenizer.LLAMA3,
    "dbrx": PreTokenizer.LLAMA3,
    "qwen2": PreTokenizer.QWEN2,
    "deepseek-r1-qwen": PreTokenizer.QWEN2,
    "megrez": PreTokenizer.QWEN2,
    "starcoder": PreTokenizer.STARCODER,
    "smollm": PreTokenizer.STARCODER,
    "refact": PreTokenizer.STARCODER,
    "minerva-7b": PreTokenizer.STARCODER,
    "falcon": PreTokenizer.FALCON,
    "gpt-4o": PreTokenizer.O200K,
    "llama4": PreTokenizer.O200K,
    "kanana2": PreTokenizer.O200K,
    "tekken": PreTokenizer.TEKKEN,
}

# Those with which llama.cpp looks whole pieces up first and puts BOS before a text, and those that go with NFC.
WHOLE_PIECES = {"llama-bpe", "llama3", "llama-v3", "falcon3", "tekken"}
NORMALIZED = {"qwen2"}


class _Fields:
    """The keys under `tokenizer.` with the types that they must have."""

    def __init__(self, metadata: Mapping[str, Any], where: str) -> None:
        self.metadata = metadata
        self.where = where
        self.notes: list[str] = []  # what was left out

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        value = self.metadata.get(f"tokenizer.{key}")
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise self.damaged(key, f"is {shown(value)}")
        return value

    def list(self, key: str, kind: type | tuple[type, ...], size: int | None = None) -> Any:
        """A list, of so many entries."""
        values = self.get(key, list)
        if values is None:
            raise self.damaged(key, "is missing")
        if not all(isinstance(value, kind) for value in values) or size not in (None, len(values)):
            raise self.damaged(key, f"is no list of {size or 'such'} entries")
        return values

    def token(self, name: str, size: int) -> int | None:
        """The id of a token with a name of its own. One that is no id counts as missing, as in llama.cpp; a note says
        so, unless it is the -1 that stands for none."""
        token: int | None = self.get(f"ggml.{name}_token_id", int)
        if token is None or 0 <= token < size:
            return token
        if token not in (-1, 0xFFFFFFFF):
            self.notes.append(f"{name}_token_id is {token}, but there are {size} tokens; left out")
        return None

    def model_name(self) -> str:
        """What the file calls its model, or nothing."""
        name = self.metadata.get("general.name")
        return name if isinstance(name, str) else ""

    def damaged(self, key: str, what: str) -> TokenizerError:
        return TokenizerError(f"{self.where}: tokenizer.{key} {what}; convert the model again")


def read_gguf(path: Path) -> Tokenizer:
    """The tokenizer inside a GGUF file: models "llama" (SentencePiece BPE) and "gpt2" (byte-level BPE)."""
    try:
        fields = _Fields(read_header(path).metadata, str(path))
    except PackError as error:
        raise TokenizerError(str(error)) from None
    kind = fields.get("ggml.model", str)
    if kind == "llama":
        return _sentencepiece(fields)
    if kind == "gpt2":
        return _byte_level(fields)
    if kind is None:
        raise TokenizerError(f"{path}: holds no tokenizer; take a file that llama.cpp can chat with")
    raise TokenizerError(
        f"{path}: a tokenizer of type {one_line(kind, 40)} is not supported; supported are {SUPPORTED}"
    )


class _Tokens(NamedTuple):
    """types: as llama.cpp corrects them. ends: ids that the file names as ends, by keys, by their type and a name that
    ends texts, or by such a name in its chat template; where it names none, or types no token as a control token, those
    with such a name."""

    texts: list[str]
    types: list[TokenType]
    ends: frozenset[int]


def _tokens(fields: _Fields) -> _Tokens:
    texts: list[str] = fields.list("ggml.tokens", str)
    numbers = [int(TokenType.NORMAL)] * len(texts)
    if fields.get("ggml.token_type", list) is not None:
        numbers = fields.list("ggml.token_type", int, len(texts))
    named = [key for key in NAMED_KEYS if fields.get(f"ggml.{key}_token_id", int) is not None]
    template = fields.get("chat_template", str) or ""
    keys = [fields.token(name, len(texts)) for name in ("eos", "eot", "eom")]
    ends = {token for token in keys if token is not None}
    named_ends = {texts[token] for token in ends}
    named_ends |= {text for text in KNOWN_ENDINGS if text in template}
    types = corrected_types(texts, numbers, named, named_ends)
    known = known_endings(zip(texts, types, strict=True))
    control = int(TokenType.CONTROL)
    untyped = control not in numbers
    ends |= {token for text, token in known.items() if untyped or text in named_ends or numbers[token] == control}
    return _Tokens(texts, types, frozenset(ends or known.values()))


def _common(fields: _Fields, tokens: _Tokens, add_bos: bool) -> dict[str, Any]:
    """What both kinds share."""
    n = len(tokens.texts)
    bos, eos, unknown, pad = (fields.token(name, n) for name in ("bos", "eos", "unknown", "padding"))
    return {
        "bos": bos,
        "eos": eos,
        "unknown": unknown,
        "pad": pad,
        "before": (bos,) if fields.get("ggml.add_bos_token", bool, add_bos) and bos is not None else (),
        "after": (eos,) if fields.get("ggml.add_eos_token", bool, False) and eos is not None else (),
        "ends_text": tokens.ends,
        "chat_template": fields.get("chat_template", str),
        "notes": tuple(dict.fromkeys(fields.notes)),
    }


def _sentencepiece(fields: _Fields) -> Tokenizer:
    all_tokens = _tokens(fields)
    texts, corrected, _ = all_tokens
    kinds = as_text(corrected, (TokenType.UNUSED,), made_of_others(texts, corrected))
    pieces = list(zip(texts, kinds, strict=True))
    tokens, types = piece_tokens(pieces, escaped_spaces=True, where=fields.where)
    mergeable = [i for i, type_ in enumerate(types) if type_ in (TokenType.NORMAL, TokenType.UNUSED)]
    tokenizer = Tokenizer(
        algorithm=Algorithm.PRIORITIES,
        tokens=tokens,
        types=types,
        pre_tokenizer=split_for(tokens, mergeable),
        scores=tuple(fields.list("ggml.scores", (int, float), len(texts))),
        space_prefix=SpacePrefix.FRAGMENT if fields.get("ggml.add_space_prefix", bool, True) else SpacePrefix.NONE,
        escaped_spaces=True,
        **_common(fields, all_tokens, add_bos=True),
    )
    return with_special(tokenizer, texts, fields.model_name())


def _byte_level(fields: _Fields) -> Tokenizer:
    name = fields.get("ggml.pre", str, "default")
    if name not in PRE_TOKENIZERS:
        raise TokenizerError(
            f"{fields.where}: the pre-tokenizer {one_line(name, 40)} is not supported; supported are {SUPPORTED}"
        )
    all_tokens = _tokens(fields)
    texts, corrected, _ = all_tokens
    ids = {text: index for index, text in enumerate(texts)}
    merges = merges_from_pairs(fields.list("ggml.merges", str), ids, fields.where)
    reachable = {merge.result for merge in merges} | {index for index, text in enumerate(texts) if len(text) == 1}
    types = as_text(corrected, (TokenType.UNUSED, TokenType.BYTE), reachable)
    plain = (TokenType.NORMAL, TokenType.UNUSED)
    tokens = tuple(
        to_bytes(text) if kind in plain else text.encode("utf-8") for text, kind in zip(texts, types, strict=True)
    )
    # llama.cpp leaves bytes without a token out.
    common = {**_common(fields, all_tokens, add_bos=name in WHOLE_PIECES), "unknown": None}
    tokenizer = Tokenizer(
        algorithm=Algorithm.BYTE_PAIRS,
        tokens=tokens,
        types=types,
        pre_tokenizer=PRE_TOKENIZERS[name],
        merges=merges,
        whole_pieces=name in WHOLE_PIECES,
        nfc=name in NORMALIZED,
        **common,
    )
    return with_special(tokenizer, texts, fields.model_name())
