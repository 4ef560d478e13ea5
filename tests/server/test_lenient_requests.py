"""What other servers take is taken: missing names, null ids, penalties, biases, limits above the context."""

from __future__ import annotations

from typing import Any

import pytest
from server_tools import CHAT, Running, running

from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")

STORY = {**CHAT, "messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 60}


def post(server: Running, body: dict[str, Any], path: str = "/v1/chat/completions", **headers: str) -> Any:
    response = httpx.post(server.url + path, json=body, headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    return response


def said(server: Running, **change: Any) -> str:
    return str(post(server, {**STORY, **change}).json()["choices"][0]["message"]["content"])


@pytest.mark.parametrize("name", [None, "", "demo", "demo:latest", "demo.rbe", "demo.rbe:latest"])
def test_names_of_the_only_model(server: Running, name: str | None) -> None:
    assert post(server, {**CHAT, "model": name}).json()["model"] == "demo"
    without = {key: value for key, value in CHAT.items() if key != "model"}
    assert post(server, without).json()["model"] == "demo"
    assert post(server, {"input": "a", "pooling": "mean"}, "/v1/embeddings").json()["model"] == "demo"


def test_penalties_and_biases_change_the_answer(server: Running, model: Model) -> None:
    plain = said(server)
    drawn = {"temperature": 1.5, "seed": 4}  # the model is so sure that no penalty changes its likeliest tokens
    assert said(server, **drawn, frequency_penalty=2) != said(server, **drawn)
    assert said(server, presence_penalty=0, frequency_penalty=0, logit_bias={}) == plain
    (word,) = model.tokenize(" caterpillar", special=False)[:1]
    assert " cater" in plain
    for bias in ({str(word): -100}, [[word, -100]], [[word, False]]):
        assert " cater" not in said(server, logit_bias=bias)
    dot = model.tokenize(".", special=False)[-1]
    assert said(server, logit_bias={str(dot): 100}, max_tokens=5) == "....."


def test_top_k_and_repeat_last(server: Running) -> None:
    assert said(server, temperature=1.5, top_k=1) == said(server)
    assert said(server, temperature=1.5, top_k=-1, seed=4) == said(server, temperature=1.5, top_k=0, seed=4)
    assert said(server, repeat_penalty=5, repeat_last_n=0) == said(server) != said(server, repeat_penalty=5)
    assert said(server, repeat_penalty=5, repeat_last_n=-1)


def test_an_answer_goes_on(server: Running) -> None:
    whole, begun = said(server), said(server, max_tokens=7)
    messages = [*STORY["messages"], {"role": "assistant", "content": begun}]
    rest = said(server, messages=messages, continue_final_message=True)
    assert whole.startswith(begun + rest[:20]) and len(rest) > 20
    assert said(server, messages=messages) != rest
    options = {"temperature": 0, "num_predict": 60, "top_p": 1, "top_k": 0}
    ollama = {"messages": messages, "stream": False, "options": options}
    assert post(server, ollama, "/api/chat").json()["message"]["content"] == rest
    anthropic = {"messages": messages, "max_tokens": 60, "temperature": 0}
    assert post(server, anthropic, "/v1/messages").json()["content"][0]["text"] == rest
    call = {"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "f"}}]}
    for change in (
        {"messages": messages[:1]}, {"messages": messages[1:]}, {"messages": [messages[0], call]},
        {"response_format": {"type": "json_object"}},
    ):  # fmt: skip
        body = {**STORY, "messages": messages, "continue_final_message": True, **change}
        response = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
        assert response.status_code == 400 and response.json()["error"]["param"] == "continue_final_message"


def test_a_thought_that_the_prompt_opens_is_closed(model: Model) -> None:
    template = "{% for m in messages %}{{ m.content }}|{% endfor %}{{ '<think>\n' }}"
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "so</think>"}]
    with running(model, slots=1, template=template) as server:
        body = {"messages": messages, "continue_final_message": True}
        assert post(server, body, "/apply-template").json()["prompt"] == "a|<think>\n\n</think>\n\nso</think>"
        body["continue_final_message"] = False
        assert post(server, body, "/apply-template").json()["prompt"] == "a|so</think>|<think>\n"


def test_n_probs_are_log_probabilities(server: Running) -> None:
    choice = post(server, {**CHAT, "n_probs": 3}).json()["choices"][0]
    assert all(len(one["top_logprobs"]) == 3 for one in choice["logprobs"]["content"])
    assert post(server, {**CHAT, "n_probs": 0}).json()["choices"][0]["logprobs"] is None
    text = post(server, {"prompt": "Once", "max_tokens": 3, "n_probs": 2}, "/v1/completions").json()["choices"][0]
    assert [len(one) for one in text["logprobs"]["top_logprobs"]] == [2, 2, 2]


def test_a_limit_above_the_context_is_clamped(server: Running) -> None:
    response = post(server, {**CHAT, "max_tokens": 4096, "stop": ["!"]})
    used = response.json()["usage"]["prompt_tokens"]
    assert response.headers["X-Max-Tokens-Clamped"] == str(1024 - used + 1)
    assert "X-Max-Tokens-Clamped" not in post(server, CHAT).headers
    with httpx.stream(
        "POST", server.url + "/v1/chat/completions", json={**CHAT, "max_tokens": 9999, "stream": True}
    ) as one:
        assert one.headers["X-Max-Tokens-Clamped"]


def test_null_is_as_if_a_field_were_not_there(server: Running) -> None:
    names = ["temperature", "top_p", "n", "stop", "seed", "logit_bias", "presence_penalty", "tools", "tool_choice",
             "response_format", "stream", "stream_options", "logprobs", "user", "top_k", "min_p"]  # fmt: skip
    post(server, {**CHAT, **dict.fromkeys(names), "stop": ["!"]})
    history = [
        {"role": "user", "content": "1 and 2?", "name": None},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": None, "type": "function", "function": {"name": "add", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": None, "content": "3"},
        {"role": "tool", "content": "4"},
    ]  # fmt: skip
    post(server, {**CHAT, "messages": history})


def test_keys_as_anthropic_sends_them(model: Model) -> None:
    with running(model, {"api_key": "secret"}, slots=1) as server:
        post(server, CHAT, **{"x-api-key": "secret"})
        for headers in (
            {"x-api-key": "other"},
            {"x-api-key": ""},
            {"x-api-key": "secret", "Authorization": "Bearer no"},
        ):
            assert httpx.post(server.url + "/v1/chat/completions", json=CHAT, headers=headers).status_code == 401


def test_every_path_says_which_methods_it_takes(server: Running) -> None:
    for path in ("/v1/responses", "/v1/messages", "/api/chat", "/api/generate", "/tokenize", "/infill", "/api/show"):
        response = httpx.get(server.url + path)
        assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    response = httpx.post(server.url + "/api/tags", json={})
    assert response.status_code == 405 and set(response.headers["Allow"].split(", ")) == {"GET", "HEAD"}


def test_variables_of_the_template(model: Model) -> None:
    template = (
        "{% for m in messages %}{{ m.content }}{% endfor %}"
        "{% if enable_thinking is defined %}YES{{ enable_thinking }}{% endif %}"
    )
    with running(model, slots=1, template=template) as server:
        body = {"messages": [{"role": "user", "content": "x"}]}
        plain = post(server, body, "/apply-template").json()["prompt"]
        more = {**body, "chat_template_kwargs": {"enable_thinking": False, "messages": [], "tools": "x"}}
        assert (plain, post(server, more, "/apply-template").json()["prompt"]) == ("x", "xYESFalse")
