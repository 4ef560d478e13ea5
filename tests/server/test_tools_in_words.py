"""Tools where a model's template has no place for them, and what a model thinks before it answers."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_tools import Running, running

from rbe_edge.runtime.chat_template import Message
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SamplingOptions, SessionOptions
from rbe_edge.runtime.sampler import Sampler
from rbe_edge.server.blocks import Blocks
from rbe_edge.server.tool_calls import Thought, ThoughtReader, Tool, ToolCall, ToolCallReader, WordReader, free_grammar
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
    system, first, calls, results = in_words(history, [TOOL])
    assert system.content.startswith("Be brief.\n\n") and '"name": "add"' in system.content
    assert first == history[1]
    written = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
    assert calls.content == f"Wait.\n{written}\n{written}" and calls.fields == {"reasoning_content": "hm"}
    assert (results.role, results.fields) == ("user", {})
    assert results.content == "<tool_response>\n2\n</tool_response>\n<tool_response>\n3\n</tool_response>\nSo?"
    found = ToolCallReader()
    read = [part for part in [*found.push(calls.content), *found.finish()] if isinstance(part, ToolCall)]
    assert [(call.name, json.loads(call.arguments)) for call in read] == [("add", {"a": 1})] * 2
    assert in_words([Message("user", "x")], []) == [Message("user", "x")]
    assert [message.role for message in in_words([Message("user", "x")], [TOOL])] == ["system", "user"]
    (alone,) = in_words([Message("user", "x")], [TOOL], has_system=False)
    assert alone.role == "user" and alone.content.endswith("\n\nx") and '"name": "add"' in alone.content


def test_a_template_that_takes_no_system_message(model: Model) -> None:
    """Such as Gemma 2's: the functions stand in the user's words."""
    httpx = pytest.importorskip("httpx")
    template = (
        "{% for m in messages %}"
        "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns by turns') }}{% endif %}"
        "[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    tools = [{"type": "function", "function": {"name": "add"}}]
    history = [
        {"role": "user", "content": "1?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{**CALL, "function": {"name": "add", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "2"},
        {"role": "user", "content": "So?"},
    ]
    with running(model, slots=1, template=template) as server:
        prompt = httpx.post(server.url + "/apply-template", json={"messages": history, "tools": tools}).json()["prompt"]
        assert prompt.startswith("[user]You can call functions") and prompt.count("[user]") == 2
        refused = httpx.post(server.url + "/apply-template", json={"messages": [{"role": "system", "content": "x"}]})
        assert refused.status_code == 400 and "System role" in refused.json()["error"]["message"]


def test_tools_are_offered_in_words(server: Running) -> None:
    """The demo's template has no place for them; without a call its answer is text as ever."""
    httpx = pytest.importorskip("httpx")
    tools = [{"type": "function", "function": {"name": "add", "parameters": dict(TOOL.parameters)}}]
    body = {"messages": [{"role": "user", "content": "Hello!"}], "tools": tools, "max_tokens": 30, "temperature": 0}
    choice = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=60).json()["choices"][0]
    assert choice["message"]["content"] and "tool_calls" not in choice["message"]
    prompt = httpx.post(server.url + "/apply-template", json=body).json()["prompt"]
    assert "<|im_start|>system\nYou can call functions" in prompt and '"name": "add"' in prompt


@pytest.mark.parametrize("before", ["", "Well:\n", "a < b, "])
def test_what_begins_as_a_call_is_one(model: Model, before: str) -> None:
    """Random logits behind the opening: still a call that fits the schema comes, within the tokens that are left."""
    pytest.importorskip("llguidance")
    from rbe_edge.grammar.constraint import CompiledGrammar, Constraint
    from rbe_edge.grammar.vocabulary import Vocabulary

    vocabulary = Vocabulary(model)
    compiled = CompiledGrammar(vocabulary, free_grammar((TOOL, Tool("now", "", {"type": "object", "properties": {}}))))
    for seed in range(4):
        constraint, said, random = Constraint(compiled), b"", np.random.default_rng(seed)
        for begun in model.tokenize(f"{before}<tool_call>", special=False):
            constraint.accept(begun)
            said += vocabulary.texts[begun]
        with Sampler(vocabulary.size, SamplingOptions(temperature=1.0, seed=seed)) as sampler:
            for remaining in range(120, 0, -1):
                logits = random.normal(0, 2, vocabulary.size).astype(np.float32)
                token = constraint.draw(logits, sampler, remaining)
                if token is None or token in vocabulary.ends or b"</tool_call>" in said:
                    break
                constraint.accept(token)
                said += vocabulary.texts[token]
        reader = ToolCallReader()
        parts = [*reader.push(said.decode("utf-8", "replace")), *reader.finish()]
        (call,) = [part for part in parts if isinstance(part, ToolCall)]
        arguments = json.loads(call.arguments)
        assert (call.name == "add" and type(arguments["a"]) is int) or (call.name == "now")
        assert "".join(part for part in parts if isinstance(part, str)).startswith(before)


PIECES = st.sampled_from(["<think>", "</think>", "<thi", "nk>", "a", " ", "\n", "<", "b</t"])


@given(st.lists(PIECES, max_size=8), st.data())
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
