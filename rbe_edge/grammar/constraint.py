"""Constrains an answer to a grammar: which tokens fit next, and how it ends in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rbe_edge.grammar.ending import Ending
from rbe_edge.grammar.grammar import Grammar, GrammarError
from rbe_edge.grammar.place import Place
from rbe_edge.grammar.vocabulary import Vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from rbe_edge.runtime.sampler import Sampler

# States of a grammar's lexer, 1 to 2 kB each, shared by all its answers.
_MAX_STATES = 20_000
#: Deeper texts would be refused by common readers of JSON, as would longer numbers.
MAX_DEPTH, MAX_DIGITS = 100, 64
_PLENTY = 2000  # tokens: with more left than this, no end is looked for
_PAUSE = 16  # tokens until an end is looked for again where none was found
# Masks that looking for ends may take, so that one answer does not hold up the others: at once, and with each token.
_CREDIT, _EARNED = 12_000, 150
_ROOM = 200  # tokens left, and more for a long plan, with which looking may be put off
_TRIED = 24  # beginnings, and as many ends, of a plan that may be what is still needed


class CompiledGrammar:
    """A grammar for the tokens of a model. Any thread.

    failed: an answer made more states than there may be, and so would others: compile it again for them."""

    def __init__(self, vocabulary: Vocabulary, grammar: Grammar) -> None:
        """Takes some milliseconds, up to a second. Raises GrammarError where llguidance refuses it."""
        self.vocabulary = vocabulary
        self.failed = False
        self.examples, self.has_prose = grammar.examples, grammar.has_prose
        self._tokens = _matcher(vocabulary.tokenizer, grammar)
        self._bytes = _matcher(vocabulary.bytes_tokenizer, grammar)

    def matchers(self) -> tuple[LLMatcher, LLMatcher]:
        """At the beginning of a text: one of tokens, one of single bytes."""
        return self._tokens.deep_copy(), self._bytes.deep_copy()


def _matcher(tokenizer: object, grammar: Grammar) -> LLMatcher:
    import llguidance  # the vocabulary has found it

    limits = llguidance.LLParserLimits(max_lexer_states=_MAX_STATES, verbose_errors=False)
    found = llguidance.LLMatcher(tokenizer, grammar.text, log_level=0, limits=limits)  # type: ignore[arg-type]
    if found.is_error():
        raise GrammarError(_reason(found))
    return found


def _reason(matcher: LLMatcher) -> str:
    text = matcher.get_error() or matcher.stop_reason()
    text = text.partition("<non-verbose/>")[0].removeprefix("failed to compile JSON schema: ")
    return " ".join(text.split())[:300]


class Constraint:
    """Where one answer is in its grammar. One thread at a time.

    shortened: the answer was ended because its tokens ran out."""

    def __init__(self, compiled: CompiledGrammar) -> None:
        self._compiled = compiled
        self._vocabulary = compiled.vocabulary
        self._tokens, self._bytes = compiled.matchers()
        self._ending = Ending(self._bytes, compiled.examples)
        self._place = Place()
        self._behind = b""  # what the matcher of bytes has still to take
        self._plan: bytes | None = None  # completes the text from here
        self._next: tuple[bytes, bytes | None] = b"", None  # a text that may come, and the plan behind it
        self._pause = 0
        self._credit = _CREDIT
        self.shortened = False

    @property
    def ended(self) -> bool:
        """Nothing can follow."""
        return self._tokens.is_stopped()

    def mask(self) -> npt.NDArray[np.bool_]:
        """bool [vocabulary]: the tokens that may come next. Raises GrammarError where finding them takes too much."""
        packed = self._tokens.compute_bitmask()
        if self._tokens.is_error() and _reason(self._tokens) == "NoExtensionBias":  # no token has the bytes
            return np.zeros(self._vocabulary.size, dtype=np.bool_)
        self._check(self._tokens)
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=self._vocabulary.size, bitorder="little")
        return bits.view(np.bool_)

    def draw(self, logits: npt.NDArray[np.float32], sampler: Sampler, remaining: int | None) -> int | None:
        """The next token, drawn from those that fit; logits float32 [vocabulary] are changed. remaining: tokens that
        the answer may still have, this one included; while enough are left, the text is ended within them. None where
        no token fits, which only a vocabulary without some bytes can cause. Raises GrammarError as mask() does."""
        logits[~self.mask()] = -np.inf
        if not np.isfinite(logits).any():
            return None
        limited = remaining is not None and remaining <= _PLENTY
        self._credit = min(self._credit + _EARNED, _CREDIT)
        if limited and self._plan is None:
            self._look_ahead(remaining)
        token = sampler.draw_from(logits)
        if token in self._vocabulary.ends:
            return token
        text = self._vocabulary.texts[token]
        if self._runs_on(text):
            if self._plan is None:
                self._look_ahead(None)
        elif not limited or self._plan is None:
            return token
        else:
            assert remaining is not None
            plan = self._plan_after(text, remaining - 1) if self._fits(self._plan, remaining) else None
            if plan is not None:
                self._next = text, plan
                return token
            if self._credit <= 0 and remaining > _ROOM + 8 * len(self._plan):
                self._plan, self._pause = None, _PAUSE
                return token
            self.shortened = True
        return token if self._plan is None else self._planned()

    def accept(self, token: int) -> None:
        """Advances by a token that is now part of the text. Raises GrammarError where following it takes too much."""
        text = self._vocabulary.texts[token]
        self._tokens.consume_token(token)
        self._check(self._tokens)
        self._place.go(text)
        self._behind += text
        if self._plan is not None:
            expected, plan = self._next
            self._next = b"", None
            if text != expected:
                plan = self._plan.removeprefix(text) if self._plan.startswith(text) else None
            self._plan = plan

    def _check(self, matcher: LLMatcher) -> None:
        if matcher.is_error() or matcher.stop_reason() in ("LexerTooComplex", "ParserTooComplex", "InternalError"):
            self._compiled.failed = True
            raise GrammarError(_reason(matcher))

    # ---- how it ends ----

    def _runs_on(self, text: bytes) -> bool:
        """Whether it nests, or writes a number, beyond what readers take."""
        if self._compiled.has_prose:
            return False
        after = self._place.copy().go(text)
        deeper = after.depth > MAX_DEPTH and after.depth > self._place.depth
        return deeper or (after.digits > MAX_DIGITS and after.digits > self._place.digits)

    def _planned(self) -> int | None:
        """The next token of the plan; the end of the text where it is complete."""
        return self._vocabulary.first_token(self._plan) if self._plan else min(self._vocabulary.ends, default=None)

    def _look_ahead(self, tokens: int | None) -> None:
        """Finds a plan where there is none, within so many tokens if it can be. None: any, and now."""
        self._pause -= 1
        if tokens is not None and (self._pause > 0 or self._credit <= 0):
            return
        self._catch_up()
        self._plan = self._searched(self._ending.find, self._place)
        if self._plan is not None and tokens is not None and not self._fits(self._plan, tokens):
            self._plan = self._searched(self._ending.shortest, self._place) or self._plan
        self._pause = 0 if self._plan is not None else _PAUSE

    def _searched(self, search: Callable[[Place], bytes | None], place: Place) -> bytes | None:
        """What a search finds, paid with its masks. place: where the matcher of bytes is."""
        before = self._ending.masks
        found = search(place)
        self._credit -= self._ending.masks - before
        self._check(self._bytes)
        return found

    def _catch_up(self) -> None:
        if self._behind:
            self._bytes.consume_tokens(list(self._behind))
            self._check(self._bytes)
            self._behind = b""

    def _plan_after(self, text: bytes, tokens: int) -> bytes | None:
        """What completes the answer behind the text, within so many tokens."""
        matcher = self._bytes
        self._catch_up()
        matcher.consume_tokens(list(text))
        self._check(matcher)
        place = self._place.copy().go(text)
        found = self._rest_of_plan()
        if (found is None or not self._fits(found, tokens)) and self._credit > 0:
            found = self._searched(self._ending.find, place)
        matcher.rollback(len(text))
        return found if found is not None and self._fits(found, tokens) else None

    def _rest_of_plan(self) -> bytes | None:
        """A part of the present plan that completes the text where the matcher of bytes is: most often all of it, as
        within a string."""
        if self._bytes.is_accepting():
            return b""
        plan = self._plan or b""
        tokens = [*plan, self._vocabulary.bytes_tokenizer.eos_token]
        for start in dict.fromkeys([*range(_TRIED), *range(max(len(plan) - _TRIED, 0), len(plan))]):
            if start < len(plan) and self._bytes.validate_tokens(tokens[start:]) == len(tokens) - start:
                return plan[start:]
        return None

    def _fits(self, plan: bytes, tokens: int) -> bool:
        if len(plan) <= tokens and self._vocabulary.bytes_known.issuperset(plan):
            return True  # no token is shorter than a byte
        count = self._vocabulary.count(plan)
        return count is not None and count <= tokens
