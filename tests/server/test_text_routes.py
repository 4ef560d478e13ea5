"""llama.cpp's endpoints: tokens, templates, completions, and what stands in a gap."""

from __future__ import annotations

from typing import Any

import pytest
from server_tools import Running

from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import GenerationOptions
from rbe_edge.server.fill_in_the_middle import Gap, OtherFile, gap_prompt, middle_tokens

httpx = pytest.importorskip("httpx")

TEXT = "Hello, <|im_start|> wörld \N{GRINNING FACE}"


def asked(server: Running, path: str, body: Any, status: int = 200) -> Any:
    response = httpx.post(server.url + path, json=body, timeout=60)
    assert response.status_code == status, response.text
    return response.json()


def test_tokens_and_back(server: Running, model: Model) -> None:
    found = asked(server, "/tokenize", {"content": TEXT})
    assert found["tokens"] == model.tokenize(TEXT, special=False, parse_special=True)
    assert (found["count"], found["max_model_len"]) == (len(found["tokens"]), 1024)
    plain = asked(server, "/tokenize", {"prompt": TEXT, "parse_special": False})["tokens"]
    assert plain == model.tokenize(TEXT, special=False) != found["tokens"]
    assert asked(server, "/detokenize", {"tokens": plain}) == {"content": TEXT}
    pieces = asked(server, "/tokenize", {"content": TEXT, "with_pieces": True})["tokens"]
    data = b"".join(bytes(one["piece"]) if isinstance(one["piece"], list) else one["piece"].encode() for one in pieces)
    assert data.decode() == TEXT


def test_a_template_is_applied(server: Running) -> None:
    body = {"messages": [{"role": "user", "content": "Hello!"}]}
    prompt = asked(server, "/apply-template", body)["prompt"]
    assert prompt == "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"
    without = asked(server, "/apply-template", {**body, "add_generation_prompt": False})["prompt"]
    assert prompt.startswith(without) and prompt != without


def test_completions(server: Running, model: Model) -> None:
    body = {"prompt": "Once upon a time", "n_predict": 12, "temperature": 0}
    found = asked(server, "/completion", body)
    with model.session(threads=1) as session:
        expected = "".join(session.generate("Once upon a time", GenerationOptions(max_tokens=12)))
    assert found["content"] == expected and found["stop"] and found["stop_type"] == "limit"
    assert found["tokens_predicted"] == 12
    scored = asked(server, "/completion", {**body, "n_probs": 3})["completion_probabilities"]
    assert "".join(one["token"] for one in scored) == expected and all(len(one["top_logprobs"]) == 3 for one in scored)
    stop = expected[4:7]
    word = asked(server, "/completion", {**body, "stop": [stop]})
    assert (word["stop_type"], word["stopping_word"]) == ("word", stop)
    response = httpx.post(server.url + "/completion", json={**body, "stream": True}, timeout=60)
    assert response.headers["content-type"].startswith("text/event-stream") and response.text.count("data: ") > 3
    assert asked(server, "/completion", {**body, "n_predict": -1, "stop": ["."]})["content"]


def test_a_model_without_the_tokens_fills_no_gap(server: Running) -> None:
    message = asked(server, "/infill", {"input_prefix": "def f(", "input_suffix": "):"}, 400)["error"]["message"]
    assert "fill in the middle" in message


class Coder:
    """A vocabulary that has the tokens: of StarCoder's writing, one token for each other character."""

    def token_id(self, text: str) -> int | None:
        return {"<fim_prefix>": 1, "<fim_suffix>": 2, "<fim_middle>": 3, "<file_sep>": 4}.get(text)

    def tokenize(self, text: str, special: bool = True) -> list[int]:
        return [0] * special + [ord(character) for character in text]


def test_the_prompt_for_a_gap() -> None:
    coder: Any = Coder()
    assert middle_tokens(coder) == (1, 2, 3)
    assert gap_prompt(coder, Gap("a", "b", "c")) == [0, 1, 97, 2, 98, 3, 99]
    assert gap_prompt(coder, Gap("", "", others=[OtherFile("n", "t")])) == [0, 4, 110, 10, 116, 10, 1, 2, 3]


def test_texts_that_are_too_long(server: Running) -> None:
    for body in ({"content": "a" * 1_000_000}, {"content": "1" * 300_000, "with_pieces": True}):
        assert "at most 250000" in asked(server, "/tokenize", body, 400)["error"]["message"]
    assert "250000" in asked(server, "/detokenize", {"tokens": [5] * 250_001}, 400)["error"]["message"]


def test_gaps_of_every_interface(server: Running, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo was not trained on gaps; two of its control tokens stand in for those that it lacks."""
    texts = (("<|im_start|>", "<|im_end|>", "<|im_start|>"),)
    monkeypatch.setattr("rbe_edge.server.fill_in_the_middle._TOKENS", texts)
    prompt = gap_prompt(model, Gap("user\nHello <|im_end|>", "assistant"))
    assert prompt is not None and prompt.count(model.token_id("<|im_end|>")) == 1  # what is written out stays text
    with model.session(threads=1) as session:
        expected = "".join(session.generate(prompt, GenerationOptions(max_tokens=8)))
    assert expected
    gap = {"prompt": "user\nHello <|im_end|>", "suffix": "assistant", "temperature": 0, "max_tokens": 8}
    assert asked(server, "/v1/completions", gap)["choices"][0]["text"] == expected
    options = {"temperature": 0, "num_predict": 8}
    ollama = {"model": "demo", "prompt": gap["prompt"], "suffix": gap["suffix"], "stream": False, "options": options}
    assert asked(server, "/api/generate", ollama)["response"] == expected
    llama = {"input_prefix": gap["prompt"], "input_suffix": gap["suffix"], "n_predict": 8, "temperature": 0}
    found = asked(server, "/infill", llama)
    assert (found["content"], found["tokens_evaluated"]) == (expected, len(prompt))
    assert "insert" in asked(server, "/api/show", {"model": "demo"})["capabilities"]
    asked(server, "/v1/completions", {**gap, "prompt": [5, 6]}, 400)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {}), ("/tokenize", {"content": 4}), ("/tokenize", {"content": "x", "add_special": "yes"}),
        ("/detokenize", {}), ("/detokenize", {"tokens": [-1]}), ("/detokenize", {"tokens": [10**9]}),
        ("/detokenize", {"tokens": ["a"]}), ("/detokenize", {"tokens": [True]}), ("/apply-template", {}),
        ("/apply-template", {"messages": [{"role": "king"}]}), ("/completion", {"prompt": ["a", "b"]}),
        ("/completion", {"prompt": "a", "n_predict": -5}), ("/completion", {"prompt": "a", "n": 2}),
        ("/completion", {}),
        ("/infill", {"input_prefix": 3}), ("/infill", {"input_extra": [{}]}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(server: Running, path: str, body: dict[str, Any]) -> None:
    error = asked(server, path, body, 400)["error"]
    assert error["message"] and "\n" not in error["message"]
