"""Sessions that go back, as chats and speculation do, against new ones that read the same tokens: bit for bit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge import Model, Session

END = [5, 6, 7]


def from_nothing(model: Model, tokens: Sequence[int], pass_tokens: int = 64) -> npt.NDArray[np.float32]:
    """The logits behind the tokens."""
    with model.session(context=1024, threads=1, pass_tokens=pass_tokens) as session:
        session.prefill(tokens)
        return session.logits.copy()


def assert_goes_on(session: Session, model: Model, tokens: Sequence[int]) -> None:
    """What follows the tokens in the session is what follows them in a new one."""
    assert session.tokens == tuple(tokens)
    session.prefill(END)
    np.testing.assert_array_equal(session.logits, from_nothing(model, [*tokens, *END]))


def run_layers_behind(model: Model, tokens: Sequence[int]) -> None:
    """Layers that run alone behind a session, twice, give the same, and its own text then goes on as if they had not:
    also where the context slides for what comes next."""
    n, behind, layers = 120, 75, model.info.layers
    for context in (1024, 200):
        with (
            model.session(context=context, sinks=4, threads=1, pass_tokens=100) as session,
            model.session(context=context, sinks=4, threads=1, pass_tokens=100) as plain,
        ):
            hidden = session.embed(tokens[n : n + behind])
            again = hidden.copy()
            for one in (session, plain):
                one.prefill(tokens[:n])
            session.run_layers(0, layers, hidden, position=n)
            session.run_layers(0, layers, again, position=n)
            np.testing.assert_array_equal(hidden, again)
            for one in (session, plain):
                one.prefill(tokens[3:103])
            np.testing.assert_array_equal(session.logits, plain.logits)


def slide_save_and_fork(
    model: Model, state: Path, prompts: Sequence[Sequence[int]], steps: Sequence[int], context: int, sinks: int
) -> None:
    """What slid is not what is computed from nothing, but saved (to `state`), copied and gone back it is the same
    everywhere. The prompts fill more than the context, and so do single steps."""
    with (
        model.session(context=context, sinks=sinks, threads=1, pass_tokens=32) as session,
        model.session(context=context, sinks=sinks, threads=2, pass_tokens=32) as other,
        model.session(context=context, sinks=sinks, threads=2) as third,
    ):
        for prompt in prompts:
            session.prefill(prompt)
        session.save(state)
        other.restore(state)
        third.copy_from(session, session.position)
        for one in (session, other, third):
            one.prefill(END)
        np.testing.assert_array_equal(other.logits, session.logits)
        np.testing.assert_array_equal(third.logits, session.logits)
        for token in steps:
            session.prefill([token])
            other.prefill([token])
        assert other.tokens == session.tokens
        np.testing.assert_array_equal(other.logits, session.logits)
        other.save(state)
        for n in (session.position - 3, session.position - 20, sinks + 3, 0):
            session.restore(state)
            session.rewind(n)
            third.copy_from(other, n)
            session.prefill(END)
            third.prefill(END)
            np.testing.assert_array_equal(third.logits, session.logits)


def throw_guesses_away(model: Model, tokens: Sequence[int]) -> None:
    """As speculation does: some tokens in one pass, of which the first few stay."""
    generator = random.Random(2)
    with model.session(context=1024, threads=1, pass_tokens=16) as session, model.session(context=1024) as plain:
        session.prefill(tokens[:5])
        plain.prefill(tokens[:5])
        text = list(tokens[:5])
        while len(text) < 300:
            token = int(plain.logits.argmax())
            guessed = [token, *(generator.randrange(250) for _ in range(generator.randrange(9)))]
            session.score(guessed)
            session.rewind(len(text) + 1)
            text.append(token)
            plain.prefill([token])
            assert session.tokens == tuple(text)
        assert_goes_on(session, model, text)


def edit_regenerate_and_fork(model: Model, turns: int) -> None:
    """The same tokens as a new session of what stands in the conversation."""
    generator = random.Random(1)
    sessions = [model.session(context=1024, threads=1, pass_tokens=generator.choice([5, 64])) for _ in range(3)]
    texts: list[list[int]] = [[], [], []]

    def say(at: int, prompt: list[int]) -> None:
        """Appends a question, and eight tokens of an answer."""
        session = sessions[at]
        texts[at] += prompt
        held = len(texts[at]) - len(session.resume(texts[at]))
        session.prefill(texts[at][held:])
        for _ in range(8):
            texts[at].append(int(session.logits.argmax()))
            session.prefill(texts[at][-1:])

    with model.session(context=1024, threads=1) as fresh:
        for turn in range(turns):
            at = generator.randrange(3)
            kind = generator.choice(["say", "edit", "regenerate", "fork"])
            prompt = [generator.randrange(250) for _ in range(generator.choice([1, 3, 20, 70]))]
            if len(texts[at]) > 800:
                del texts[at][generator.randrange(500) :]
            elif kind == "edit" and texts[at]:
                del texts[at][generator.randrange(len(texts[at])) :]
            elif kind == "regenerate" and len(texts[at]) > 8:
                del texts[at][-8:]
                prompt = []
            elif kind == "fork":
                source = (at + 1) % 3
                n = generator.randrange(len(texts[source]) + 1)
                sessions[at].copy_from(sessions[source], n)
                texts[at] = texts[source][:n]
            prompt = prompt if texts[at] or prompt else [1]
            say(at, prompt)
            fresh.rewind(0)
            fresh.prefill(texts[at][:-8])
            answer = []
            for _ in range(8):
                answer.append(int(fresh.logits.argmax()))
                fresh.prefill(answer[-1:])
            assert answer == texts[at][-8:], (turn, kind)
            np.testing.assert_array_equal(sessions[at].logits, fresh.logits, err_msg=f"{turn} {kind}")
    for session in sessions:
        session.close()
