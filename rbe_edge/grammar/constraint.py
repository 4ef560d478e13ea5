"""Constrains an answer to a grammar: which tokens fit next, and how it ends in time.

For each token all of its bytes are followed through the automaton, byte by byte for all tokens at once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbe_edge.grammar.automaton import DEAD, REACH, Automaton
from rbe_edge.grammar.grammar import Node

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model
    from rbe_edge.runtime.sampler import Sampler

_KEPT_MASKS = 256  # 5 MB with 150,000 tokens
_LONGEST_ENDING = 4096  # bytes of an end that are counted in tokens


class TokenBytes:
    """The bytes of a model's tokens, one after the other. Immutable: any thread."""

    def __init__(self, model: Model) -> None:
        texts = [model.token_bytes(token) for token in range(min(model.tokenizer_size, model.info.vocabulary))]
        self.vocabulary = model.info.vocabulary
        self.lengths = np.zeros(self.vocabulary, dtype=np.int32)
        self.lengths[: len(texts)] = [len(text) for text in texts]
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths[:-1])]).astype(np.int64)
        self.data = np.frombuffer(b"".join(texts), dtype=np.uint8)
        self.ends = np.zeros(self.vocabulary, dtype=bool)
        self.ends[[token for token in range(len(texts)) if model.ends_text(token)]] = True
        self.of_text = {text: token for token, text in reversed(list(enumerate(texts))) if text}
        self.longest = max(map(len, texts), default=0)
        self.short = np.flatnonzero((self.lengths > 0) & (self.lengths <= REACH))
        self.long = np.flatnonzero(self.lengths > REACH)

    def first_token(self, text: bytes) -> int | None:
        """The longest token that the text begins with."""
        for length in range(min(self.longest, len(text)), 0, -1):
            token = self.of_text.get(text[:length])
            if token is not None:
                return token
        return None

    def count(self, text: bytes) -> int | None:
        """How many tokens write the text, the longest first; None where they cannot."""
        at = count = 0
        while at < len(text):
            token = self.first_token(text[at : at + self.longest])
            if token is None:
                return None
            at += int(self.lengths[token])
            count += 1
        return count


class Masks:
    """Which tokens fit at the states of a grammar, cached for all answers with that grammar. One thread at a time."""

    def __init__(self, tokens: TokenBytes, automaton: Automaton) -> None:
        self.tokens, self.automaton = tokens, automaton
        self._kept: OrderedDict[tuple[int, bool], npt.NDArray[np.uint8]] = OrderedDict()  # by state, and whether whole

    def at(self, state: int) -> npt.NDArray[np.bool_]:
        """bool [vocabulary]: the tokens that may come next."""
        known = self._known(state, True)
        if known is not None:
            return known
        near = self.automaton.near(state)
        mask = self._known(near, False)
        if mask is None:
            mask = np.zeros(self.tokens.vocabulary, dtype=bool)
            self._walk(self.tokens.short, near, mask)
            self._keep(near, False, mask)
        self._walk(self.tokens.long, state, mask)
        if self.automaton.accepts(state):
            mask |= self.tokens.ends
        self._keep(state, True, mask)
        return mask

    def _known(self, state: int, whole: bool) -> npt.NDArray[np.bool_] | None:
        packed = self._kept.get((state, whole))
        if packed is None:
            return None
        self._kept.move_to_end((state, whole))
        return np.unpackbits(packed, count=self.tokens.vocabulary).astype(bool)

    def _keep(self, state: int, whole: bool, mask: npt.NDArray[np.bool_]) -> None:
        self._kept[state, whole] = np.packbits(mask)
        if len(self._kept) > _KEPT_MASKS:
            self._kept.popitem(last=False)

    def _walk(self, alive: npt.NDArray[np.intp], state: int, mask: npt.NDArray[np.bool_]) -> None:
        """Marks those of the tokens that fit."""
        tokens = self.tokens
        states = np.full(len(alive), state, dtype=np.int32)
        for depth in range(tokens.longest):
            if not len(alive):
                break
            states = self.automaton.successors(states, tokens.data[tokens.offsets[alive] + depth])
            fits = states != DEAD
            alive, states = alive[fits], states[fits]
            complete = tokens.lengths[alive] == depth + 1
            mask[alive[complete]] = True
            alive, states = alive[~complete], states[~complete]


class Constraint:
    """Where one answer is in its grammar. It and all that another() makes belong to one thread at a time.

    shortened: the answer was ended because its tokens ran out.
    """

    def __init__(self, tokens: TokenBytes, grammar: Node) -> None:
        """Raises GrammarError where the grammar takes too much memory; so do all other methods."""
        self._begin(Masks(tokens, Automaton(grammar)))

    def _begin(self, masks: Masks) -> None:
        self._tokens, self._masks = masks.tokens, masks
        self._state = masks.automaton.start
        self.shortened = False

    def another(self) -> Constraint:
        """A constraint for another answer with the same grammar. This one must not have been used for an answer. Any
        thread."""
        made = object.__new__(Constraint)
        made._begin(self._masks)
        return made

    @property
    def full(self) -> bool:
        """The automaton has as many states as it may: an answer would replace it by a new one."""
        return self._automaton.full

    @property
    def _automaton(self) -> Automaton:
        return self._masks.automaton

    @property
    def ended(self) -> bool:
        """Nothing can follow."""
        return self._automaton.ended(self._state)

    def mask(self) -> npt.NDArray[np.bool_]:
        """bool [vocabulary]: the tokens that may come next."""
        if self._automaton.full:
            automaton, self._state = self._automaton.another(self._state)
            self._masks = Masks(self._tokens, automaton)
        return self._masks.at(self._state)

    def draw(self, logits: npt.NDArray[np.float32], sampler: Sampler, remaining: int | None) -> int | None:
        """The next token, drawn from those that fit; logits float32 [vocabulary] are changed. remaining: tokens that
        the answer may still have, this one included; while enough are left, the text is ended within them. None where
        no token fits, which only a vocabulary without some bytes can cause."""
        logits[~self.mask()] = -np.inf
        token: int | None = None
        if np.isfinite(logits).any():
            token = sampler.draw_from(logits)
            if remaining is not None and not self._can_end(token, remaining - 1):
                self.shortened = True
                token = self._towards_end()
        return token

    def _can_end(self, token: int, remaining: int) -> bool:
        if self._tokens.ends[token]:
            return True
        state = self._automaton.run(self._state, self._bytes(token))
        shortest = self._automaton.shortest(state)
        if shortest <= remaining:  # no token is shorter than a byte
            return True
        if shortest > _LONGEST_ENDING:
            return False
        count = self._tokens.count(self._automaton.ending(state, _LONGEST_ENDING))
        return count is not None and count <= remaining

    def _towards_end(self) -> int | None:
        text = self._automaton.ending(self._state, self._tokens.longest)
        return self._tokens.first_token(text) if text else None

    def accept(self, token: int) -> None:
        """Advances by a token that is now part of the text."""
        self._state = self._automaton.run(self._state, self._bytes(token))

    def _bytes(self, token: int) -> bytes:
        at = int(self._tokens.offsets[token])
        return self._tokens.data[at : at + int(self._tokens.lengths[token])].tobytes()
