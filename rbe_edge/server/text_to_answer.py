"""What an encoder-decoder reads of a conversation: such models know no turns and have no template."""

from __future__ import annotations

from rbe_edge.server.api_error import wrong
from rbe_edge.server.chat_request import ChatRequest


def text_to_answer(request: ChatRequest) -> str:
    """What the system says and the last message of the user, with a space between them. A task stands before its text
    that way: "translate English to German:". Raises ApiError where nothing is asked, and for tools."""
    if request.tools:
        raise wrong("tools", "an encoder-decoder calls no tools; leave `tools` out, or name another model")
    asked = [message.content for message in request.messages if message.role == "user"]
    if not asked:
        raise wrong("messages", "an encoder-decoder answers to the user's last message, and there is none")
    said = [message.content for message in request.messages if message.role == "system"]
    return " ".join(text for text in [*said, asked[-1]] if text)
