"""Reads tokenizer.json, and the older pair vocab.json and merges.txt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.json_file import read_json
from rbe_edge.sources.tokenizers.added_tokens import AddedToken, AddedVocabulary, with_added
from rbe_edge.sources.tokenizers.byte_level import merges_from_pairs
from rbe_edge.sources.tokenizers.pre_tokenizers import SUPPORTED, TextRules, read_text_rules
from rbe_edge.sources.tokenizers.tokenizer import (
    Algorithm,
    Merge,
    PreTokenizer,
    SpacePrefix,
    Tokenizer,
    split_for,
)
from rbe_edge.sources.tokenizers.unigram import read_unigram
from rbe_edge.sources.tokenizers.vocabulary import added_vocabulary, affixes, assemble, with_unknown
from rbe_edge.sources.tokenizers.word_pieces import read_word_pieces
from rbe_edge.terminal_text import one_line


def read_tokenizer_json(path: Path) -> Tokenizer:
    """A tokenizer.json of package tokenizers."""
    return read_document(read_json(path, TokenizerError), path)


def read_document(document: Any, path: Path, more: Sequence[AddedToken] = ()) -> Tokenizer:
    """The content of a tokenizer.json; path: for messages; more: tokens that are added to its own."""
    try:
        return _read_document(document, path, more)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        raise TokenizerError(
            f"{path}: not built as a tokenizer.json is ({one_line(repr(error), 120)}); download the file again"
        ) from None


def _read_document(document: Any, path: Path, more: Sequence[AddedToken]) -> Tokenizer:
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise TokenizerError(f"{path}: has no `model`; this is not a tokenizer.json")
    model = document["model"]
    kind = model.get("type") or _kind_of(model)
    if kind == "WordPiece":
        return read_word_pieces(document, path, more)
    if kind == "Unigram":
        return read_unigram(document, path, more)
    if kind != "BPE":
        raise TokenizerError(
            f"{path}: a tokenizer of type {one_line(str(kind), 40)} is not supported; supported are {SUPPORTED}"
        )
    return _read_bpe(document, path, more)


def _kind_of(model: dict[str, Any]) -> str | None:
    """The type of a model that does not say it, as older files do not."""
    if isinstance(model.get("vocab"), list):
        return "Unigram"
    return "BPE" if "merges" in model else "WordPiece" if "continuing_subword_prefix" in model else None


def _read_bpe(document: dict[str, Any], path: Path, more: Sequence[AddedToken]) -> Tokenizer:
    model = document["model"]
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            raise TokenizerError(f"{path}: BPE with {option} is not supported; supported are {SUPPORTED}")
    vocabulary, pairs = model.get("vocab"), model.get("merges")
    if not isinstance(vocabulary, dict) or not isinstance(pairs, list):
        raise TokenizerError(f"{path}: the BPE model lacks `vocab` or `merges`; download the file again")
    added = added_vocabulary(vocabulary, document, more)
    before, after = affixes(document.get("post_processor"), path)
    rules = read_text_rules(document, str(path))
    merges = merges_from_pairs(pairs, vocabulary, str(path))
    unknown = vocabulary.get(model.get("unk_token"))
    if rules.byte_level:
        tokens, types = assemble(vocabulary, added, path, byte_fallback=False, escaped_spaces=False, byte_level=True)
        pre_tokenizer = rules.pre_tokenizer
    else:
        fallback = bool(model.get("byte_fallback"))
        tokens, types = assemble(
            vocabulary, added, path, byte_fallback=fallback, escaped_spaces=rules.escaped_spaces, byte_level=False
        )
        whole_text = bool(model.get("ignore_merges"))
        pre_tokenizer = PreTokenizer.NONE if whole_text else split_for(tokens, [merge.result for merge in merges])
    tokenizer = Tokenizer(
        algorithm=Algorithm.BYTE_PAIRS if rules.byte_level else Algorithm.CHARACTER_PAIRS,
        tokens=tokens,
        types=with_unknown(types, unknown),
        pre_tokenizer=pre_tokenizer,
        merges=merges,
        space_prefix=rules.space_prefix,
        prefix_unless_space=rules.prefix_unless_space,
        whole_pieces=bool(model.get("ignore_merges")),
        fuse_unknown=bool(model.get("fuse_unk")),
        escaped_spaces=rules.escaped_spaces,
        nfc=rules.nfc,
        unknown=unknown,
        before=before,
        after=after,
    )
    return with_added(tokenizer, added, rules)


def read_vocabulary_and_merges(
    directory: Path, pre_tokenizer: PreTokenizer, added: list[AddedToken], *, nfc: bool = False
) -> Tokenizer:
    """Byte-level BPE from vocab.json and merges.txt, which do not say how text is cut: the caller must."""
    path = directory / "vocab.json"
    vocabulary = read_json(path, TokenizerError)
    if not isinstance(vocabulary, dict) or not all(isinstance(index, int) for index in vocabulary.values()):
        raise TokenizerError(f"{path}: not a vocabulary; download the file again")
    merges = read_merges(directory / "merges.txt", vocabulary)
    batch = AddedVocabulary(vocabulary)
    batch.add(added)
    tokens, types = assemble(vocabulary, batch, path, byte_fallback=False, escaped_spaces=False, byte_level=True)
    rules = TextRules(True, pre_tokenizer, nfc, False, SpacePrefix.NONE, False)
    return with_added(Tokenizer(Algorithm.BYTE_PAIRS, tokens, types, pre_tokenizer, merges, nfc=nfc), batch, rules)


def read_merges(path: Path, vocabulary: dict[str, int]) -> tuple[Merge, ...]:
    """merges.txt: a pair a line, after a line that begins with #version."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror}; it belongs beside vocab.json") from None
    except UnicodeDecodeError:
        raise TokenizerError(f"{path}: not UTF-8; download the file again") from None
    if lines and lines[0].startswith("#version"):
        del lines[0]
    return merges_from_pairs([line for line in lines if line], vocabulary, str(path))
