"""Reads the vocabulary of a GGUF file, with llama.cpp's meaning of its keys."""

from __future__ import annotations

from pathlib import Path

from rbe_edge.errors import PackError, TokenizerError
from rbe_edge.sources.gguf.header import read_header
from rbe_edge.sources.tokenizers.byte_level import merges_from_pairs, to_bytes
from rbe_edge.sources.tokenizers.gguf_encoders import read_gguf_unigram, read_gguf_words
from rbe_edge.sources.tokenizers.gguf_fields import Fields, common_fields, read_tokens
from rbe_edge.sources.tokenizers.gguf_special import as_text, made_of_others, with_special
from rbe_edge.sources.tokenizers.pre_tokenizers import SUPPORTED
from rbe_edge.sources.tokenizers.sentencepiece_model import piece_tokens
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, PreTokenizer, SpacePrefix, Tokenizer, TokenType, split_for
from rbe_edge.terminal_text import one_line

# llama.cpp's names (llama-vocab.cpp) of how text is cut.
PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer.GPT2,
    "phi-2": PreTokenizer.GPT2,
    "olmo": PreTokenizer.GPT2,
    "trillion": PreTokenizer.GPT2,
    "exaone4": PreTokenizer.GPT2,
    "llama-bpe": PreTokenizer.LLAMA3,
    "llama3": PreTokenizer.LLAMA3,
    "llama-v3": PreTokenizer.LLAMA3,
    "falcon3": PreTokenizer.LLAMA3,
    "lfm2": PreTokenizer.LLAMA3,
    "smaug-bpe": PreTokenizer.LLAMA3,
    "dbrx": PreTokenizer.LLAMA3,
    "qwen2": PreTokenizer.QWEN2,
    "qwen35": PreTokenizer.QWEN35,
    "deepseek-r1-qwen": PreTokenizer.QWEN2,
    "megrez": PreTokenizer.QWEN2,
    "stablelm2": PreTokenizer.QWEN2,
    "starcoder": PreTokenizer.STARCODER,
    "smollm": PreTokenizer.STARCODER,
    "refact": PreTokenizer.STARCODER,
    "exaone": PreTokenizer.STARCODER,
    "minerva-7b": PreTokenizer.STARCODER,
    "falcon": PreTokenizer.FALCON,
    "gpt-4o": PreTokenizer.O200K,
    "llama4": PreTokenizer.O200K,
    "kanana2": PreTokenizer.O200K,
    "tekken": PreTokenizer.TEKKEN,
    "deepseek-v3": PreTokenizer.DEEPSEEK3,
    "hunyuan-dense": PreTokenizer.DEEPSEEK3,
    "spark2_5": PreTokenizer.SPARK,
}

# Those with which llama.cpp looks whole pieces up first and puts BOS before a text, and those that go with NFC.
WHOLE_PIECES = {"llama-bpe", "llama3", "llama-v3", "falcon3", "lfm2", "tekken"}
NORMALIZED = {"qwen2", "qwen35"}


def read_gguf(path: Path) -> Tokenizer:
    """The tokenizer inside a GGUF file: models "llama" (SentencePiece BPE), "gpt2" (byte-level BPE), "gemma4" (BPE of
    characters), "bert" (WordPiece) and "t5" (Unigram)."""
    try:
        fields = Fields(read_header(path).metadata, str(path))
    except PackError as error:
        raise TokenizerError(str(error)) from None
    kind = fields.get("ggml.model", str)
    if kind == "llama":
        return _sentencepiece(fields)
    if kind == "gpt2":
        return _byte_level(fields)
    if kind == "gemma4":
        return _character_level(fields)
    if kind == "bert":
        return read_gguf_words(fields)
    if kind == "t5":
        return read_gguf_unigram(fields)
    if kind is None:
        raise TokenizerError(f"{path}: holds no tokenizer; take a file that llama.cpp can chat with")
    raise TokenizerError(
        f"{path}: a tokenizer of type {one_line(kind, 40)} is not supported; supported are {SUPPORTED}"
    )


def _sentencepiece(fields: Fields) -> Tokenizer:
    all_tokens = read_tokens(fields)
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
        **common_fields(fields, all_tokens, add_bos=True),
    )
    return with_special(tokenizer, texts, fields.model_name())


def _character_level(fields: Fields) -> Tokenizer:
    """Merges of characters, with spaces written as U+2581, and bytes for characters without a token."""
    all_tokens = read_tokens(fields)
    texts, corrected, _ = all_tokens
    ids = {text: index for index, text in enumerate(texts)}
    merges = merges_from_pairs(fields.list("ggml.merges", str), ids, fields.where)
    results = [merge.result for merge in merges]
    reachable = {*results, *(index for index, text in enumerate(texts) if len(text) == 1)}
    kinds = as_text(corrected, (TokenType.UNUSED,), reachable)
    tokens, types = piece_tokens(list(zip(texts, kinds, strict=True)), escaped_spaces=True, where=fields.where)
    tokenizer = Tokenizer(
        algorithm=Algorithm.CHARACTER_PAIRS,
        tokens=tokens,
        types=types,
        pre_tokenizer=split_for(tokens, results),
        merges=merges,
        fuse_unknown=True,
        escaped_spaces=True,
        **common_fields(fields, all_tokens, add_bos=True),
    )
    return with_special(tokenizer, texts, fields.model_name())


def _byte_level(fields: Fields) -> Tokenizer:
    name = fields.get("ggml.pre", str, "default")
    if name not in PRE_TOKENIZERS:
        raise TokenizerError(
            f"{fields.where}: the pre-tokenizer {one_line(name, 40)} is not supported; supported are {SUPPORTED}"
        )
    all_tokens = read_tokens(fields)
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
    common = {**common_fields(fields, all_tokens, add_bos=name in WHOLE_PIECES), "unknown": None}
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
