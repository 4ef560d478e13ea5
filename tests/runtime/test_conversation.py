"""Conversations: history, the shared prefix, forgetting, interruption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rbe_edge import Conversation, GenerationOptions, Model, SamplingOptions, Session
from rbe_edge.errors import ContextFull, OptionError, TemplateError

SHORT = GenerationOptions(max_tokens=8, sampling=SamplingOptions(temperature=1.0, seed=3), ignore_end=True)


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


@pytest.fixture
def session(model: Model) -> Iterator[Session]:
    with model.session(context=192) as made:
        yield made


def test_history_grows_by_turns(session: Session) -> None:
    conversation = Conversation(session, SHORT, system="be brief")
    answers = ["".join(conversation.send(text)) for text in ("one", "two")]
    assert [(message.role, message.content) for message in conversation.messages] == [
        ("system", "be brief"), ("user", "one"), ("assistant", answers[0]), ("user", "two"), ("assistant", answers[1]),
    ]  # fmt: skip
    conversation.reset()
    assert [message.role for message in conversation.messages] == ["system"]
    assert "".join(conversation.send("one")) == answers[0]


def test_the_common_prefix_is_computed_once(model: Model, session: Session) -> None:
    conversation = Conversation(session, SHORT, system="be brief and be kind and be true")
    first, second = conversation.send("one"), None
    list(first)
    second = conversation.send("two")
    text = "".join(second)
    assert first.statistics is not None and second.statistics is not None
    whole = model.tokenize(
        "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in conversation.messages[:-1])
        + "<|im_start|>assistant\n",
        parse_special=True,
    )
    assert second.statistics.prompt_tokens < len(whole) - first.statistics.prompt_tokens + 20
    # and it changes nothing: a fresh session gives the same answer to the same history
    history = [{"role": m.role, "content": m.content} for m in conversation.messages[:-2]]
    with model.session(context=192) as other:
        assert "".join(Conversation(other, SHORT, messages=history).send("two")) == text


def test_oldest_turns_are_dropped_and_told(session: Session) -> None:
    conversation = Conversation(session, SHORT, system="be brief")
    dropped = 0
    for turn in range(12):
        reply = conversation.send(f"turn {turn} of many")
        list(reply)
        dropped += reply.dropped_turns
        roles = [message.role for message in conversation.messages]
        assert roles[0] == "system" and roles[1:] == ["user", "assistant"] * (len(roles) // 2)
    assert dropped == 12 - len(conversation.messages) // 2 > 0
    assert conversation.messages[-2].content == "turn 11 of many"


def test_a_message_that_cannot_fit(session: Session) -> None:
    conversation = Conversation(session, SHORT)
    list(conversation.send("one"))
    before = conversation.messages
    with pytest.raises(ContextFull, match=r"takes \d+ tokens and the context holds 192"):
        list(conversation.send("word " * 300))
    assert conversation.messages == before


def test_an_interrupted_answer_is_kept_as_far_as_it_went(session: Session) -> None:
    conversation = Conversation(session, SHORT)
    reply = conversation.send("one")
    piece = next(reply)
    while not piece.strip():
        piece += next(reply)
    reply.close()
    assert [message.role for message in conversation.messages] == ["user", "assistant"]
    assert conversation.messages[-1].content == piece
    assert reply.statistics is not None and reply.statistics.finish == "interrupted"
    assert "".join(conversation.send("two"))


def test_an_answer_stopped_before_it_began_is_forgotten(session: Session) -> None:
    conversation = Conversation(session, SHORT)

    def press(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(conversation.send("one", progress=press))
    assert conversation.messages == ()
    assert "".join(conversation.send("one"))


def test_templates_of_ones_own(session: Session) -> None:
    conversation = Conversation(session, SHORT, template="{{ messages[-1].content }}:")
    list(conversation.send("one"))
    assert session.model.detokenize(session.tokens).startswith("one:")
    with pytest.raises(TemplateError, match="malformed"):
        Conversation(session, SHORT, template="{% if")
    refusing = Conversation(session, SHORT, template="{{ raise_exception('never') }}")
    with pytest.raises(TemplateError, match="never"):
        list(refusing.send("one"))
    assert refusing.messages == ()


def test_without_a_template_the_text_so_far_is_continued(session: Session) -> None:
    conversation = Conversation(session, SHORT, system="zero", template="")
    said = {text: "".join(conversation.send(text)) for text in ("one", "two ")}
    prompt = session.model.tokenize(f"zero\none{said['one']}\ntwo ")
    assert session.tokens[: len(prompt)] == tuple(prompt)
    with session.model.session(context=session.context) as other:
        assert "".join(other.generate(prompt, SHORT)) == said["two "]


@pytest.mark.parametrize("message", [{"role": "tool", "content": "x"}, {"role": "user"}, {"content": "x"}])
def test_messages_that_are_none(session: Session, message: dict[str, str]) -> None:
    with pytest.raises(OptionError):
        Conversation(session, messages=[message])


def test_empty_messages_are_refused(session: Session) -> None:
    with pytest.raises(OptionError, match="empty"):
        Conversation(session).send(" \n")


def test_chat_answers_once(model: Model) -> None:
    messages = [{"role": "user", "content": "one"}]
    answer = model.chat(messages, max_tokens=8, temperature=0.9, seed=5, context=128)
    assert answer == model.chat(messages, max_tokens=8, temperature=0.9, seed=5, context=128, threads=1)
    with pytest.raises(OptionError, match="user"):
        model.chat([{"role": "assistant", "content": "one"}])
    with pytest.raises(OptionError):
        model.chat([])


def test_an_answer_that_was_cut_goes_on(model: Model, session: Session) -> None:
    """The model reads its own words as a template writes them, up to the cut; the history holds one answer."""
    options = GenerationOptions(max_tokens=12, sampling=SamplingOptions(temperature=0.0), ignore_end=True)
    conversation = Conversation(session, options, system="be brief")
    list(conversation.send("one"))
    whole = "".join(conversation.send("two"))
    history = [{"role": m.role, "content": m.content} for m in conversation.messages[:-2]]
    begun = whole[: len(whole) // 2].rstrip()
    with model.session(context=192) as other:
        again = Conversation(other, options, messages=history)
        reply = again.send("two", begun=begun + " \n")
        more = "".join(reply)
        assert more and again.messages[-1].content == begun + more
        assert [m.role for m in again.messages] == [m.role for m in conversation.messages]
        expected = model.tokenize(
            "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in history)
            + f"<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n{begun}",
            parse_special=True,
        )
        assert list(other.tokens[: len(expected)]) == expected


def test_what_was_said_before_the_cut_is_no_control_token(model: Model, session: Session) -> None:
    conversation = Conversation(session, SHORT)
    list(conversation.send("one", begun="two<|im_end|>"))
    end = model.tokenize("<|im_end|>", special=False, parse_special=True)
    assert len(end) == 1 and session.tokens.count(end[0]) == 1  # behind the question
