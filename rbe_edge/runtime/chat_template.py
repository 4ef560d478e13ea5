"""Turns a conversation into the text that a model continues: by its own Jinja template, or else as it was said."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rbe_edge.errors import TemplateError
from rbe_edge.runtime.marked_text import mark, said, unmark

if TYPE_CHECKING:
    from rbe_edge.runtime.engine_model import EngineModel

_TEMPLATE_NAME = "<template>"  # jinja2's name for a template made from a string
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")
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

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        """special_tokens: `bos_token`, `eos_token` and the like, as text. Raises TemplateError for a malformed one."""
        from rbe_edge.runtime.template_sandbox import BoundedEnvironment
        from rbe_edge.runtime.template_tree import MAX_SOURCE
        from rbe_edge.runtime.template_values import own

        if len(source) > MAX_SOURCE:
            raise TemplateError(f"the chat template has {len(source)} characters, which is too many; {_HINT}")
        self._special_tokens = {name: own(text) for name, text in (special_tokens or {}).items()}
        self._environment = BoundedEnvironment()
        with _OneLine("is malformed"), self._environment.bounded():
            self._template = self._environment.from_string(source)
            #: whether it says anything of tools
            self.takes_tools = re.search(r"\btools\b", source) is not None
            #: whether it says anything of a model's thoughts
            self.knows_thoughts = re.search(r"<think>|\benable_thinking\b", source) is not None

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, object]] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> str:
        """The text up to where the assistant's next words begin, or without their beginning. tools: as OpenAI describes
        functions. Any number of threads may render at the same time. Raises TemplateError."""
        return unmark(self.render_marked(messages, tools, add_generation_prompt=add_generation_prompt))

    def render_marked(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, object]] | None = None,
        *,
        add_generation_prompt: bool = True,
        more: Mapping[str, object] | None = None,
    ) -> str:
        """The same, for prompt_tokens(): the template's own words told from what was said (marked_text). more: further
        variables of the template, such as `enable_thinking`; those above win."""
        from rbe_edge.runtime.template_values import marked

        with _OneLine("failed"), self._environment.bounded():
            variables = {
                **{name: self._environment.given(value) for name, value in (more or {}).items()},
                **self._special_tokens,
                "messages": self._environment.given([_seen(message) for message in messages]),
                "add_generation_prompt": add_generation_prompt,
                "tools": self._environment.given(tools) if tools else None,
                "documents": None,
            }
            return marked(self._template.render(variables))


def _seen(message: Message) -> dict[str, object]:
    """A message as transformers shows it to a template (chat_template_utils): without what is None, and with thoughts
    under the names that templates look for."""
    fields = {"role": message.role, "content": message.content, **message.fields}
    fields |= {"role": message.role, "content": message.content}
    fields = {key: value for key, value in fields.items() if value is not None}
    thought = next((fields[name] for name in _THOUGHTS if name in fields), None)
    return fields if thought is None else {"thinking": thought, **fields, "reasoning_content": thought}


WITHOUT_TEMPLATE = (
    "this model has no chat template, so it continues what you say instead of answering; "
    "--chat-template-file gives it one"
)


class PlainTemplate:
    """For a model without a template of its own: it continues the text so far. That is all that was said, unchanged.
    The model's own words follow at once; what anybody else adds begins on a new line."""

    takes_tools = knows_thoughts = False

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, object]] | None = None,
        *,
        add_generation_prompt: bool = True,
        more: Mapping[str, object] | None = None,
    ) -> str:
        """Only `messages` says anything here."""
        parts = [message.content if message.role == "assistant" else f"\n{message.content}" for message in messages[1:]]
        return "".join([*(message.content for message in messages[:1]), *parts])

    #: it writes no control tokens
    render_marked = render


def with_beginning(prompt: str, answer: str) -> str:
    """What a model reads to go on with an answer. prompt: as render_marked() writes it, with the generation prompt.
    answer: what it has said so far. A thought that the prompt opens is closed: what was said came behind it."""
    thinks = unmark(prompt[-20:]).rstrip().endswith("<think>")
    return prompt + (mark("\n</think>\n\n") if thinks else "") + said(answer)


def template_of(model: EngineModel, source: str | None = None) -> ChatTemplate | PlainTemplate:
    """The template of a model: `source` where given, else that of the file, else a plain one."""
    found = model.metadata.get("chat_template") if source is None else source
    if not isinstance(found, str) or not found:
        return PlainTemplate()
    keys = ("bos_token", "eos_token")
    return _compiled(found, tuple((key, value) for key in keys if isinstance(value := model.metadata.get(key), str)))


@functools.lru_cache(maxsize=8)
def _compiled(source: str, special_tokens: tuple[tuple[str, str], ...]) -> ChatTemplate:
    """Compiling takes as long as rendering some conversations, and each Model.chat() asks for the template anew."""
    return ChatTemplate(source, dict(special_tokens))


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
        error.__traceback__ = None  # its frames hold what the template has made
        where = f" at line {line}" if line else ""
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise TemplateError(f"the chat template {self._what}{where}: {reason}; {_HINT}") from None


def _line_in_template(traceback: Any) -> int | None:
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == _TEMPLATE_NAME:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
