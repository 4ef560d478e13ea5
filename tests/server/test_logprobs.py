"""Log-probabilities: what they are, and of which tokens."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from server_tools import ask

from rbe_edge.runtime.model import Model

openai = pytest.importorskip("openai")


def test_logprobs(client: Any) -> None:
    answer = ask(client, logprobs=True, top_logprobs=20)
    content = answer.choices[0].logprobs.content
    assert len(content) == answer.usage.completion_tokens
    text = b"".join(bytes(entry.bytes) for entry in content).decode()
    assert text == answer.choices[0].message.content
    for entry in content:
        assert len(entry.top_logprobs) == 20
        assert entry.logprob == entry.top_logprobs[0].logprob  # greedy
        assert entry.token == entry.top_logprobs[0].token
        assert 0.2 < sum(math.exp(top.logprob) for top in entry.top_logprobs) <= 1 + 1e-9
    assert ask(client).choices[0].logprobs is None
    streamed = [c for c in ask(client, logprobs=True, stream=True) if c.choices and c.choices[0].logprobs]
    assert [e.token for c in streamed for e in c.choices[0].logprobs.content] == [e.token for e in content]
    assert streamed[0].choices[0].logprobs.content[0].top_logprobs == []


@pytest.mark.parametrize("seed", range(4))
def test_logprobs_end_where_the_text_does(client: Any, seed: int) -> None:
    """Tokens that a stop sequence cut off are not listed, whole or streamed, wherever the cut is in a token."""
    settings: dict[str, Any] = {
        "temperature": 1.2, "seed": seed, "max_tokens": 30, "logprobs": True, "top_logprobs": 1
    }  # fmt: skip
    answer = ask(client, "Tell me a story.", **settings).choices[0]
    whole, tokens = answer.message.content, answer.logprobs.content
    assert "".join(entry.token for entry in tokens) == whole
    for stop in (whole[4:6], whole[10:11], whole[11:19], whole[:3]):
        cut = ask(client, "Tell me a story.", stop=stop, **settings)
        text, listed = cut.choices[0].message.content, cut.choices[0].logprobs.content
        assert text == whole[: whole.index(stop)] and len(listed) < cut.usage.completion_tokens
        ends = itertools.accumulate(len(entry.token) for entry in tokens)
        assert listed == tokens[: sum(end <= len(text) for end in ends)]
        found, said = [], ""
        for chunk in ask(client, "Tell me a story.", stop=stop, stream=True, **settings):
            said += chunk.choices[0].delta.content or ""
            found += chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else []
            assert said.startswith("".join(entry.token for entry in found))
        assert (said, found) == (text, listed)


@pytest.mark.parametrize("stop", ["\n", " ", "a", " the", "on"])
def test_logprobs_of_completions_end_where_the_text_does(client: Any, stop: str) -> None:
    settings: dict[str, Any] = {"model": "demo", "prompt": "Once", "temperature": 0, "max_tokens": 30, "logprobs": 1}
    answer = client.completions.create(stop=stop, **settings).choices[0]
    assert answer.text.startswith("".join(answer.logprobs.tokens)) and stop not in "".join(answer.logprobs.tokens)
    assert len(answer.logprobs.tokens) == len(answer.logprobs.text_offset) == len(answer.logprobs.token_logprobs)
    chunks = list(client.completions.create(stop=stop, stream=True, **settings))
    listed = [token for chunk in chunks if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.tokens]
    assert listed == answer.logprobs.tokens


@pytest.mark.parametrize(
    ("stop", "expected"), [("b", '"a\N{GRINNING FACE}'), ("\N{GRINNING FACE}", '"a'), (None, None)]
)
def test_logprobs_of_a_character_of_several_tokens(client: Any, stop: str | None, expected: str | None) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": "a\N{GRINNING FACE}b"}}}
    answer = ask(client, response_format=wanted, logprobs=True, stop=stop)
    choice = answer.choices[0]
    assert choice.message.content == (expected or '"a\N{GRINNING FACE}b"')
    assert b"".join(bytes(entry.bytes) for entry in choice.logprobs.content).decode() == choice.message.content
    assert answer.usage.completion_tokens > 4  # the character has no token of its own


def test_all_probabilities_make_one(client: Any, model: Model) -> None:
    """Over every first token the text of one prompt: sum of what the server says of each, by its rank, and the rest."""
    answer = client.completions.create(model="demo", prompt="Once upon a time", max_tokens=1, temperature=0, logprobs=5)
    top = answer.choices[0].logprobs.top_logprobs[0]
    with model.session(threads=1) as session:
        session.prefill(model.tokenize("Once upon a time"))
        logits = session.logits.astype("float64")
    logits -= logits.max()
    expected = sorted(logits - math.log(sum(map(math.exp, logits))), reverse=True)[:5]
    assert sorted(top.values(), reverse=True) == pytest.approx(expected, abs=1e-6)
