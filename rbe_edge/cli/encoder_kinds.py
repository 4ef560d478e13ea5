"""What kind of encoder a model is, for a person, and which commands it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rbe_edge.errors import ModelError

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model

SENTENCES, CROSS, CLASSES, WORDS, STATES = (
    "sentence encoder", "cross encoder", "classifier", "masked-word encoder", "encoder",
)  # fmt: skip

_COMMANDS = {
    SENTENCES: "rbe embed, rbe index and rbe search",
    CROSS: "rbe search --rerank",
    CLASSES: "rbe eval --glue",
    WORDS: "rbe fill",
    STATES: "rbe embed --pooling mean",
}


def kind_of(model: Model) -> str | None:
    """One of the kinds above; None for a decoder, which writes text."""
    info = model.encoder_info
    if info.is_encoder and info.is_classes:
        return CROSS if info.pooled == 1 else CLASSES
    if info.is_encoder and info.has_word_head:
        return WORDS
    if info.is_encoder:
        return SENTENCES if info.pooled else STATES
    return None


def check_writes(model: Model) -> None:
    """Raises ModelError for an encoder, which says what to do with it."""
    kind = kind_of(model)
    if kind is not None:
        article = "an" if kind[0] in "aeiou" else "a"
        raise ModelError(f"{model.info.path} is {article} {kind} and writes no text; it is for {_COMMANDS[kind]}")
