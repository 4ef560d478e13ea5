"""Turns a conversation into the text that a model was trained to continue: its own Jinja template, or a plain one."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rbe_edge.errors import TemplateError
from rbe_edge.runtime.marked_text import mark, said, unmark

if TYPE_CHECKING:
    from rbe_edge.runtime.engine_model import EngineModel

_TEMPLATE_NAME = "<template>"  # jinja2's name for a template made from a string
_HINT = "give another template (`--chat-template-file`)"


@dataclass(frozen=True)
class Message:
    """One turn's half: role is `system`, `user` or `assistant`, or `tool` for what a tool gave. fields: what else the
    template is to see of it, such as `tool_calls`."""

    role: str
    content: str
    fields: Mapping[str, object] = field(default_factory=dict, hash=False)


class ChatTemplate:
    """A model's own template. Rendering is bounded in time and size (template_sandbox): it may come from anywhere."""

    stops: tuple[str, ...] = ()

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        """special_tokens: `bos_token`, `eos_token` and the like, as text. Raises TemplateError for a malformed one."""
        from rbe_edge.runtime.template_sandbox import MAX_WEIGHT, BoundedEnvironment

        if len(source) > MAX_WEIGHT:
            raise TemplateError(f"the chat template has {len(source)} characters, which is too many; {_HINT}")
        self._special_tokens = {name: mark(text) for name, text in (special_tokens or {}).items()}
        self._environment = BoundedEnvironment()
        self._lock = threading.Lock()  # the environment counts for one rendering at a time
        with self._lock, _OneLine("is malformed"):
            self._environment.restart()
            self._template = self._environment.from_string(source)
            #: whether it says anything of tools
            self.takes_tools = re.search(r"\btools\b", source) is not None

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, object]] | None = None) -> str:
        """The text up to where the assistant's next words begin. tools: as OpenAI describes functions. Raises
        TemplateError."""
        text: str = unmark(self.render_marked(messages, tools))
        return text

    def render_marked(self, messages: Sequence[Message], tools: Sequence[Mapping[str, object]] | None = None) -> str:
        """The same, for prompt_tokens(): the template's own words told from what was said (marked_text)."""
        with self._lock, _OneLine("failed"):
            variables = {
                **self._special_tokens,
                "messages": [
                    said({**message.fields, "role": message.role, "content": message.content}) for message in messages
                ],
                "add_generation_prompt": True,
                "tools": said(list(tools)) if tools else None,
                "documents": None,
            }
            self._environment.restart()
            return self._template.render(variables)


class PlainTemplate:
    """For a model without a template of its own: names before the words, as in a written dialogue."""

    stops = ("\nUser:",)
    takes_tools = False

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, object]] | None = None) -> str:
        names = {"user": "User: ", "assistant": "Assistant: "}
        lines = [names.get(message.role, "") + message.content.strip() for message in messages]
        return "\n".join([*lines, "Assistant:"])

    #: it writes no control tokens
    render_marked = render


def template_of(model: EngineModel, source: str | None = None) -> ChatTemplate | PlainTemplate:
    """The template of a model: `source` where given, else that of the file, else a plain one."""
    found = model.metadata.get("chat_template") if source is None else source
    if not isinstance(found, str) or not found:
        return PlainTemplate()
    keys = ("bos_token", "eos_token")
    return ChatTemplate(found, {key: value for key in keys if isinstance(value := model.metadata.get(key), str)})


class _OneLine:
    """Turns whatever goes wrong inside a template into a TemplateError of one line."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not isinstance(error, Exception):
            return
        line = getattr(error, "lineno", None) or _line_in_template(error.__traceback__)
        where = f" at line {line}" if line else ""
        reason = " ".join(unmark(str(error)).split())[:200] or type(error).__name__
        raise TemplateError(f"the chat template {self._what}{where}: {reason}; {_HINT}") from None


def _line_in_template(traceback: Any) -> int | None:
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _TEMPLATE_NAME:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
