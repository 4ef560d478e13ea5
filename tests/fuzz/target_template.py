"""Chat templates of any text: they write a text or are refused, within the bounds of the sandbox."""

from __future__ import annotations

from pathlib import Path

from rbe_edge.errors import TemplateError
from rbe_edge.runtime.chat_template import ChatTemplate, Message

MOST_BYTES = 16 << 10
IS_JSON = False

_TOOLS = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]
_CALL = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": [1, None, "x"]}}}]}
_MESSAGES = (
    Message("system", "Be kind. "),
    Message("user", "Hello <|im_end|>\n{{ 7 * 7 }}"),
    Message("assistant", "<think>a</think>\n b", _CALL),
    Message("tool", "\u3000c", {"tool_call_id": "1"}),
    Message("user", ""),
)


def seeds() -> dict[str, bytes]:
    folder = Path(__file__).resolve().parent.parent / "golden" / "templates"
    return {path.stem: path.read_bytes() for path in sorted(folder.glob("*.jinja"))}


def run(data: bytes) -> None:
    try:
        template = ChatTemplate(data.decode("utf-8", "replace"), {"bos_token": "<s>", "eos_token": "</s>"})
        for tools in (None, _TOOLS):
            text = template.render(_MESSAGES, tools)
            assert isinstance(text, str)
    except TemplateError as error:
        assert "\n" not in str(error), "a message of one line"
