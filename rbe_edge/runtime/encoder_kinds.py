"""What kind of encoder a model is, or that it answers to one, for a person, and which commands it is for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.errors import ModelError

if TYPE_CHECKING:
    from rbe_edge.runtime.engine_model import EngineModel

SENTENCES = "sentence encoder"
CROSS = "cross encoder"
CLASSES = "classifier"
WORDS = "masked-word encoder"
STATES = "encoder"
ANSWERS = "encoder-decoder"

_COMMANDS = {
    SENTENCES: "rbe embed, rbe index and rbe search",
    CROSS: "rbe search --rerank",
    CLASSES: "rbe eval --glue",
    WORDS: "rbe fill",
    STATES: "rbe embed --pooling mean",
    ANSWERS: "rbe run",
}


def kind_of(model: EngineModel) -> str | None:
    """One of the kinds above; None for a decoder, unless it was trained for embeddings. An encoder-decoder writes text
    too, to a single text."""
    info = model.encoder_info
    if model.encoder_decoder is not None:
        return ANSWERS
    if info.is_classes:
        return CROSS if info.ranks else CLASSES
    if info.embeds:
        return SENTENCES
    if not info.is_encoder:
        return None
    return WORDS if info.has_word_head else STATES


def what_it_is(kind: str) -> str:
    """Of a kind above, for a person: 'a sentence encoder, for rbe embed, ...'."""
    return f"{with_article(kind)}, for {_COMMANDS[kind]}"


def with_article(kind: str) -> str:
    """'a sentence encoder'."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def check_writes(model: EngineModel) -> None:
    """Raises ModelError for an encoder, which says what to do with it. A decoder writes text, whatever it was trained
    for."""
    kind = kind_of(model)
    if kind is not None and model.encoder_info.is_encoder:
        raise ModelError(f"{model.info.path} writes no text: it is {what_it_is(kind)}")


def check_converses(model: EngineModel) -> None:
    """Raises ModelError for a model that holds no conversation: an encoder, and one that answers to a single text."""
    check_writes(model)
    if model.encoder_decoder is not None:
        raise ModelError(
            f"{model.info.path} answers to one text at a time and holds no conversation; ask it with rbe run"
        )


def kind_of_file(path: Path) -> str | None:
    """kind_of() a `.rbe` file, which is opened for a moment. Raises ModelError."""
    from rbe_edge.runtime.engine_model import EngineModel

    with EngineModel.open(path, verify=False) as model:
        return kind_of(model)


def try_it(name: str, path: Path) -> str:
    """A command to begin with, for the model `name` in a file. Raises ModelError."""
    kind = kind_of_file(path)
    examples = {
        None: f"rbe chat {name}",
        ANSWERS: f'rbe run {name} -p "summarize: ..."',
        SENTENCES: f'rbe embed {name} "A dog plays." "A puppy runs." --table',
        CROSS: f"rbe search INDEX QUERY --rerank {name}",
        CLASSES: f"rbe eval {name} --glue TASK FILE",
        WORDS: f'rbe fill {name} "Paris is the [MASK] of France."',
        STATES: f'rbe embed {name} "A dog plays." "A puppy runs." --table --pooling mean',
    }
    return examples[kind]
