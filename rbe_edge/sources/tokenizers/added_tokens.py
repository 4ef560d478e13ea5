"""Tokens that are looked for in a text before it is cut: what package tokenizers makes of them.

A token that is found in the text as it was given is looked for
before one that is found in the normalized text; of either kind the leftmost counts, and there the longest.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rbe_edge.sources.tokenizers.pre_tokenizers import ESCAPED_SPACE, TextRules
from rbe_edge.sources.tokenizers.tokenizer import SearchedTokens, SpacePrefix, Tokenizer, TokenType

# Longer tokens than this, and more characters of them together, are taken to overlap: to compare them would take long.
_MAX_COMPARED = 64
_MAX_COMPARED_TOGETHER = 500_000


@dataclass(frozen=True)
class AddedToken:
    """A token that is matched in text as it stands.

    id: None where the vocabulary or the order of adding says it.
    single_word: not found beside a letter or digit. normalized: found in normalized text, by its own normalized text.
    only_known: not added where the vocabulary lacks it.
    """

    id: int | None
    content: str
    special: bool
    strip_left: bool = False
    strip_right: bool = False
    single_word: bool = False
    normalized: bool = False
    only_known: bool = False


def read_added_token(entry: Mapping[str, Any], index: int | None, special: bool | None = None) -> AddedToken:
    """An added token as files write it. special: instead of what the entry says. Raises KeyError, TypeError."""
    content = entry["content"]
    if not isinstance(content, str):
        raise TypeError(f"the content of an added token is {str(content)[:40]!r}")
    is_special = bool(entry.get("special")) if special is None else special
    return AddedToken(
        index,
        content,
        is_special,
        bool(entry.get("lstrip")),
        bool(entry.get("rstrip")),
        bool(entry.get("single_word")),
        bool(entry.get("normalized", not is_special)),
    )


class AddedVocabulary:
    """The added tokens of a tokenizer whose model has `vocabulary`. A token without an id gets that of the vocabulary,
    or the next free one."""

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.vocabulary = vocabulary
        self.by_content: dict[str, AddedToken] = {}
        self._ids = set(vocabulary.values())
        self._next = max(len(vocabulary), max(self._ids, default=0) + 1)

    def add(self, tokens: Iterable[AddedToken]) -> None:
        """Adds tokens. One that is there already takes the flags of the new one, but what was special stays special."""
        for token in tokens:
            if not token.content or (token.only_known and self._lacks(token.content)):
                continue
            known = self.by_content.get(token.content)
            index = self._id(token) if known is None else known.id
            special = token.special or (known is not None and known.special)
            self.by_content[token.content] = dataclasses.replace(token, id=index, special=special, only_known=False)
            if index is not None:
                self._ids.add(index)
                self._next = max(self._next, index + 1)

    def _lacks(self, content: str) -> bool:
        return content not in self.vocabulary and content not in self.by_content

    def _id(self, token: AddedToken) -> int:
        """The id of a token that is new."""
        known = self.vocabulary.get(token.content)
        if known is not None:
            return known
        if token.id is not None and token.id not in self._ids:
            return token.id
        return self._next

    def tokens(self) -> list[tuple[int, AddedToken]]:
        """All of them, with their ids."""
        return [(token.id, token) for token in self.by_content.values() if token.id is not None]

    def searched(self, rules: TextRules) -> SearchedTokens:
        """What is looked for in text."""
        lists: tuple[dict[bytes, int], dict[bytes, int]] = ({}, {})
        for index, token in self.tokens():
            text = normalized_text(token.content, rules) if token.normalized else token.content
            lists[token.normalized].setdefault(text.encode("utf-8", "replace"), index)
        return SearchedTokens(
            given=tuple(sorted(lists[0].items())),
            prepared=tuple(sorted(lists[1].items())),
            single_word=frozenset(index for index, token in self.tokens() if token.single_word),
            mergeable=frozenset(
                index
                for index, token in self.tokens()
                if not token.special and self.vocabulary.get(token.content) == index
            ),
            late_spaces=rules.late_spaces,
        )


def normalized_text(text: str, rules: TextRules) -> str:
    """A text as it is when normalized tokens are looked for, with spaces for U+2581."""
    if rules.prepends:
        text = ESCAPED_SPACE + text
    if rules.escaped_spaces and not rules.late_spaces:
        text = text.replace(ESCAPED_SPACE, " ")
    text = rules.normalization.apply(text)
    return unicodedata.normalize("NFC", text) if rules.nfc else text


def with_added(
    tokenizer: Tokenizer, added: AddedVocabulary, rules: TextRules, searched: SearchedTokens | None = None
) -> Tokenizer:
    """The tokenizer with the flags of its added tokens, whose bytes and types it has already.

    Where the plain search of control and user-defined tokens finds the same, nothing else is written down.
    searched: instead of what `added` says is looked for.
    """
    flagged = dataclasses.replace(
        tokenizer,
        strip_left=frozenset(index for index, token in added.tokens() if token.strip_left),
        strip_right=frozenset(index for index, token in added.tokens() if token.strip_right),
    )
    searched = searched or added.searched(rules)
    if _plain_search_suffices(flagged, searched, rules):
        return flagged
    prefix = SpacePrefix.TEXT if rules.prepends else flagged.space_prefix
    return dataclasses.replace(flagged, searched=searched, space_prefix=prefix)


def _plain_search_suffices(tokenizer: Tokenizer, searched: SearchedTokens, rules: TextRules) -> bool:
    """Whether the plain search comes to the same: control tokens in the text as it was given, then user-defined ones in
    the text with spaces for U+2581, then space prefixes and normalization."""
    entries = [(text, index, False) for text, index in searched.given]
    entries += [(text, index, True) for text, index in searched.prepared]
    types = (TokenType.CONTROL, TokenType.USER_DEFINED)
    if searched.single_word or any(
        text != tokenizer.tokens[index] or tokenizer.types[index] not in types for text, index, _ in entries
    ):
        return False
    changes = rules.nfc or bool(rules.normalization.steps)
    if searched.prepared and (changes or len({index for _, index, _ in entries}) < len(entries)):
        return False
    user_defined = {index for _, index, _ in entries if tokenizer.types[index] is TokenType.USER_DEFINED}
    early = tokenizer.space_prefix is SpacePrefix.TEXT or rules.normalization.steps
    if early and user_defined & {index for _, index in searched.given}:
        return False
    strips = tokenizer.strip_left | tokenizer.strip_right
    spaced = any(any(character.isspace() for character in text.decode("utf-8")) for text, _, _ in entries)
    if spaced and (strips or rules.escaped_spaces):
        return False
    if rules.escaped_spaces and strips & user_defined:
        return False
    classes: dict[tuple[TokenType, bool], list[str]] = {}
    for text, index, prepared in entries:
        classes.setdefault((tokenizer.types[index], prepared), []).append(text.decode("utf-8"))
    groups = list(classes.values())
    return not any(_overlap(one, other) for at, one in enumerate(groups) for other in groups[at + 1 :])


def _overlap(some: list[str], others: list[str]) -> bool:
    """Whether a text of the one list can share characters with one of the other in the same place of a text."""
    lengths = [len(text) for text in (*some, *others)]
    if max(lengths) > _MAX_COMPARED or sum(lengths) > _MAX_COMPARED_TOGETHER:
        return True
    return _runs_into(some, others) or _runs_into(others, some)


def _runs_into(some: list[str], others: list[str]) -> bool:
    """Whether some text of the first list contains one of the second, or ends as one of the second begins."""
    whole = set(others)
    beginnings = {text[:length] for text in others for length in range(1, len(text) + 1)}
    return any(
        text[at:] in beginnings or any(text[at:end] in whole for end in range(at + 1, len(text) + 1))
        for text in some
        for at in range(len(text))
    )
