"""The tokens of a model as llguidance wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rbe_edge.errors import MissingExtra

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model


class _Words:
    """What llguidance.TokenizerWrapper reads of a tokenizer."""

    def __init__(self, tokens: list[bytes], special: list[int]) -> None:
        self.tokens = tokens
        self.special_token_ids = special
        self.eos_token_id = special[0]
        self.bos_token_id = None

    def __call__(self, text: object) -> list[int]:
        return []  # nothing is tokenized, because grammars force no tokens


class Vocabulary:
    """The bytes of a model's tokens. Immutable: any thread."""

    def __init__(self, model: Model) -> None:
        """Takes about a second for 150,000 tokens. Raises MissingExtra without llguidance."""
        try:
            import llguidance
        except ImportError:
            raise MissingExtra(
                "answers in a format need llguidance, which is built for 64-bit processors; "
                "install it: pip install 'rbe-edge[server]'"
            ) from None
        self.size = model.info.vocabulary
        known = range(min(model.tokenizer_size, self.size))
        self.texts = [model.token_bytes(token) for token in known] + [b""] * (self.size - len(known))
        ends = [token for token in known if model.ends_text(token)]
        self.ends = frozenset(ends)
        self.of_text = {text: token for token, text in reversed(list(enumerate(self.texts))) if text}
        for end in ends:  # their text, where they have one, is no part of an answer
            self.of_text.pop(self.texts[end], None)
        self.bytes_known = frozenset(text[0] for text in self.of_text if len(text) == 1)
        self.longest = max(map(len, self.texts), default=0)
        words = [*self.texts, b"<end>"]
        for end in ends:
            words[end] = b"<end%d>" % end
        special = ends or [self.size]  # one that no model draws
        wrapped = llguidance.TokenizerWrapper(_Words(words, special))
        self.tokenizer = llguidance.LLTokenizer(wrapped, eos_token=special)
        self.bytes_tokenizer = llguidance.LLTokenizer("byte", slices=[])

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
            at += len(self.texts[token])
            count += 1
        return count
