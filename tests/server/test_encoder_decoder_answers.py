"""An encoder-decoder behind the server: it answers what a session of its own answers, on every interface."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import tiny_encoder_decoders
from server_tools import Running, running
from tiny_encoder_decoders import ENCODER_DECODERS

from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions, SessionOptions
from rbe_edge.server.job import Finish, Job, Piece
from rbe_edge.server.metrics import Metrics
from rbe_edge.server.scheduler import Scheduler

TEXT = "translate this: the ring is on a tin"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    folder = tmp_path_factory.mktemp("t5")
    source = tiny_encoder_decoders.write(ENCODER_DECODERS["t5"], folder / "t5")
    with Model.open(pack(source, folder / "t5.rbe", PackOptions(bits=32)).path) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(model: Model) -> Iterator[Running]:
    with running(model, slots=3) as found:
        yield found


def _expected(model: Model, text: str, temperature: float = 0, seed: int = 0, tokens: int = 12, **more: Any) -> str:
    options = GenerationOptions(max_tokens=tokens, sampling=SamplingOptions(temperature=temperature, seed=seed), **more)
    with model.session(threads=1) as session:
        return "".join(session.generate(text, options))


def _post(server: Running, path: str, **body: Any) -> Any:
    found = httpx.post(server.url + path, json=body, timeout=60)
    assert found.status_code == 200, found.text
    return found.json()


def _refused(server: Running, path: str, **body: Any) -> str:
    found = httpx.post(server.url + path, json=body, timeout=60)
    assert found.status_code == 400, found.text
    message: str = found.json()["error"]["message"]
    assert "\n" not in message
    return message


def test_completions(server: Running, model: Model) -> None:
    """Of a text, of token ids, several of one text, which is read once, and with a text that stops them."""
    expected, tokens = _expected(model, TEXT), model.tokenize(TEXT)
    settings = {"temperature": 0, "max_tokens": 12}
    for prompt in (TEXT, tokens):
        found = _post(server, "/v1/completions", prompt=prompt, **settings)
        assert found["choices"][0]["text"] == expected
        assert found["usage"]["prompt_tokens"] == len(tokens)
    before = server.metric("rbe_prompt_tokens_total")
    other = "a text that was not read yet"
    several = _post(server, "/v1/completions", prompt=other, n=3, temperature=1.0, seed=7, max_tokens=12)
    assert [one["text"] for one in several["choices"]] == [_expected(model, other, 1.0, 7 + i) for i in range(3)]
    read = server.metric("rbe_prompt_tokens_total") - before
    assert read == len(model.tokenize(other)) + 3  # and the token that begins each answer
    stop = expected[len(expected) // 2 :][:2]
    stopped = _post(server, "/v1/completions", prompt=TEXT, stop=stop, **settings)["choices"][0]
    assert stopped["text"] == expected[: expected.index(stop)] and stopped["finish_reason"] == "stop"
    ended = _post(server, "/v1/completions", prompt=TEXT, temperature=0, max_tokens=3)
    assert ended["choices"][0]["finish_reason"] == "length" and ended["usage"]["completion_tokens"] == 3
    assert _post(server, "/completion", prompt=TEXT, temperature=0, n_predict=12)["content"] == expected


def test_chats(server: Running, model: Model) -> None:
    """What the system says, and the last message of the user; an answer that was begun goes on."""
    settings = {"temperature": 0, "max_tokens": 12}
    said = [("user", "an earlier one"), ("assistant", "of no matter"), ("user", "the ring is on a tin")]
    messages = [{"role": role, "content": content} for role, content in said]
    system = {"role": "system", "content": "translate this:"}
    for asked, text in (([system, *messages], TEXT), (messages, "the ring is on a tin")):
        found = _post(server, "/v1/chat/completions", messages=asked, **settings)
        assert found["choices"][0]["message"]["content"] == _expected(model, text)
        assert found["usage"]["prompt_tokens"] == len(model.tokenize(text))
        assert _post(server, "/apply-template", messages=asked)["prompt"] == text
    begun = [*messages, {"role": "assistant", "content": "the ring"}]
    found = _post(server, "/v1/chat/completions", messages=begun, continue_final_message=True, **settings)
    kind = model.encoder_decoder
    assert kind is not None
    with model.session(threads=1) as session:
        session.encode("the ring is on a tin")
        session.prefill([kind.start, *model.tokenize("the ring", special=False)])
        logits = session.logits
    first = model.detokenize([int(logits.argmax())])
    assert found["choices"][0]["message"]["content"].strip().startswith(first.strip())


def test_ollama(server: Running, model: Model) -> None:
    settings = {"stream": False, "options": {"temperature": 0, "num_predict": 12}}
    expected = _expected(model, TEXT)
    chat = _post(server, "/api/chat", messages=[{"role": "user", "content": TEXT}], **settings)
    assert chat["message"]["content"] == expected and chat["prompt_eval_count"] == len(model.tokenize(TEXT))
    assert _post(server, "/api/generate", prompt=TEXT, **settings)["response"] == expected
    assert _post(server, "/api/show", model=server.service.model_id)["capabilities"] == ["completion"]
    system = _post(server, "/api/generate", system="translate this:", prompt="the ring is on a tin", **settings)
    assert system["response"] == expected


def test_streams(server: Running, model: Model) -> None:
    body = {"prompt": TEXT, "temperature": 0, "max_tokens": 12, "stream": True}
    with httpx.stream("POST", server.url + "/v1/completions", json=body, timeout=60) as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    pieces = [json.loads(line)["choices"][0]["text"] for line in lines[:-1] if json.loads(line)["choices"]]
    assert len(pieces) > 2 and "".join(pieces) == _expected(model, TEXT)
    asked = {"messages": [{"role": "user", "content": TEXT}], "options": {"temperature": 0, "num_predict": 12}}
    with httpx.stream("POST", server.url + "/api/chat", json=asked, timeout=60) as response:
        told = [json.loads(line) for line in response.iter_lines()]
    assert "".join(one["message"]["content"] for one in told) == _expected(model, TEXT) and told[-1]["done"]


def test_what_is_refused(server: Running, model: Model) -> None:
    """In one line, and what comes after it is answered."""
    long = "the ring is on a tin " * 400
    assert "context holds" in _refused(server, "/v1/completions", prompt=long)
    assert "context holds" in _refused(server, "/v1/chat/completions", messages=[{"role": "user", "content": long}])
    only = [{"role": "system", "content": "translate this:"}]
    assert "last message" in _refused(server, "/v1/chat/completions", messages=only)
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    asked = [{"role": "user", "content": TEXT}]
    assert "tools" in _refused(server, "/v1/chat/completions", messages=asked, tools=[tool])
    assert "fill in" in _refused(server, "/v1/completions", prompt="the", suffix="ring")
    found = _post(server, "/v1/completions", prompt=TEXT, temperature=0, max_tokens=12)
    assert found["choices"][0]["text"] == _expected(model, TEXT)


def test_a_text_that_a_slot_holds_is_not_read_again(model: Model) -> None:
    """Nor where another slot has answered to something else since; and other texts are told apart."""
    scheduler = Scheduler(model, SessionOptions(threads=1), 2, 4, Metrics())
    kind = model.encoder_decoder
    assert kind is not None
    try:
        cached = []
        for text in (TEXT, TEXT, "another text", TEXT):
            tokens, events = model.tokenize(text), []
            done = threading.Event()

            def tell(event: Any, events: list[Any] = events, done: Any = done) -> None:
                events.append(event)
                if not isinstance(event, Piece):
                    done.set()

            job = Job([kind.start], SamplingOptions(temperature=0), tell, max_tokens=12, text=tokens)
            scheduler.submit(job)
            assert done.wait(60) and isinstance(events[-1], Finish), events
            assert "".join(one.text for one in events[:-1]) == _expected(model, text)
            assert events[-1].prompt_tokens == len(tokens)
            cached.append(events[-1].cached_tokens)
        assert cached == [0, len(model.tokenize(TEXT)), 0, len(model.tokenize(TEXT))]
    finally:
        scheduler.stop()
