"""The calibration text as a chat model meets it: in conversations, written by the model's own template.

Half of what calibrates a model with a chat template is of this form (docs/codec.md, "Error feedback"). Paragraphs are
asked and answered in turn; what they say does not matter, what stands around them does.
"""

from __future__ import annotations

from collections.abc import Sequence

from rbe_edge.errors import TemplateError
from rbe_edge.runtime.chat_template import Message, template_of
from rbe_edge.runtime.marked_text import is_marked
from rbe_edge.runtime.model import Model

_LONGEST = 2000  # characters of a message: a text without paragraphs makes several


def conversation_tokens(model: Model, text: str, n_tokens: int) -> list[int]:
    """Conversations of one question and one answer, one after the other, n_tokens at most; none for a model without
    a chat template, or whose template fails on them."""
    if not model.metadata.get("chat_template"):
        return []
    found: list[int] = []
    said = _messages(text)
    try:
        template = template_of(model)
        for question, answer in zip(said[0::2], said[1::2], strict=False):
            messages = [Message("user", question), Message("assistant", answer)]
            written = template.render_marked(messages, add_generation_prompt=False)
            found += model.tokenize(written, special=False, parse_special=is_marked(written))
            if len(found) >= n_tokens:
                break
    except TemplateError:
        return []
    return found[:n_tokens]


def _messages(text: str) -> Sequence[str]:
    paragraphs = [part.strip() for part in text.split("\n\n")]
    cut = [part[at : at + _LONGEST] for part in paragraphs for at in range(0, len(part), _LONGEST)]
    return [part for part in cut if part.strip()]
