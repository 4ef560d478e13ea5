"""/v1/completions through the official client."""

from __future__ import annotations

from typing import Any

import pytest
from server_tools import ask, running

from rbe_edge.runtime.model import Model

openai = pytest.importorskip("openai")


def test_completions(client: Any, model: Model) -> None:
    settings = {"model": "demo", "max_tokens": 12, "temperature": 0}
    answer = client.completions.create(prompt="Once upon a time", logprobs=2, **settings)
    with model.session(threads=1) as session:
        from rbe_edge.runtime.options import GenerationOptions

        expected = "".join(session.generate("Once upon a time", GenerationOptions(max_tokens=12)))
    assert answer.choices[0].text == expected
    assert answer.object == "text_completion"
    logprobs = answer.choices[0].logprobs
    assert "".join(logprobs.tokens) == expected
    assert logprobs.text_offset[1] == len(logprobs.tokens[0])
    by_tokens = client.completions.create(prompt=model.tokenize("Once upon a time"), **settings)
    assert by_tokens.choices[0].text == expected
    streamed = client.completions.create(prompt="Once upon a time", stream=True, **settings)
    assert "".join(chunk.choices[0].text for chunk in streamed) == expected


PROMPT = "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"


def test_completions_read_control_tokens(client: Any, model: Model) -> None:
    """A prompt that the client has formatted gives what the chat does; a list of its token ids the same."""
    settings = {"model": "demo", "max_tokens": 40, "temperature": 0}
    tokens = model.tokenize(PROMPT, parse_special=True)
    assert sum(token == model.token_id("<|im_start|>") for token in tokens) == 2
    chat = ask(client)
    assert chat.usage.prompt_tokens == len(tokens)
    for prompt in (PROMPT, tokens):
        answer = client.completions.create(prompt=prompt, **settings)
        assert answer.usage.prompt_tokens == len(tokens)
        assert answer.choices[0].text == chat.choices[0].message.content


def test_a_chat_without_a_template_continues_the_text_so_far(model: Model) -> None:
    said = [("system", "A tale."), ("user", "Once upon"), ("assistant", " a time"), ("user", "Then <|im_end|>")]
    messages = [{"role": role, "content": content} for role, content in said]
    settings: dict[str, Any] = {"model": "demo", "max_tokens": 12, "temperature": 0.9, "seed": 3}
    with running(model, slots=1, template="", reads_control_tokens=False) as server:
        chat = server.client().chat.completions.create(messages=messages, **settings)
        text = "A tale.\nOnce upon a time\nThen <|im_end|>"
        completion = server.client().completions.create(prompt=text, **settings)
    assert chat.choices[0].message.content == completion.choices[0].text
    assert chat.usage.prompt_tokens == completion.usage.prompt_tokens


def test_the_prefix_of_a_prompt_is_not_doubled(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model adds a token to every text, and the client has written it already."""
    bos = "<|im_start|>"
    real = Model.tokenize

    def with_prefix(self: Model, text: str, *, special: bool = True, parse_special: bool = False) -> list[int]:
        tokens = real(self, text, special=special, parse_special=parse_special)
        return [model.token_id(bos), *tokens] if special else tokens  # type: ignore[list-item]

    begun = real(model, f"{bos}Once upon a time", special=False, parse_special=True)
    assert begun[0] == model.token_id(bos)
    plain = real(model, "Once upon a time")
    monkeypatch.setattr(Model, "tokenize", with_prefix)
    monkeypatch.setitem(model.__dict__, "metadata", {**model.metadata, "bos_token": bos})
    with running(model, slots=1) as server:
        for prompt, expected in (("Once upon a time", len(plain) + 1), (f"{bos}Once upon a time", len(begun))):
            answer = server.client().completions.create(model="demo", prompt=prompt, max_tokens=1)
            assert answer.usage.prompt_tokens == expected


def test_control_tokens_stay_text_elsewhere(client: Any, model: Model) -> None:
    """In messages always; in completions where the server is told so."""
    plain = len(model.tokenize(PROMPT))
    assert plain > len(model.tokenize(PROMPT, parse_special=True)) + 6
    assert ask(client, PROMPT).usage.prompt_tokens - ask(client, "").usage.prompt_tokens >= plain - 2
    assert (
        client.embeddings.create(model="demo", input=PROMPT, extra_body={"pooling": "last"}).usage.prompt_tokens
        == plain
    )
    with running(model, slots=1, reads_control_tokens=False) as server:
        answer = server.client().completions.create(model="demo", prompt=PROMPT, max_tokens=1)
        assert answer.usage.prompt_tokens == plain


def test_several_prompts(client: Any, model: Model) -> None:
    prompts = ["Once upon a time", model.tokenize("The lily pond"), "A dog"]
    settings = {"model": "demo", "max_tokens": 8, "temperature": 1.0, "seed": 3}
    alone = [
        client.completions.create(prompt=prompt, **{**settings, "seed": 3 + i}) for prompt in prompts for i in range(2)
    ]
    answer = client.completions.create(prompt=prompts[:1] + prompts[2:], n=2, logprobs=0, **settings)
    assert [choice.text for choice in answer.choices] == [alone[i].choices[0].text for i in (0, 1, 4, 5)]
    assert all(choice.logprobs.text_offset[0] == 0 for choice in answer.choices)
    assert answer.usage.prompt_tokens == sum(alone[i].usage.prompt_tokens for i in (0, 4))
    by_tokens = client.completions.create(prompt=[prompts[1], prompts[1]], **settings)
    assert [choice.text for choice in by_tokens.choices] == [alone[2].choices[0].text] * 2
    with pytest.raises(openai.BadRequestError, match="32"):
        client.completions.create(prompt=["a"] * 9, n=4, **settings)
