"""Tools where a model's template has no place for them, and what a model thinks before it answers."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_tools import Running

from rbe_edge.runtime.chat_template import Message
from rbe_edge.runtime.model import Model
from rbe_edge.server.blocks import Blocks
from rbe_edge.server.tool_calls import Thought, ThoughtReader, Tool, ToolCall, ToolCallReader, WordReader
from rbe_edge.server.tools_in_words import in_words

TOOL = Tool("add", "Adds", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def test_a_conversation_in_words() -> None:
    history = [
        Message("system", "Be brief."),
        Message("user", "1?"),
        Message("assistant", "Wait.", {"tool_calls": [CALL, CALL], "reasoning_content": "hm"}),
        Message("tool", "2", {"tool_call_id": "x"}),
        Message("tool", "3"),
        Message("user", "So?"),
    ]
    system, first, calls, results, last = in_words(history, [TOOL])
    assert system.content.startswith("Be brief.\n\n") and '"name": "add"' in system.content
    assert (first, last) == (history[1], history[5])
    written = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert calls.content == f"Wait.\n{written}\n{written}" and calls.fields == {"reasoning_content": "hm"}
    assert (results.role, results.fields) == ("user", {})
    assert results.content == "<tool_response>\n2\n</tool_response>\n<tool_response>\n3\n</tool_response>"
    found = ToolCallReader()
    read = [part for part in [*found.push(calls.content), *found.finish()] if isinstance(part, ToolCall)]
    assert [(call.name, json.loads(call.arguments)) for call in read] == [("add", {"a": 1})] * 2
    assert in_words([Message("user", "x")], []) == [Message("user", "x")]
    assert [message.role for message in in_words([Message("user", "x")], [TOOL])] == ["system", "user"]


def test_what_the_model_writes_as_a_call_is_one(server: Running) -> None:
    """The demo knows no tools. Its bytes are pushed to a call, which then can be nothing else."""
    httpx = pytest.importorskip("httpx")
    tools = [{"type": "function", "function": {"name": "add", "parameters": dict(TOOL.parameters)}}]
    body = {"messages": [{"role": "user", "content": "Hello!"}], "tools": tools, "max_tokens": 120, "temperature": 0}
    free = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=60).json()["choices"][0]
    assert free["message"]["content"] and "tool_calls" not in free["message"]
    tokens = httpx.post(server.url + "/tokenize", json={"content": "<tool_call>", "parse_special": False}).json()[
        "tokens"
    ]
    pushed = {**body, "logit_bias": {str(token): 30 for token in set(tokens)}}
    choice = httpx.post(server.url + "/v1/chat/completions", json=pushed, timeout=60).json()["choices"][0]
    calls = choice["message"].get("tool_calls", [])
    if "<tool_call>" in (choice["message"]["content"] or "") or calls:
        assert calls and set(json.loads(calls[0]["function"]["arguments"])) == {"a"}


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<thi", "nk>", "a", " ", "\n", "<", "b</t"]), max_size=8),
    st.data(),
)
def test_thoughts_and_words_in_any_pieces(parts: list[str], data: st.DataObject) -> None:
    """However the text comes in pieces, the same thoughts and words are found, and nothing is lost but the tags."""
    text = "".join(parts)
    opened = data.draw(st.booleans())

    def read(pieces: list[str]) -> tuple[str, str]:
        reader = ThoughtReader(WordReader(), opened)
        found = [*itertools.chain.from_iterable(map(reader.push, pieces)), *reader.finish()]
        thought = "".join(part.text for part in found if isinstance(part, Thought))
        return thought, "".join(part for part in found if isinstance(part, str))

    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    thought, words = read(pieces)
    assert (thought, words) == read([text])
    if opened or text.lstrip().startswith("<think>"):
        inside = text if opened else text.lstrip().removeprefix("<think>")
        expected = inside.partition("</think>")
        assert (thought, words) == (expected[0], expected[2])
    else:
        assert (thought, words) == ("", text)


def test_blocks() -> None:
    call = ToolCall("x", "add", "{}")
    blocks = Blocks()
    found = [*blocks.split(["\n", call, "\n", call, "\n\n"]), *blocks.split(["so", " it", Thought("hm"), ""])]
    assert found == [(True, call), (True, call), (True, "\n\nso"), (False, " it"), (True, Thought("hm"))]


def test_the_prompt_that_opens_a_thought(model: Model) -> None:
    from rbe_edge.runtime.options import SamplingOptions, SessionOptions
    from rbe_edge.server.chat_request import ChatRequest, Request
    from rbe_edge.server.service import Service, ServiceOptions

    base = Request(1, False, False, 4, SamplingOptions(), (), None)
    wanted = ChatRequest(base, (Message("user", "x"),), (), None, "")
    for template, opens in (("a<think>\n", True), ("a<think> ", True), ("<think>a", False), ("a", False)):
        service: Any = Service(model, SessionOptions(threads=1), ServiceOptions(slots=1, template=template))
        try:
            assert service.opens_thought(service.chat_jobs(wanted)[0]) is opens
        finally:
            service.close()
