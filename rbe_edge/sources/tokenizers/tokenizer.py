"""The tokenizer of a model, as read from any source: what docs/tokenizers.md describes, before it becomes bytes."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import NamedTuple

from rbe_edge.errors import PackError, TokenizerError
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers.normalization import NO_NORMALIZATION, Normalization
from rbe_edge.terminal_text import one_line

# One in so many of a tokenizer's tokens of text may have no row in the matrices of its model. Where more have none, the
# tokenizer is another model's.
_ROWS_PER_MISSING_TOKEN = 64

MAX_SCORE = 1e15  # of Unigram, either way: sums of such scores stay finite and differ


class Algorithm(enum.IntEnum):
    """How tokens are found: by merging symbols, or WordPiece and Unigram."""

    BYTE_PAIRS = 1
    CHARACTER_PAIRS = 2
    PRIORITIES = 3
    WORD_PIECES = 4
    UNIGRAM = 5


class PreTokenizer(enum.IntEnum):
    """How text is cut into the pieces inside which symbols may merge."""

    NONE = 0
    SPACES = 1
    GPT2 = 2
    LLAMA3 = 3
    QWEN2 = 4
    STARCODER = 5
    FALCON = 6
    O200K = 7
    TEKKEN = 8
    BERT = 9
    WHITE_SPACE = 10
    EACH_SPACE = 11
    DEEPSEEK3 = 12
    SPARK = 13
    QWEN35 = 14


class SpacePrefix(enum.IntEnum):
    """Where a space is put in front of text."""

    NONE = 0
    TEXT = 1
    FIRST = 2
    FRAGMENT = 3


class TokenType(enum.IntEnum):
    """The kinds of tokens, numbered as in SentencePiece and GGUF."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Merge(NamedTuple):
    """Tokens `left` and `right` become `result`; the lowest rank goes first."""

    left: int
    right: int
    rank: int
    result: int


@dataclass(frozen=True)
class SearchedTokens:
    """What is looked for in a text before it is cut, where that is not simply each special token by its own bytes.

    given, prepared: texts, sorted, and their tokens: found in the text as it was given, and in the prepared one.
    single_word: tokens that are not found beside a letter or digit.
    mergeable: user-defined tokens that text may also merge to, where they are not found.
    late_spaces: U+2581 becomes a space behind the search, not before that of `prepared`.
    """

    given: tuple[tuple[bytes, int], ...]
    prepared: tuple[tuple[bytes, int], ...] = ()
    single_word: frozenset[int] = frozenset()
    mergeable: frozenset[int] = frozenset()
    late_spaces: bool = False

    def ids(self) -> frozenset[int]:
        """All tokens that are named."""
        return frozenset(token for _, token in (*self.given, *self.prepared)) | self.single_word | self.mergeable

    def below(self, size: int) -> SearchedTokens:
        """The same without the tokens from id `size` on."""
        given, prepared = (
            tuple(entry for entry in entries if entry[1] < size) for entries in (self.given, self.prepared)
        )
        single_word, mergeable = (
            frozenset(token for token in ids if token < size) for ids in (self.single_word, self.mergeable)
        )
        return SearchedTokens(given, prepared, single_word, mergeable, self.late_spaces)


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer. Ids are indices into `tokens` and `types`.

    tokens: the bytes of every token as they stand in decoded text (a space is a space; b"" for an unused id).
    merges: for the two algorithms with pairs.
    scores: one per token for PRIORITIES; the pair whose token scores highest merges first. For UNIGRAM, whose tokens
        of the highest sum stand for a text. unknown_score: for UNIGRAM, that of a character that is no token.
    continuing: for WORD_PIECES, the tokens that continue words. longest_word: in characters; longer ones are unknown.
    normalization: for these two.
    before, after: tokens put around a whole text, such as BOS; at most 4 each.
    ends_text: ids at which generation ends.
    searched: None where control and user-defined tokens are looked for by their bytes, each kind by itself.
    notes: what was left out of it, a line each for the person who packs.
    """

    algorithm: Algorithm
    tokens: tuple[bytes, ...]
    types: tuple[TokenType, ...]
    pre_tokenizer: PreTokenizer
    merges: tuple[Merge, ...] = ()
    scores: tuple[float, ...] = ()
    space_prefix: SpacePrefix = SpacePrefix.NONE
    prefix_unless_space: bool = False
    whole_pieces: bool = False
    fuse_unknown: bool = False
    escaped_spaces: bool = False
    collapse_spaces: bool = False
    nfc: bool = False
    unknown_score: float = 0.0
    continuing: frozenset[int] = frozenset()
    longest_word: int = 0
    normalization: Normalization = NO_NORMALIZATION
    bos: int | None = None
    eos: int | None = None
    unknown: int | None = None
    pad: int | None = None
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    ends_text: frozenset[int] = frozenset()
    strip_left: frozenset[int] = frozenset()
    strip_right: frozenset[int] = frozenset()
    searched: SearchedTokens | None = None
    chat_template: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.tokens:
            raise TokenizerError("the tokenizer has no tokens; check that its file is complete")
        if len(self.types) != self.size or (self.scores and len(self.scores) != self.size):
            raise TokenizerError(f"{self.size} tokens do not match {len(self.types)} types, {len(self.scores)} scores")
        scored = self.algorithm in (Algorithm.PRIORITIES, Algorithm.UNIGRAM)
        if scored != bool(self.scores) or (self.scores and self.merges):
            raise TokenizerError("a tokenizer has either scores or merges; check which kind of file it is")
        if any(score != score for score in self.scores):
            raise TokenizerError("a score is not a number; the tokenizer file is damaged")
        if self.algorithm is Algorithm.UNIGRAM and max(map(abs, (*self.scores, self.unknown_score))) > MAX_SCORE:
            raise TokenizerError("a score is too large to be that of a token; the tokenizer file is damaged")
        if max(len(self.before), len(self.after)) > 4:
            raise TokenizerError("more than 4 tokens before or after every text are not supported")
        named = {"bos": self.bos, "eos": self.eos, "unknown": self.unknown, "pad": self.pad}
        for name, token in named.items():
            if token is not None:
                self._check_id(name, token)
        groups = {
            "before": self.before,
            "after": self.after,
            "ends_text": self.ends_text,
            "strip_left": self.strip_left,
            "strip_right": self.strip_right,
            "continuing": self.continuing,
            "searched": frozenset() if self.searched is None else self.searched.ids(),
        }
        for name, ids in groups.items():
            for token in ids:
                self._check_id(name, token)

    def _check_id(self, name: str, token: object) -> None:
        if not (isinstance(token, int) and 0 <= token < self.size):
            raise TokenizerError(
                f"{name} is token {shown(token)}, but the tokenizer has {self.size}; its files do not match"
            )

    @property
    def size(self) -> int:
        """The number of ids."""
        return len(self.tokens)

    @property
    def bos_token(self) -> str | None:
        """The text of the BOS token, which chat templates call `bos_token`."""
        return None if self.bos is None else self.tokens[self.bos].decode("utf-8", "replace")

    @property
    def eos_token(self) -> str | None:
        """The text of the EOS token, which chat templates call `eos_token`."""
        return None if self.eos is None else self.tokens[self.eos].decode("utf-8", "replace")

    def padded_to(self, size: int) -> Tokenizer:
        """The same with unused ids at the end, for models whose vocabulary is larger than their tokenizer's."""
        more = size - self.size
        if more < 0:
            raise TokenizerError(
                f"the tokenizer has {self.size} tokens, the model only {size}: it belongs to another model"
            )
        return dataclasses.replace(
            self,
            tokens=self.tokens + (b"",) * more,
            types=self.types + (TokenType.UNUSED,) * more,
            scores=self.scores + (0.0,) * more if self.scores else (),
        )

    def fitted_to(self, rows: int) -> Tokenizer:
        """The same with as many ids as the matrices of the model have rows: padded, or without the tokens beyond them.
        Such a token could neither be read nor written; text models keep some from their multimodal versions.

        Raises PackError where many of these stand for text.
        """
        if rows >= self.size:
            return self.padded_to(rows)
        text = sum(kind in (TokenType.NORMAL, TokenType.BYTE) for kind in self.types[rows:])
        if text * _ROWS_PER_MISSING_TOKEN > rows:
            raise PackError(
                f"the tokenizer has {self.size} tokens but the model only {rows}; this is the tokenizer of another "
                f"model"
            )
        named = {"BOS": self.bos, "EOS": self.eos, "unknown": self.unknown, "padding": self.pad}
        lost = [name for name, token in named.items() if token is not None and token >= rows]
        first = ", ".join(one_line(token.decode("utf-8", "replace"), 40) for token in self.tokens[rows : rows + 3])
        note = f"the tokenizer has {self.size} tokens, the model rows for {rows}; left out: {first}"
        if self.size > rows + 3:
            note += ", ..."
        if lost:
            note += f" (among them {' and '.join(lost)})"

        def known(token: int | None) -> int | None:
            return None if token is None or token >= rows else token

        sets = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        sets = {name: frozenset(i for i in ids if i < rows) for name, ids in sets.items() if isinstance(ids, frozenset)}
        return dataclasses.replace(
            self,
            tokens=self.tokens[:rows],
            types=self.types[:rows],
            scores=self.scores[:rows],
            merges=tuple(merge for merge in self.merges if max(merge.left, merge.right, merge.result) < rows),
            bos=known(self.bos),
            eos=known(self.eos),
            unknown=known(self.unknown),
            pad=known(self.pad),
            before=tuple(token for token in self.before if token < rows),
            after=tuple(token for token in self.after if token < rows),
            searched=None if self.searched is None else self.searched.below(rows),
            notes=(*self.notes, note),
            **sets,
        )

    def metadata(self) -> dict[str, str]:
        """What the .rbe file keeps of the tokenizer as metadata, for rendering conversations."""
        entries = {"chat_template": self.chat_template, "bos_token": self.bos_token, "eos_token": self.eos_token}
        return {key: text for key, text in entries.items() if text is not None}


def split_for(tokens: tuple[bytes, ...], mergeable: list[int]) -> PreTokenizer:
    """SPACES where no token that text can merge to holds a space after another character, else NONE.

    Merges then never cross the place before a run of spaces, so that the text between can be encoded by itself with
    the same result, in less memory.
    """
    crossing = any(b" " in tokens[token].lstrip(b" ") for token in mergeable)
    return PreTokenizer.NONE if crossing else PreTokenizer.SPACES
