"""Texts, pairs of texts and lists of tokens, as an encoder takes them: token ids with their segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbe_edge.errors import ContextFull
from rbe_edge.runtime.options import require

if TYPE_CHECKING:
    from typing import TypeAlias

    from rbe_edge.runtime.engine_model import EngineModel

    Text: TypeAlias = str | tuple[str, str] | Sequence[int]

_PROBE = "a"  # a text of at least one token, to see what the tokenizer puts around it


@dataclass(frozen=True)
class TokenText:
    """Token ids, special tokens included. second: the place from which tokens are of segment 1, the number of tokens
    where there is none."""

    tokens: Sequence[int]
    second: int


@dataclass(frozen=True)
class TextTemplate:
    """The tokens that a model wants around a text, and between the texts of a pair. segments: of the model."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    segments: int

    @classmethod
    def of(cls, model: EngineModel) -> TextTemplate:
        """As the tokenizer's file has it; between two texts stands what the metadata say (docs/format.md,
        `pair.between`), else what ends a text."""
        plain, whole = (tuple(model.tokenize(_PROBE, special=special)) for special in (False, True))
        n_extra = len(whole) - len(plain)
        first = next((at for at in range(n_extra + 1) if whole[at : at + len(plain)] == plain), n_extra)
        before, after = whole[:first], whole[first + len(plain) :]
        info = model.encoder_info
        return cls(before, after if info.between is None else info.between, after, info.segments)

    def one(self, text: Sequence[int]) -> TokenText:
        """A text of its own, given without special tokens."""
        tokens = (*self.before, *text, *self.after)
        return TokenText(tokens, len(tokens))

    def pair(self, first: Sequence[int], second: Sequence[int]) -> TokenText:
        """Two texts, the second in segment 1 where the model has such a segment."""
        start = (*self.before, *first, *self.between)
        tokens = (*start, *second, *self.after)
        return TokenText(tokens, len(start) if self.segments > 1 else len(tokens))


def _shortened(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """Both together at most `room` tokens: the longer one loses its end first, as in transformers."""
    over = max(len(first) + len(second) - room, 0)
    gap = len(first) - len(second)
    from_longer = min(over, abs(gap))
    both = over - from_longer
    cut_first = (from_longer if gap > 0 else 0) + both // 2
    cut_second = (from_longer if gap < 0 else 0) + both - both // 2
    return first[: len(first) - cut_first], second[: len(second) - cut_second]


class TextReader:
    """Makes tokens of texts for one model. Any thread."""

    def __init__(self, model: EngineModel) -> None:
        self._model = model
        self._context = model.encoder_info.context
        self._found: TextTemplate | None = None

    @property
    def _template(self) -> TextTemplate:
        if self._found is None:  # a model without a tokenizer takes lists of tokens
            self._found = TextTemplate.of(self._model)
        return self._found

    def read(self, text: Text, *, cut: bool = False, prefix: str = "", parse_special: bool = False) -> TokenText:
        """cut: a text that is too long loses its end, and keeps the special tokens behind it. prefix: put before a text
        (of a pair before the first). Raises OptionError for what is no text and for tokens that the model has not,
        ContextFull for one that is too long."""
        if isinstance(text, str):
            plain = self._tokens(prefix + text, parse_special)
            room = self._context - len(self._template.before) - len(self._template.after)
            return self._checked(self._template.one(plain[: max(room, 0)] if cut else plain))
        if isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text):
            return self._checked(self._pair(prefix + str(text[0]), str(text[1]), cut, parse_special))
        return self._checked(self._given(text, cut))  # type: ignore[arg-type]

    def _tokens(self, text: str, parse_special: bool) -> list[int]:
        return self._model.tokenize(text, special=False, parse_special=parse_special)

    def _pair(self, first: str, second: str, cut: bool, parse_special: bool) -> TokenText:
        a, b = self._tokens(first, parse_special), self._tokens(second, parse_special)
        template = self._template
        room = self._context - len(template.before) - len(template.between) - len(template.after)
        return template.pair(*(_shortened(a, b, max(room, 0)) if cut else (a, b)))

    def _given(self, text: Sequence[int], cut: bool) -> TokenText:
        """Tokens are taken as they are; cutting keeps the last one."""
        vocabulary = self._model.info.vocabulary
        good = not isinstance(text, (str, bytes)) and all(_is_token(token, vocabulary) for token in text)
        require(good, f"a text is a str, a pair of str, or token ids below {vocabulary}")
        tokens = tuple(int(token) for token in text)
        if cut and len(tokens) > self._context:
            tokens = (*tokens[: self._context - 1], tokens[-1])
        return TokenText(tokens, len(tokens))

    def _checked(self, text: TokenText) -> TokenText:
        require(len(text.tokens) > 0, "a text has no tokens; give at least one")
        if len(text.tokens) > self._context:
            raise ContextFull(
                f"it has {len(text.tokens)} tokens, and this model takes at most {self._context}; shorten it, or cut it"
            )
        return text


def _is_token(token: object, vocabulary: int) -> bool:
    try:
        return not isinstance(token, (str, float)) and 0 <= int(token) < vocabulary  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return False


def read_all(
    reader: TextReader, texts: Iterable[Text], *, cut: bool = False, prefix: str = "", parse_special: bool = False
) -> list[TokenText]:
    """Texts by TextReader.read(); its errors name the text that is meant, the first one 1."""
    found = []
    for number, text in enumerate(texts, 1):
        try:
            found.append(reader.read(text, cut=cut, prefix=prefix, parse_special=parse_special))
        except ContextFull as error:
            raise ContextFull(f"text {number}: {error}", error.most) from None
    return found
