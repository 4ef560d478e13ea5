"""Ollama's endpoints through its official client, and as they go over the wire."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from server_tools import Running, running

from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")
ollama = pytest.importorskip("ollama")

HELLO = [{"role": "user", "content": "Hello!"}]
GREEDY = {"temperature": 0, "num_predict": 40}
THINKING = """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking %}<think>
{% endif %}"""


@pytest.fixture(scope="module")
def client(server: Running) -> Any:
    return ollama.Client(host=server.url, timeout=60)


def test_chat_is_what_the_library_says(client: Any, model: Model) -> None:
    answer = client.chat(model="demo", messages=HELLO, options=GREEDY)
    assert answer.message.content.strip() == model.chat(HELLO, max_tokens=40)
    assert (answer.message.role, answer.done, answer.done_reason, answer.model) == ("assistant", True, "stop", "demo")
    assert answer.prompt_eval_count == model.count_tokens(HELLO) and 0 < answer.eval_count <= 40
    assert answer.total_duration >= answer.prompt_eval_duration + answer.eval_duration - 1 > 0


def test_streams(client: Any) -> None:
    whole = client.chat(model="demo:latest", messages=HELLO, options=GREEDY)
    chunks = list(client.chat(model="demo:latest", messages=HELLO, options=GREEDY, stream=True))
    assert "".join(chunk.message.content for chunk in chunks) == whole.message.content
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].eval_count == whole.eval_count and chunks[0].model == "demo:latest"
    cut = list(client.generate(model="demo", prompt="Hello!", options={**GREEDY, "num_predict": 3}, stream=True))
    assert cut[-1].done_reason == "length" and cut[-1].eval_count == 3


def test_generate_goes_through_the_template_unless_raw(client: Any, model: Model) -> None:
    said = client.generate(model="demo", prompt="Hello!", options=GREEDY).response
    assert said == client.chat(model="demo", messages=HELLO, options=GREEDY).message.content
    system = [{"role": "system", "content": "You are brief."}, *HELLO]
    with_system = client.generate(model="demo", prompt="Hello!", system="You are brief.", options=GREEDY)
    assert with_system.prompt_eval_count == model.count_tokens(system)
    raw = client.generate(model="demo", prompt="Once upon a time", raw=True, options={**GREEDY, "num_predict": 12})
    with model.session(threads=1) as session:
        from rbe_edge.runtime.options import GenerationOptions

        assert raw.response == "".join(session.generate("Once upon a time", GenerationOptions(max_tokens=12)))


def test_options_reach_the_sampler(client: Any) -> None:
    def said(**options: Any) -> str:
        return str(client.chat(model="demo", messages=HELLO, options={"num_predict": 30, **options}).message.content)

    assert said(seed=3) == said(seed=3)
    assert len({said(seed=seed, temperature=1.5) for seed in range(4)}) > 1
    assert said(seed=5, top_k=1) == said(seed=6, top_k=1) == said(temperature=0)
    plain = said(temperature=0)
    story = [{"role": "user", "content": "Tell me a story."}]
    drawn = {"temperature": 3, "seed": 4, "num_predict": 60}  # no penalty changes its likeliest tokens
    free, penalised = (
        client.chat(model="demo", messages=story, options={**drawn, "frequency_penalty": penalty}) for penalty in (0, 2)
    )
    assert free.message.content != penalised.message.content
    stop = plain[5:8]
    assert said(temperature=0, stop=[stop]) == plain[: plain.index(stop)]


def test_formats(client: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}},
              "required": ["a", "b"]}  # fmt: skip
    for seed in range(3):
        options = {"temperature": 1.2, "seed": seed, "num_predict": 60}
        found = client.chat(model="demo", messages=HELLO, format=schema, options=options).message.content
        assert set(json.loads(found)) == {"a", "b"} and json.loads(found)["b"] in "xy"
        anything = client.generate(model="demo", prompt="JSON", format="json", options=options).response
        assert isinstance(json.loads(anything), dict)


def test_tools(client: Any, model: Model) -> None:
    tool = {"type": "function", "function": {"name": "add", "description": "Adds", "parameters": {
        "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}}  # fmt: skip
    asked = client.chat(model="demo", messages=HELLO, tools=[tool], options=GREEDY)
    assert asked.prompt_eval_count > model.count_tokens(HELLO) + 20  # the tool is in the prompt
    history = [
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
        {"role": "tool", "tool_name": "add", "content": "2"},
    ]
    again = client.chat(model="demo", messages=history, options=GREEDY)
    assert again.prompt_eval_count > model.count_tokens(HELLO) + 10


def test_log_probabilities(client: Any) -> None:
    answer = client.chat(model="demo", messages=HELLO, options=GREEDY, logprobs=True, top_logprobs=2)
    assert "".join(one.token for one in answer.logprobs) == answer.message.content
    assert all(one.logprob <= 0 and len(one.top_logprobs) == 2 for one in answer.logprobs)


def test_embeddings(client: Any, model: Model) -> None:
    pooled = {"pooling": "mean"}  # the demo is a decoder
    found = client.embed(model="demo", input=["one", "two words"], options=pooled)
    assert len(found.embeddings) == 2 and found.prompt_eval_count > 0
    for vector in found.embeddings:
        assert math.isclose(sum(value * value for value in vector), 1.0, rel_tol=1e-5)
    assert client.embeddings(model="demo", prompt="one", options=pooled).embedding == found.embeddings[0]
    long = "word " * 3000
    assert client.embed(model="demo", input=long, options=pooled).prompt_eval_count == 1024
    with pytest.raises(ollama.ResponseError, match="1024"):
        client.embed(model="demo", input=long, truncate=False, options=pooled)
    with pytest.raises(ollama.ResponseError, match="nobody trained to embed"):
        client.embed(model="demo", input="one")
    short = client.embed(model="demo", input="one", dimensions=4, options=pooled).embeddings[0]
    assert len(short) == 4 and math.isclose(sum(value * value for value in short), 1.0, rel_tol=1e-5)


def test_models(client: Any) -> None:
    (only,) = client.list().models
    assert (
        only.model == "demo:latest"
        and only.size > 1_500_000
        and only.details.format == "rbe"
        and len(only.digest) == 64
    )
    shown = client.show("demo:latest")
    assert shown.modelinfo["llama.context_length"] == 1024 and "im_start" in shown.template
    assert "completion" in shown.capabilities and "insert" not in shown.capabilities
    (held,) = client.ps().models
    assert held.model == "demo:latest" and held.context_length == 1024
    with pytest.raises(ollama.ResponseError, match="does not exist") as caught:
        client.show("llama9")
    assert caught.value.status_code == 404


def test_loading_and_unloading_say_so(client: Any) -> None:
    assert client.generate(model="demo").done_reason == "load"
    assert client.chat(model="demo", messages=[], keep_alive="10m").done_reason == "load"
    assert client.generate(model="demo", keep_alive=0).done_reason == "unload"
    assert client.chat(model="demo", messages=HELLO, options=GREEDY).done  # the first model stays


def test_thoughts_are_told_apart(model: Model) -> None:
    with running(model, slots=1, template=THINKING) as server:
        client = ollama.Client(host=server.url, timeout=60)
        assert "thinking" in client.show("demo").capabilities
        thought = client.chat(model="demo", messages=HELLO, think=True, options=GREEDY)
        plain = client.chat(model="demo", messages=HELLO, think=False, options=GREEDY)
        assert thought.message.thinking and not thought.message.content  # the demo never closes the tag
        assert plain.message.content and not plain.message.thinking
        assert thought.prompt_eval_count > plain.prompt_eval_count
        chunks = list(client.chat(model="demo", messages=HELLO, think=True, options=GREEDY, stream=True))
        assert "".join(chunk.message.thinking or "" for chunk in chunks) == thought.message.thinking


def test_a_model_that_does_not_think(client: Any) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        client.chat(model="demo", messages=HELLO, think=True)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("chat", {"messages": 3}), ("chat", {"messages": [{"role": "king"}]}), ("chat", {"messages": [{"role": []}]}),
        ("chat", {"messages": [{"role": "user", "content": "x", "images": ["aa"]}]}), ("chat", {"options": 4}),
        ("chat", {"options": {"temperature": "hot"}}), ("chat", {"options": {"num_predict": 1.5}}),
        ("chat", {"options": {"stop": 4}}), ("chat", {"format": 7}), ("chat", {"format": {"type": "nothing"}}),
        ("chat", {"keep_alive": "soon"}), ("chat", {"keep_alive": "5m 3"}), ("chat", {"keep_alive": []}),
        ("chat", {"think": "much"}), ("chat", {"stream": "no"}), ("chat", {"tools": [{}]}), ("chat", {"model": 4}),
        ("generate", {"prompt": 4}), ("generate", {"images": ["x"]}), ("generate", {"suffix": "x"}),
        ("generate", {"context": [1]}), ("generate", {"template": "x"}), ("generate", {"logprobs": 3}),
        ("embed", {"input": []}), ("embed", {"input": {"a": 1}}), ("embed", {"dimensions": -4}), ("embeddings", {}),
        ("embed", {"options": {"pooling": "most"}}), ("embed", {"options": {}}),
        ("show", {"model": None}), ("show", {"model": 3}),
    ],
)  # fmt: skip
def test_wrong_fields(server: Running, path: str, change: dict[str, Any]) -> None:
    body = {"model": "demo", "messages": HELLO, "prompt": "x", "input": "x", "options": {"num_predict": 2}, **change}
    if path == "embeddings":
        del body["prompt"]
    response = httpx.post(f"{server.url}/api/{path}", json=body)
    assert response.status_code == 400, response.text
    (message,) = response.json().values()
    assert set(response.json()) == {"error"} and message and "\n" not in message


def test_bodies_paths_and_keys(server: Running, model: Model) -> None:
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 100_000):
        response = httpx.post(server.url + "/api/chat", content=body)
        assert response.status_code == 400 and set(response.json()) == {"error"}
    assert set(httpx.post(server.url + "/api/pull", json={}).json()) == {"error"}
    wrong_method = httpx.get(server.url + "/api/chat")
    assert (wrong_method.status_code, wrong_method.headers["Allow"]) == (405, "POST")
    assert httpx.get(server.url + "/api/version").json()["version"]
    page = {"Origin": "https://a.example"}
    assert httpx.post(server.url + "/api/chat", json={"messages": HELLO}, headers=page).status_code == 403
    with running(model, {"api_key": "secret"}, slots=1) as locked:
        for path in ("/api/tags", "/api/ps", "/api/version"):
            response = httpx.get(locked.url + path)
            assert response.status_code == 401 and set(response.json()) == {"error"}
        assert httpx.post(locked.url + "/api/chat", json={"messages": HELLO}).status_code == 401
        assert httpx.get(locked.url + "/api/tags", headers={"Authorization": "Bearer secret"}).status_code == 200
