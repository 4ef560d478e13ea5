"""Texts that come again are not tokenized again: repeated prompts, and the growing prefix of a conversation.

Text behind a control token such as <|im_end|> is tokenized without regard to what stands before it. So a text whose
beginning is known up to a control token costs only its rest: that token and what follows are tokenized, its id
taken off.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rbe_edge.runtime.marked_text import is_marked, mark

MAX_ENTRIES = 64  # prefixes are compared one by one
MAX_BYTES = 4 << 20
_SHORTEST = 16  # characters; shorter texts cost less than looking them up


@dataclass(frozen=True)
class CacheStatistics:
    """hits: whole texts that were known. prefix_hits: texts whose beginning was. misses: neither. evictions: entries
    that made room. entries, bytes: held now."""

    hits: int = 0
    prefix_hits: int = 0
    misses: int = 0
    evictions: int = 0
    entries: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class _Entry:
    """prefix_text, prefix_tokens: how much of text and tokens the last control token ends; 0: there is none."""

    tokens: array[int]
    control: str
    prefix_text: int
    prefix_tokens: int
    n_bytes: int


#: (text, special) -> ids
Tokenize = Callable[[str, bool], Sequence[int]]


class TokenizerCache:
    """The least recently used texts go first. Any thread.

    tokenize: does the work, control tokens parsed. control_text: the text of a control token, "" for other tokens.
    """

    def __init__(
        self,
        tokenize: Tokenize,
        control_text: Callable[[int], str],
        max_bytes: int = MAX_BYTES,
        max_entries: int = MAX_ENTRIES,
    ) -> None:
        self._tokenize = tokenize
        self._control_text = control_text
        self._max_bytes, self._max_entries = max_bytes, max_entries
        self._entries: OrderedDict[tuple[bool, str], _Entry] = OrderedDict()
        self._controls: dict[int, str] = {}  # that were asked for, by token; "" for others
        self._lock = threading.Lock()
        self._hits = self._prefix_hits = self._misses = self._evictions = self._bytes = 0

    @property
    def statistics(self) -> CacheStatistics:
        with self._lock:
            return CacheStatistics(
                self._hits, self._prefix_hits, self._misses, self._evictions, len(self._entries), self._bytes
            )

    def tokenize(self, text: str, special: bool) -> list[int]:
        """Token ids of the text, control tokens parsed; special: with the model's prefix."""
        if len(text) < _SHORTEST:
            return list(self._tokenize(text, special))
        key = (special, text)
        with self._lock:
            known = self._entries.get(key)
            if known is not None:
                self._entries.move_to_end(key)
                self._hits += 1
                return list(known.tokens)
            start, before = self._longest_prefix(text, special)
            self._prefix_hits += start is not None
            self._misses += start is None
        if start is None or before is None:
            tokens = list(self._tokenize(text, special))
        else:
            rest = self._tokenize(start.control + text[start.prefix_text :], False)
            tokens = [*before, *rest[1:]]
        self._keep(key, tokens)
        return tokens

    def _control(self, token: int) -> str:
        found = self._controls.get(token)
        if found is None:
            found = self._controls[token] = self._control_text(token)
        return found

    def _longest_prefix(self, text: str, special: bool) -> tuple[_Entry, Sequence[int]] | tuple[None, None]:
        best: _Entry | None = None
        for (other_special, other), entry in self._entries.items():
            longer = entry.prefix_text > (best.prefix_text if best else 0)
            if longer and other_special == special and text.startswith(other[: entry.prefix_text]):
                best = entry
        return (best, best.tokens[: best.prefix_tokens]) if best is not None else (None, None)

    def _keep(self, key: tuple[bool, str], tokens: Sequence[int]) -> None:
        n_bytes = 4 * len(tokens) + 4 * len(key[1])
        if n_bytes > self._max_bytes // 2:
            return
        entry = self._entry(key[1], tokens, n_bytes)
        with self._lock:
            old = self._entries.pop(key, None)
            self._bytes += entry.n_bytes - (old.n_bytes if old else 0)
            self._entries[key] = entry
            while self._bytes > self._max_bytes or len(self._entries) > self._max_entries:
                _, gone = self._entries.popitem(last=False)
                self._bytes -= gone.n_bytes
                self._evictions += 1

    def _entry(self, text: str, tokens: Sequence[int], n_bytes: int) -> _Entry:
        for index in range(len(tokens) - 1, -1, -1):
            control = self._control(tokens[index])
            if control:
                control = mark(control) if is_marked(text) else control
                # The model's own prefix is no part of the text. A template may mark the same token in several ways;
                # then the last one found need not be the last there is.
                at = text.rfind(control) if text.count(control) == tokens.count(tokens[index]) else -1
                if at < 0:
                    break
                return _Entry(array("I", tokens), control, at + len(control), index + 1, n_bytes)
        return _Entry(array("I", tokens), "", 0, 0, n_bytes)
