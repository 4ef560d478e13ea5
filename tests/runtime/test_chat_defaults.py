"""What an answer is sampled by where nobody says: the model's publisher, else the same everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbe_edge import Conversation, GenerationOptions, Model, SamplingOptions
from rbe_edge.runtime.chat_defaults import chat_defaults, chat_sampling
from rbe_edge.runtime.model import demo_path

PLAIN = SamplingOptions(temperature=0.7, top_k=40, top_p=0.95, min_p=0.05)


def test_what_the_file_says() -> None:
    assert chat_sampling({}) == PLAIN
    assert chat_sampling({}, demo=True).temperature == 0
    said = chat_sampling({"generation.temperature": 0.6, "generation.top_k": 20, "generation.top_p": 0.9})
    assert said == SamplingOptions(temperature=0.6, top_k=20, top_p=0.9, min_p=0.0)
    assert chat_sampling({"generation.repeat_penalty": 1.1}) == SamplingOptions(
        temperature=0.7, top_k=40, top_p=0.95, repeat_penalty=1.1
    )


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "0.5", (0.5,)])
def test_what_makes_no_sense_is_passed_over(value: object) -> None:
    assert chat_sampling({"generation.temperature": value}).temperature == 0.7  # type: ignore[dict-item]


def test_they_hold_everywhere(tiny_model: Path) -> None:
    with Model.open(tiny_model) as model, model.session(context=256) as session:
        assert chat_defaults(model) == GenerationOptions(max_tokens=512, sampling=PLAIN)
        assert Conversation(session).options == chat_defaults(model)
        spelled = {"temperature": 0.7, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "max_tokens": 12}
        assert model.chat("Hello!", max_tokens=12, seed=3) == model.chat("Hello!", seed=3, **spelled)  # type: ignore[arg-type]
        reply = model.stream("Hello!", context=256)
        list(reply)
        assert reply.statistics is not None and reply.statistics.generated_tokens <= 256
    with Model.open(demo_path()) as demo:
        assert chat_defaults(demo).sampling.temperature == 0


def test_what_objects_say_of_themselves(tiny_model: Path) -> None:
    with Model.open(tiny_model) as model:
        session = model.session(context=64)
        conversation = Conversation(session)
        assert repr(session) == f"<Session of <Model {tiny_model}>, 64 tokens>"
        assert repr(conversation) == f"<Conversation of 0 messages on {session!r}>"
        reply = conversation.send("Hello!", options=GenerationOptions(max_tokens=2, ignore_end=True))
        assert repr(reply) == "<Reply>"
        list(reply)
        assert repr(reply) == "<Reply, 2 tokens so far>"
        generation = session.generate("a", GenerationOptions(max_tokens=2))
        assert repr(generation) == f"<Generation on {session!r}, 0 tokens so far>"
        with model.batch() as batch:
            assert repr(batch) == f"<Batch of {model!r}>"
        assert repr(batch) == f"<Batch of {model!r} (closed)>"
        with pytest.raises(TypeError, match="there is no option temprature; did you mean temperature"):
            model.stream("a", temprature=1)  # type: ignore[call-arg]
        session.close()
        assert repr(session).endswith("(closed)>")
