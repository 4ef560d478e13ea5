"""Prompts that ask for what stands between two texts, for models that were trained on such (Bavarian et al., "Efficient
Training of Language Models to Fill in the Middle", 2022): prefix, suffix, then the middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model

#: How published vocabularies write the tokens before prefix, suffix and middle: Qwen and CodeGemma, StarCoder and
#: Granite, CodeLlama, DeepSeek.
_TOKENS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)
_FILES = ("<|file_sep|>", "<file_sep>")


@dataclass(frozen=True)
class OtherFile:
    """A text that stands before, such as another file of the same program."""

    name: str
    text: str


@dataclass(frozen=True)
class Gap:
    """What the answer goes between. begun: the beginning of the answer."""

    prefix: str
    suffix: str
    begun: str = ""
    others: Sequence[OtherFile] = ()

    @property
    def characters(self) -> int:
        others = sum(len(other.name) + len(other.text) for other in self.others)
        return len(self.prefix) + len(self.suffix) + len(self.begun) + others


def middle_tokens(model: Model) -> tuple[int, int, int] | None:
    """Those before prefix, suffix and middle; None where the model does not have all three."""
    for texts in _TOKENS:
        prefix, suffix, middle = (model.token_id(text) for text in texts)
        if prefix is not None and suffix is not None and middle is not None:
            return prefix, suffix, middle
    return None


def gap_prompt(model: Model, gap: Gap) -> list[int] | None:
    """Token ids up to where the middle begins; None where the model cannot do it. Control tokens that are written out
    in the texts stay text."""
    tokens = middle_tokens(model)
    if tokens is None:
        return None
    file = next((token for text in _FILES if (token := model.token_id(text)) is not None), None)
    found = model.tokenize("")  # what the model wants at the start
    for other in gap.others:
        head = [] if file is None else [file, *model.tokenize(f"{other.name}\n", special=False)]
        found += [*head, *model.tokenize(f"{other.text}\n", special=False)]
    texts = (gap.prefix, gap.suffix, gap.begun)
    for token, text in zip(tokens, texts, strict=True):
        found += [token, *(model.tokenize(text, special=False) if text else [])]
    return found
