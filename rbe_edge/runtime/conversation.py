"""A conversation over several turns: history, the model's template, and a KV cache that is computed once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rbe_edge.errors import ContextFull, OptionError
from rbe_edge.progress import Report
from rbe_edge.runtime.chat_defaults import chat_defaults
from rbe_edge.runtime.chat_template import Message, template_of, with_beginning
from rbe_edge.runtime.generation import Generation, Statistics
from rbe_edge.runtime.marked_text import is_marked, mark
from rbe_edge.runtime.options import ChatOptions, GenerationOptions, SessionOptions, require, split_options
from rbe_edge.runtime.session import Session

if TYPE_CHECKING:
    from rbe_edge.runtime.engine_model import EngineModel

# Room kept for an answer when the prompt is fitted into the context: a quarter of it, at most this many tokens.
_ANSWER_TOKENS = 256


class Reply(Iterator[str]):
    """The pieces of an answer, as they come. Nothing happens before the first is asked for.

    Once it has ended, been closed, or stopped by an exception such as Ctrl-C, what was said so far is in the
    conversation's history; a turn without any answer is forgotten.
    """

    def __init__(self, answer: Callable[[Reply], Generator[str, None, None]]) -> None:
        self._pieces = answer(self)
        self.statistics: Statistics | None = None
        self._generation: Generation | None = None
        self._stopping = False
        # Turns of the history (a question with its answer) that no longer fitted and were forgotten for this reply.
        self.dropped_turns = 0

    def __repr__(self) -> str:
        return f"<Reply{'' if self._generation is None else f', {len(self._generation.tokens)} tokens so far'}>"

    def __iter__(self) -> Reply:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Ends the reply where it is."""
        self._pieces.close()

    def stop(self) -> None:
        """Ends the reply at the next token; during the prompt's prefill it raises Cancelled after the next pass. Any
        thread, at any time."""
        self._stopping = True
        if self._generation is not None:
            self._generation.stop()

    def follow(self, generation: Generation) -> None:
        """Makes stop() reach the generation. For Conversation alone."""
        self._generation = generation
        if self._stopping:
            generation.stop()


class Conversation:
    """Keeps the history and a session. One thread at a time, as the session. A model without a chat template continues
    the text so far: all that was said, each text of the user's on a new line (PlainTemplate).

    with model.session() as session:
        conversation = Conversation(session, system="You are brief.")
        for piece in conversation.send("Hello!"):
            print(piece, end="", flush=True)
    """

    def __init__(
        self,
        session: Session,
        options: GenerationOptions | None = None,
        *,
        system: str | None = None,
        messages: Iterable[Mapping[str, str]] = (),
        template: str | None = None,
    ) -> None:
        """session: with which the conversation goes on. options: None for those of chat_defaults(): at most 512 tokens,
        temperature 0.7, or as the model's file says. system: what the model is told first. messages: an earlier
        history, dictionaries of `role` and `content`. template: Jinja, instead of the model's.

        Raises TemplateError for a malformed template, OptionError for a role other than system, user and assistant."""
        self.session = session
        self.options = options or chat_defaults(session.model)
        self._template = template_of(session.model, template)
        first = [Message("system", system)] if system else []
        self._initial = [*first, *map(_message, messages)]
        self._messages = list(self._initial)

    def __repr__(self) -> str:
        return f"<Conversation of {len(self._messages)} messages on {self.session!r}>"

    @property
    def messages(self) -> tuple[Message, ...]:
        """The history that the next turn continues."""
        return tuple(self._messages)

    def reset(self) -> None:
        """Back to where the conversation began."""
        self._messages = list(self._initial)

    def send(
        self,
        text: str,
        *,
        begun: str = "",
        options: GenerationOptions | None = None,
        progress: Report | None = None,
    ) -> Reply:
        """The answer to what the user says. begun: the beginning of the answer, where it was cut: the reply goes on
        behind its last word, and the history holds both as one answer. progress: of the prompt's prefill.

        Where the history no longer fits, its oldest turns are dropped (Reply.dropped_turns). Iterating raises
        ContextFull where even the last message alone does not fit, TemplateError where the template refuses it.
        """
        require(bool(text.strip()), "the message is empty; say something")
        return Reply(lambda reply: self.answer(reply, text, options or self.options, progress, begun.rstrip()))

    def answer(
        self, reply: Reply, text: str, options: GenerationOptions, progress: Report | None, begun: str = ""
    ) -> Generator[str, None, None]:
        """What send() iterates. begun: without space at its end."""
        history = [*self._messages, Message("user", text)]
        prompt, history, reply.dropped_turns = self._fit(history, options, begun)
        generation = Generation(self.session, self.session.resume(prompt), options, progress)
        reply.follow(generation)
        said: list[str] = []
        try:
            for piece in generation:
                said.append(piece)
                yield piece
        finally:
            generation.close()
            reply.statistics = generation.statistics
            answer = begun + "".join(said)
            if answer.strip():
                self._messages = [*history, Message("assistant", answer)]

    def _fit(
        self, history: list[Message], options: GenerationOptions, begun: str
    ) -> tuple[list[int], list[Message], int]:
        """The prompt's tokens, the history they hold, and how many of its oldest turns were dropped to fit."""
        context = self.session.context
        room = context - min(options.max_tokens or _ANSWER_TOKENS, _ANSWER_TOKENS, context // 4)
        dropped = 0
        while True:
            prompt = prompt_tokens(self.session.model, self._rendered(history, begun))
            if len(prompt) <= room:
                return prompt, history, dropped
            shorter = _without_oldest_turn(history)
            if shorter is None:
                kept = f"{context - room} of them kept for the answer"
                message = f"the message takes {len(prompt)} tokens and the context holds {context}, {kept}"
                raise ContextFull.beyond(message, context, self.session.model.info.context)
            history = shorter
            dropped += 1

    def _rendered(self, history: list[Message], begun: str) -> str:
        """Marked, up to where the assistant's next words begin."""
        prompt = self._template.render_marked(history)
        return with_beginning(prompt, begun) if begun else prompt


def prompt_tokens(model: EngineModel, text: str) -> list[int]:
    """The tokens of a conversation as render_marked() writes it, with the model's prefix unless the template has
    written it. Nothing that was said becomes a control token."""
    bos = model.metadata.get("bos_token")
    has_bos = isinstance(bos, str) and bool(bos) and text.startswith(mark(bos))
    return model.tokenize(text, special=not has_bos, parse_special=is_marked(text))


def count_tokens(model: EngineModel, text: str | Iterable[Mapping[str, str]]) -> int:
    """Of a text with the model's prefix, or of the prompt that the messages of a conversation become."""
    if isinstance(text, str):
        return len(model.tokenize(text))
    return len(prompt_tokens(model, template_of(model).render_marked([_message(message) for message in text])))


def stream(model: EngineModel, messages: str | Iterable[Mapping[str, str]], options: ChatOptions) -> Reply:
    """The answer to a question, or to a conversation whose last message is the user's, on a session of its own; see
    Model.stream."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    history = [_message(message) for message in messages]
    if not history or history[-1].role != "user":
        raise OptionError("the last message of a chat must have the role `user`")
    require(bool(history[-1].content.strip()), "the message is empty; say something")
    session_options, generation_options = split_options(options, chat_defaults(model))
    template_of(model)  # what is wrong with it is said now

    def answer(reply: Reply) -> Generator[str, None, None]:
        with Session(model, SessionOptions(**session_options)) as session:
            earlier = [{"role": message.role, "content": message.content} for message in history[:-1]]
            conversation = Conversation(session, generation_options, messages=earlier)
            yield from conversation.answer(reply, history[-1].content, generation_options, None)

    return Reply(answer)


def _message(message: Mapping[str, str]) -> Message:
    role, content = message.get("role"), message.get("content")
    if role not in ("system", "user", "assistant") or not isinstance(content, str):
        raise OptionError("a message has a `role`, one of system, user and assistant, and a text as its `content`")
    return Message(role, content)


def _without_oldest_turn(history: list[Message]) -> list[Message] | None:
    """The history without its oldest question and all that answers it; None where only the last question is left."""
    questions = [index for index, message in enumerate(history) if message.role == "user"]
    if len(questions) < 2:
        return None
    return history[: questions[0]] + history[questions[1] :]
