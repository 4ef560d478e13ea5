"""The endpoints through the official client."""

from __future__ import annotations

import base64
import itertools
import json
import math
import struct
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from server_tools import Running, ask, running

from rbe_edge.runtime.model import Model

openai = pytest.importorskip("openai")

HELLO = [{"role": "user", "content": "Hello!"}]


def test_the_documented_example(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
    start = text.index("    from openai import OpenAI")
    example = textwrap.dedent(text[start : text.index("\n\nPeople find a chat")])
    with running(model, slots=1, model_id="smol") as server:
        assert "http://127.0.0.1:8080/v1" in example
        exec(compile(example.replace("http://127.0.0.1:8080", server.url), "docs/server.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_models(client: Any) -> None:
    (only,) = client.models.list().data
    assert (only.id, only.object) == ("demo", "model")
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_chat_is_what_the_library_says(client: Any, model: Model) -> None:
    answer = ask(client)
    assert answer.choices[0].message.content.strip() == model.chat(HELLO, max_tokens=40)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.object == "chat.completion" and answer.model == "demo" and answer.system_fingerprint
    assert answer.id.startswith("chatcmpl-") and answer.created > 1_700_000_000
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens <= 40


def test_limits_and_parts_of_content(client: Any) -> None:
    cut = ask(client, max_tokens=3)
    assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 3
    assert ask(client, max_tokens=openai.NOT_GIVEN, max_completion_tokens=3).usage.completion_tokens == 3
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo!"}]}]
    same = client.chat.completions.create(model="demo.rbe", messages=parts, temperature=0, max_tokens=40)
    assert same.choices[0].message.content == ask(client).choices[0].message.content


def test_streaming_says_the_same(client: Any) -> None:
    whole = ask(client, "Tell me a story.")
    chunks = list(ask(client, "Tell me a story.", stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 5
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert not chunks[-1].choices and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in ask(client, stream=True))


def test_stop(client: Any) -> None:
    whole = ask(client).choices[0].message.content
    words = whole.split()
    stop = words[2]
    cut = ask(client, stop=[stop, "never said"])
    assert cut.choices[0].message.content == whole[: whole.index(stop)]
    assert cut.choices[0].finish_reason == "stop"
    assert (
        "".join(c.choices[0].delta.content or "" for c in ask(client, stop=stop, stream=True))
        == whole[: whole.index(stop)]
    )


def test_the_seed_decides(client: Any) -> None:
    said = [ask(client, temperature=1.5, seed=seed).choices[0].message.content for seed in (5, 5, 6, -5)]
    assert said[0] == said[1]
    assert len(set(said)) == 3
    free = (ask(client, temperature=2).choices[0].message.content for _ in range(200))  # few of them are others
    first = next(free)
    assert any(text != first for text in free)
    assert ask(client, temperature=1.5, top_p=0).choices[0].message.content == ask(client).choices[0].message.content


def test_embeddings(client: Any, model: Model) -> None:
    pooled = {"pooling": "mean"}  # the demo is a decoder
    texts = ["Hello!", "Tell me a story."]
    floats = client.embeddings.create(model="demo", input=texts, encoding_format="float", extra_body=pooled)
    assert [item.index for item in floats.data] == [0, 1]
    assert len(floats.data[0].embedding) == model.info.width
    assert math.isclose(sum(x * x for x in floats.data[1].embedding), 1, rel_tol=1e-5)
    tokens = model.tokenize("Hello!")
    packed = client.embeddings.create(model="demo", input=tokens, extra_body=pooled)  # the client asks for base64
    assert packed.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-6)
    raw = client.embeddings.with_raw_response.create(
        model="demo", input="Hello!", encoding_format="base64", extra_body=pooled
    )
    data = base64.b64decode(json.loads(raw.content)["data"][0]["embedding"])
    assert struct.unpack(f"<{len(data) // 4}f", data) == pytest.approx(floats.data[0].embedding, abs=1e-6)
    assert floats.usage.total_tokens == len(model.tokenize("Hello!")) + len(model.tokenize("Tell me a story."))


@pytest.mark.parametrize("seed", range(8))
def test_json_mode_always_parses(client: Any, seed: int) -> None:
    """At any temperature, and where the tokens run out: the demo model does not know JSON."""
    answer = ask(
        client, "Give JSON.", temperature=seed / 4, seed=seed, max_tokens=6 + 9 * seed,
        response_format={"type": "json_object"},
    )  # fmt: skip
    assert isinstance(json.loads(answer.choices[0].message.content), dict)
    assert answer.usage.completion_tokens <= 6 + 9 * seed


SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["calm", "glad"]},
        "count": {"type": "integer", "minimum": 3, "maximum": 20},
        "words": {"type": "array", "items": {"type": "string", "maxLength": 6}, "minItems": 1, "maxItems": 3},
        "more": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    },
    "required": ["mood", "count", "words"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(6))
def test_a_schema_is_met(client: Any, seed: int) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "state", "schema": SCHEMA, "strict": True}}
    stream = seed % 2 == 1
    answer = ask(
        client, "How are you?", temperature=1.3, seed=seed, max_tokens=60, response_format=wanted, stream=stream
    )
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
    value = json.loads(text)
    assert set(value) - {"more"} == {"mood", "count", "words"}
    assert value["mood"] in ("calm", "glad")
    assert type(value["count"]) is int and 3 <= value["count"] <= 20
    assert 1 <= len(value["words"]) <= 3 and all(isinstance(w, str) and len(w) <= 6 for w in value["words"])
    assert value.get("more") in (None, True, False)


def test_several_clients_get_what_one_gets(server: Running) -> None:
    questions = [
        "Hello!",
        "Tell me a story.",
        "What can you do?",
        "How warm are you?",
        "Tell me a joke.",
        "Who are you?",
    ]
    client = server.client()
    alone = [ask(client, question, max_tokens=60).choices[0].message.content for question in questions]
    with ThreadPoolExecutor(len(questions)) as executor:
        together = list(
            executor.map(lambda q: ask(server.client(), q, max_tokens=60).choices[0].message.content, questions * 2)
        )
    assert together == alone * 2


def test_a_prompt_is_not_read_twice(client: Any) -> None:
    text = "Please tell me one more thing about small computers and batteries, and why it matters."
    ask(client, text)
    again = ask(client, text)
    assert again.usage.prompt_tokens_details.cached_tokens >= again.usage.prompt_tokens - 1


def said(answer: Any, n: int) -> list[str]:
    """The texts of a chat's choices, streamed or not."""
    texts = [""] * n
    if hasattr(answer, "choices"):
        for choice in answer.choices:
            texts[choice.index] = choice.message.content
        return texts
    for chunk in answer:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    return texts


def test_several_choices(client: Any) -> None:
    """Choice i is the answer that the seed plus i gives to the request alone; more of them than slots take turns."""
    n = 5
    alone = [ask(client, "Tell me a story.", temperature=1.5, seed=40 + i) for i in range(n)]
    expected = [answer.choices[0].message.content for answer in alone]
    assert len(set(expected)) > 2
    whole = ask(client, "Tell me a story.", temperature=1.5, seed=40, n=n, logprobs=True)
    assert said(whole, n) == expected and [choice.index for choice in whole.choices] == list(range(n))
    assert [c.finish_reason for c in whole.choices] == [a.choices[0].finish_reason for a in alone]
    for choice in whole.choices:
        assert "".join(entry.token for entry in choice.logprobs.content).startswith(choice.message.content)
    assert whole.usage.prompt_tokens == alone[0].usage.prompt_tokens
    assert whole.usage.completion_tokens == sum(answer.usage.completion_tokens for answer in alone)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(ask(client, "Tell me a story.", temperature=1.5, seed=40, n=n, **options))
    assert said(chunks, n) == expected
    entries = [choice for chunk in chunks for choice in chunk.choices]
    for i in range(n):
        own = [choice for choice in entries if choice.index == i]
        assert own[0].delta.role == "assistant" and [c.finish_reason for c in own].count(None) == len(own) - 1
        assert own[-1].finish_reason == whole.choices[i].finish_reason
    order = [choice.index for choice in entries if choice.delta.content]
    assert sum(a != b for a, b in itertools.pairwise(order)) > n  # not one after the other
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    last = ask(client, "Tell me a story.", temperature=1.5, seed=2**64 - 1, n=2)
    assert said(last, 2)[1] == said(ask(client, "Tell me a story.", temperature=1.5, seed=0), 1)[0]


def test_choices_share_their_prompt(model: Model) -> None:
    """It is computed once: the others copy it and compute its last token, from which they draw."""
    prompt = "Once upon a time " * 20
    tokens = len(model.tokenize(prompt))
    with running(model, slots=4) as server:
        answer = server.client().completions.create(
            model="demo", prompt=prompt, n=4, temperature=1.2, seed=7, max_tokens=20
        )
        assert server.metric("rbe_prompt_tokens_total") == tokens + 3
        texts = [choice.text for choice in answer.choices]
        assert answer.usage.prompt_tokens_details.cached_tokens == 0
    with running(model, slots=1) as server:
        alone = [
            server.client().completions.create(model="demo", prompt=prompt, temperature=1.2, seed=7 + i, max_tokens=20)
            for i in range(4)
        ]
    assert texts == [one.choices[0].text for one in alone]


def test_each_choice_keeps_its_format(client: Any) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "state", "schema": SCHEMA}}
    answer = ask(client, temperature=1.3, seed=1, n=4, max_tokens=60, response_format=wanted)
    values = [json.loads(choice.message.content) for choice in answer.choices]
    assert all(value["mood"] in ("calm", "glad") for value in values)


def test_conversations_with_one_system_prompt_keep_their_slots(model: Model) -> None:
    """The second takes a copy of the beginning; the first is continued from where it was."""
    system = {"role": "system", "content": "You are a small demo model and you are brief."}
    question = "Please tell me all that you know of small computers, batteries and the weather, and why it matters."
    first = [system, {"role": "user", "content": question * 3}]
    with running(model, slots=2) as server:
        client = server.client()

        def asked(messages: list[dict[str, str]]) -> Any:
            return client.chat.completions.create(model="demo", messages=messages, temperature=0, max_tokens=8)

        answer = asked(first)
        second = asked([system, {"role": "user", "content": "Hello!"}])
        cached = second.usage.prompt_tokens_details.cached_tokens
        assert 0 < cached < second.usage.prompt_tokens / 2 + 10
        next_turn = [*first, dict(answer.choices[0].message.model_dump(include={"role", "content"}))]
        third = asked([*next_turn, {"role": "user", "content": "And?"}])
        assert third.usage.prompt_tokens_details.cached_tokens >= answer.usage.prompt_tokens
        with running(model, slots=1) as alone:
            once = alone.client().chat.completions.create(
                model="demo", messages=[system, {"role": "user", "content": "Hello!"}], temperature=0, max_tokens=8
            )
        assert once.choices[0].message.content == second.choices[0].message.content


def test_the_async_client(server: Running) -> None:
    import asyncio

    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
            said = [
                chunk.choices[0].delta.content or ""
                async for chunk in await client.chat.completions.create(
                    model="demo", messages=HELLO, temperature=0, max_tokens=40, stream=True
                )
            ]
            return "".join(said)

    assert asyncio.run(run()) == ask(server.client()).choices[0].message.content
