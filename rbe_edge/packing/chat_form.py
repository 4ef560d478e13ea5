"""A chat form: what a template writes, as a table that the C library reads (docs/format.md, "Chat forms")."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rbe_edge import _native
from rbe_edge.errors import TemplateError
from rbe_edge.runtime.chat_template import Message

ROLES = ("system", "user", "assistant")
TRIMS = ("as-is", "strip", "left", "right", "newlines", "left-newlines")
MOST_NEVER = 32


@dataclass(frozen=True)
class Step:
    """text: what stands between two contents, escaped. trim: of the content behind it, one of TRIMS; "" at the end."""

    text: str
    trim: str = ""


@dataclass(frozen=True)
class ChatForm:
    """steps: by what is before and what is behind: `start` or a role; a role, `prompt` or `end`. thoughts: where an
    assistant's content begins: behind the last of these words, trimmed. never: words that no content may hold.
    template_hash: 0 for a style that is of no template in particular."""

    steps: Mapping[tuple[str, str], Step] = field(default_factory=dict, hash=False)
    thoughts: tuple[str, str] | None = None
    never: tuple[str, ...] = ()
    template_hash: int = 0

    def __str__(self) -> str:
        lines = [f"template {self.template_hash:016x}"] if self.template_hash else []
        lines += [f"never {escaped(word)}" for word in self.never]
        if self.thoughts is not None:
            lines.append(f"thoughts {self.thoughts[1]} {escaped(self.thoughts[0])}")
        for (before, behind), step in self.steps.items():
            lines.append(" ".join([before, behind, *([step.trim] if step.trim else []), step.text]))
        return "\n".join(lines) + "\n"

    def with_step(self, before: str, behind: str, step: Step) -> ChatForm:
        return replace(self, steps={**self.steps, (before, behind): step})


def escaped(text: str) -> str:
    """A text as it stands in a form."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def template_hash(template: str) -> int:
    """64-bit FNV-1a of its UTF-8."""
    value = 0xCBF29CE484222325
    for byte in template.encode("utf-8", "surrogatepass"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def refusal(template: str, reason: str) -> str:
    """The form that says why nothing is proven of a template."""
    words = " ".join(reason.encode("ascii", "backslashreplace").decode().split())
    return f"template {template_hash(template):016x}\nnone {words[:400]}\n"


def style_of(template: str) -> str | None:
    """What the C library takes a template for without a form; None where it does not know it."""
    raw = template.encode("utf-8", "surrogatepass")
    found = ctypes.c_char_p()
    lib = _native.library()
    known = lib.rbe_chat_detect(raw, len(raw), ctypes.byref(found)) == _native.OK
    return found.value.decode() if known and found.value else None


def written(
    template: str, form: str, special_tokens: Mapping[str, str], messages: Sequence[Message], prompt: bool
) -> bytes:
    """What the C library writes of a conversation, marked; by the form, or where it is empty by the template's text.
    Raises TemplateError for what it refuses."""
    raw = [(message.role.encode(), message.content.encode()) for message in messages]
    entries = (_native.ChatMessage * len(raw))()
    for entry, (role, content) in zip(entries, raw, strict=True):
        entry.role, entry.content, entry.content_bytes = role, content, len(content)
    jinja, table = template.encode("utf-8", "surrogatepass"), form.encode()
    options = _native.ChatOptions(
        struct_bytes=ctypes.sizeof(_native.ChatOptions),
        jinja=jinja,
        jinja_bytes=len(jinja),
        bos=special_tokens.get("bos_token", "").encode(),
        eos=special_tokens.get("eos_token", "").encode(),
        add_generation_prompt=int(prompt),
        mark=1,
        form=table,
        form_bytes=len(table),
    )
    n_bytes = ctypes.c_size_t(1 << 14)
    while True:
        room = n_bytes.value
        out = ctypes.create_string_buffer(room)
        status = _native.library().rbe_chat_format(
            ctypes.byref(options), entries, len(raw), out, room, ctypes.byref(n_bytes)
        )
        if status != _native.ERROR_CAPACITY:
            _native.check(status, TemplateError)
            return out.raw[: n_bytes.value]
