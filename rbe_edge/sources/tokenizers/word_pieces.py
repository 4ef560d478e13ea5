"""WordPiece, as BERT has it: from tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers.added_tokens import AddedToken, with_added
from rbe_edge.sources.tokenizers.normalization import read_normalization
from rbe_edge.sources.tokenizers.pre_tokenizers import TextRules, refusal, steps_of
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, PreTokenizer, SpacePrefix, Tokenizer, TokenType
from rbe_edge.sources.tokenizers.vocabulary import added_vocabulary, affixes, assemble, with_unknown

PREFIX = "##"  # of tokens that continue words
LONGEST_WORD = 100

# What the decoder's clean-up takes the space in front of.
_CLOSE = (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")


def read_word_pieces(document: dict[str, Any], path: Path, more: Sequence[AddedToken]) -> Tokenizer:
    """A tokenizer.json whose model is WordPiece; more: tokens that are added to its own.

    Raises what Python raises where the file is not built as such, and TokenizerError where it is and something is not
    supported.
    """
    model = document["model"]
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict):
        raise TokenizerError(f"{path}: the WordPiece model lacks `vocab`; download the file again")
    prefix = model.get("continuing_subword_prefix", PREFIX)
    if not isinstance(prefix, str) or not prefix:
        raise TokenizerError(
            f"{path}: WordPiece where {shown(prefix)} is the prefix of what continues words is not supported"
        )
    unknown = vocabulary.get(model.get("unk_token", "[UNK]"))
    if unknown is None:
        raise TokenizerError(f"{path}: the vocabulary lacks the unknown token {shown(model.get('unk_token', '[UNK]'))}")
    entry = document.get("pre_tokenizer")
    if not isinstance(entry, dict) or entry.get("type") != "BertPreTokenizer":
        raise refusal("with WordPiece the pre-tokenizer", entry, str(path))
    normalization = read_normalization(steps_of(document.get("normalizer"), "normalizers"), str(path))
    cleans = _decoder_cleans(document.get("decoder"), prefix, str(path))
    added = added_vocabulary(vocabulary, document, more)
    tokens, types = assemble(vocabulary, added, path, byte_level=False, byte_fallback=False, escaped_spaces=False)
    continuing = frozenset(index for text, index in vocabulary.items() if text.startswith(prefix))
    before, after = affixes(document.get("post_processor"), path)
    tokenizer = Tokenizer(
        algorithm=Algorithm.WORD_PIECES,
        tokens=decoded_words(tokens, types, continuing, len(prefix.encode()), cleans=cleans),
        types=with_unknown(types, unknown),
        pre_tokenizer=PreTokenizer.BERT,
        continuing=continuing,
        longest_word=int(model.get("max_input_chars_per_word", LONGEST_WORD)),
        normalization=normalization,
        unknown=unknown,
        before=before,
        after=after,
    )
    rules = word_rules(tokenizer)
    return with_added(tokenizer, added, rules)


def read_word_list(path: Path) -> dict[str, Any]:
    """A vocab.txt as the beginning of a tokenizer.json: its model alone."""
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror}; check the path") from None
    except UnicodeDecodeError:
        raise TokenizerError(f"{path}: not UTF-8; download the file again") from None
    return {"model": {"type": "WordPiece", "vocab": {line: index for index, line in enumerate(lines)}}}


def word_rules(tokenizer: Tokenizer) -> TextRules:
    """What happens to text before words are looked up."""
    return TextRules(
        byte_level=False,
        pre_tokenizer=tokenizer.pre_tokenizer,
        nfc=False,
        escaped_spaces=False,
        space_prefix=SpacePrefix.NONE,
        prefix_unless_space=False,
        normalization=tokenizer.normalization,
    )


def decoded_words(
    tokens: Sequence[bytes], types: Sequence[TokenType], continuing: frozenset[int], prefix_bytes: int, *, cleans: bool
) -> tuple[bytes, ...]:
    """The tokens as they stand in decoded text: those that continue words without their prefix, the others behind a
    space, except, where the decoder cleans up, before what stands close to the word before it. Control tokens stay."""

    def decoded(index: int) -> bytes:
        token = tokens[index]
        if types[index] is TokenType.CONTROL or not token:
            return token
        if index in continuing:
            return token[prefix_bytes:]
        close = tuple(text.encode() for text in _CLOSE)
        return token if cleans and token.startswith(close) else b" " + token

    return tuple(decoded(index) for index in range(len(tokens)))


def _decoder_cleans(entry: Mapping[str, Any] | None, prefix: str, where: str) -> bool:
    """Whether the decoder takes spaces away before punctuation. A file without a decoder is read as BERT's."""
    if entry is None:
        return True
    if entry.get("type") != "WordPiece" or entry.get("prefix", PREFIX) != prefix:
        raise refusal("with WordPiece the decoder", dict(entry), where)
    return bool(entry.get("cleanup", True))
