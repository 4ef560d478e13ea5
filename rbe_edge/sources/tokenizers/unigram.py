"""Unigram, as T5 and XLM-R have it: from tokenizer.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers.added_tokens import AddedToken, with_added
from rbe_edge.sources.tokenizers.blob_version2 import has_narrow_scores
from rbe_edge.sources.tokenizers.normalization import read_normalization
from rbe_edge.sources.tokenizers.pre_tokenizers import ESCAPED_SPACE, TextRules, refusal, steps_of
from rbe_edge.sources.tokenizers.tokenizer import (
    Algorithm,
    PreTokenizer,
    SpacePrefix,
    Tokenizer,
    TokenType,
    split_for,
)
from rbe_edge.sources.tokenizers.vocabulary import added_vocabulary, affixes, assemble, with_unknown

# What an unknown character costs beside the least likely token: kUnkPenalty of SentencePiece and package tokenizers.
UNKNOWN_PENALTY = 10.0

_SCHEMES = {"always": SpacePrefix.FRAGMENT, "first": SpacePrefix.FIRST, "never": SpacePrefix.NONE}


def read_unigram(document: dict[str, Any], path: Path, more: Sequence[AddedToken]) -> Tokenizer:
    """A tokenizer.json whose model is Unigram; more: tokens that are added to its own. Raises what Python raises where
    the file is not built as such, and TokenizerError where it is and something is not supported."""
    model = document["model"]
    listed = model.get("vocab")
    if not isinstance(listed, list) or not listed:
        raise TokenizerError(f"{path}: the Unigram model lacks `vocab`; download the file again")
    vocabulary = {str(text): index for index, (text, _) in enumerate(listed)}
    cut = _read_cut(document, str(path))
    _check_decoder(document.get("decoder"), str(path))
    added = added_vocabulary(vocabulary, document, more)
    tokens, types = assemble(
        vocabulary,
        added,
        path,
        byte_level=False,
        byte_fallback=bool(model.get("byte_fallback")),
        escaped_spaces=cut.escaped,
    )
    scores = [float(score) for _, score in listed]
    unknown = model.get("unk_id")
    if unknown is not None and not (isinstance(unknown, int) and 0 <= unknown < len(listed)):
        raise TokenizerError(f"{path}: unk_id is {shown(unknown)}, but the model has {len(listed)} tokens")
    before, after = affixes(document.get("post_processor"), path)
    whole = cut.rules.pre_tokenizer is PreTokenizer.NONE
    # Sums of 32-bit scores are exact in 64 bits, and the same piece by piece. Those of others may differ in their last
    # bit, and with it which of two orders of the same tokens is taken.
    in_pieces = whole and has_narrow_scores(scores)
    normal = [index for index, kind in enumerate(types) if kind in (TokenType.NORMAL, TokenType.USER_DEFINED)]
    tokenizer = Tokenizer(
        algorithm=Algorithm.UNIGRAM,
        tokens=tokens,
        types=with_unknown(types, unknown),
        pre_tokenizer=split_for(tokens, normal) if in_pieces else cut.rules.pre_tokenizer,
        scores=(*scores, *[0.0] * (len(tokens) - len(scores))),
        unknown_score=min(scores) - UNKNOWN_PENALTY,
        space_prefix=cut.rules.space_prefix,
        prefix_unless_space=cut.rules.prefix_unless_space,
        fuse_unknown=whole,  # where a text is not cut, unknown characters that follow one another are one token
        escaped_spaces=cut.rules.escaped_spaces,
        normalization=cut.rules.normalization,
        unknown=unknown,
        before=before,
        after=after,
    )
    return with_added(tokenizer, added, cut.rules)


@dataclass(frozen=True)
class _Cut:
    """escaped: whether tokens are written with U+2581 for a space. rules: where words are cut at white space before
    spaces are escaped, escaped_spaces is false there."""

    rules: TextRules
    escaped: bool


def _read_cut(document: Mapping[str, Any], where: str) -> _Cut:
    """What the normalizer and the pre-tokenizer amount to."""
    entry = document.get("pre_tokenizer")
    steps = steps_of(entry, "pretokenizers")
    kinds = [step.get("type") for step in steps]
    rules = TextRules(
        byte_level=False,
        pre_tokenizer=PreTokenizer.NONE,
        nfc=False,
        escaped_spaces=False,
        space_prefix=SpacePrefix.NONE,
        prefix_unless_space=False,
        normalization=read_normalization(steps_of(document.get("normalizer"), "normalizers"), where),
    )
    if not kinds:
        return _Cut(rules, escaped=False)
    if kinds not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        raise refusal("with Unigram the pre-tokenizer", entry, where)
    metaspace = steps[-1]
    splits = bool(metaspace.get("split", True))
    default = "always" if metaspace.get("add_prefix_space", True) else "never"
    prefix = _SCHEMES.get(metaspace.get("prepend_scheme", default))
    rules = dataclasses.replace(rules, space_prefix=prefix or SpacePrefix.NONE, prefix_unless_space=True)
    if metaspace.get("replacement") != ESCAPED_SPACE or prefix is None:
        raise refusal("with Unigram the pre-tokenizer", entry, where)
    if len(kinds) == 1:
        pre_tokenizer = PreTokenizer.EACH_SPACE if splits else PreTokenizer.NONE
        changed = dataclasses.replace(rules, pre_tokenizer=pre_tokenizer, escaped_spaces=True, late_spaces=True)
        return _Cut(changed, escaped=True)
    if not splits or prefix is SpacePrefix.FIRST:
        raise refusal("with Unigram the pre-tokenizer", entry, where)
    return _Cut(dataclasses.replace(rules, pre_tokenizer=PreTokenizer.WHITE_SPACE), escaped=True)


def _check_decoder(entry: Mapping[str, Any] | None, where: str) -> None:
    """Refuses a decoder that does more than to write spaces for U+2581 and bytes for byte tokens, and to drop the space
    in front."""
    for step in steps_of(entry, "decoders"):
        kind = step.get("type")
        replaces = step.get("pattern") == {"String": ESCAPED_SPACE} and step.get("content") == " "
        if kind not in ("Metaspace", "ByteFallback", "Fuse", "Strip") and not (kind == "Replace" and replaces):
            raise refusal("with Unigram the decoder", step, where)
