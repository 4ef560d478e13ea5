"""The work of the endpoints, without HTTP: turns requests into jobs, and passes events of the scheduler's thread to
this event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from rbe_edge._version import __version__
from rbe_edge.errors import MissingExtra, OptionError, TemplateError
from rbe_edge.grammar.constraint import CompiledGrammar, Constraint
from rbe_edge.grammar.grammar import Grammar, GrammarError
from rbe_edge.grammar.schema_error import SchemaError
from rbe_edge.grammar.vocabulary import Vocabulary
from rbe_edge.runtime.chat_template import Message, template_of, with_beginning
from rbe_edge.runtime.conversation import prompt_tokens
from rbe_edge.runtime.governor import Governor
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.server.api_error import ApiError, wrong
from rbe_edge.server.chat_request import ChatRequest, Request, TextRequest
from rbe_edge.server.fill_in_the_middle import Gap, gap_prompt
from rbe_edge.server.job import Finish, Job, Piece
from rbe_edge.server.known_errors import api_error, grammar_message
from rbe_edge.server.metrics import Metrics
from rbe_edge.server.power import described_modes, power_lines
from rbe_edge.server.scheduler import QueueFull, Scheduler, Stopped
from rbe_edge.server.text_numbers import TextNumbers
from rbe_edge.server.text_to_answer import text_to_answer
from rbe_edge.server.tool_calls import free_grammar
from rbe_edge.server.tools_in_words import in_words
from rbe_edge.server.without_answers import WithoutAnswers

_KEPT_GRAMMARS = 4  # each may grow to some 80 MB

Event = Piece | Finish | BaseException

Tokenize = Callable[[Model, str], list[int]]


@dataclass(frozen=True)
class ServiceOptions:
    """model_id: what the model is called; None: the file's name without its end. slots: answers at the same time, 1 to
    64, each with a context of its own. queue_limit: requests that may wait. max_tokens: the most that a request gets,
    None: the context. template: Jinja, instead of the model's. reads_control_tokens: those that are written out in
    prompts of /v1/completions."""

    model_id: str | None = None
    slots: int = 4
    queue_limit: int = 32
    max_tokens: int | None = None
    template: str | None = None
    reads_control_tokens: bool = True

    def __post_init__(self) -> None:
        for name, value, low, high in (("slots", self.slots, 1, 64), ("queue limit", self.queue_limit, 0, 10_000)):
            if not low <= value <= high:
                raise OptionError(f"the {name} must be from {low} to {high}, not {value}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise OptionError(f"the limit of tokens must be 1 or more, not {self.max_tokens}")


class Service:
    """A model with its scheduler. Use on one event loop; close() frees all but the model."""

    def __init__(
        self,
        model: Model,
        session: SessionOptions,
        options: ServiceOptions,
        governor: Governor | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """governor: of answers, which must outlive this; embeddings are not governed. metrics: that several models have
        together. Raises TemplateError for a
        malformed template, and what making a session does."""
        self.model = model
        self._governor = governor
        self.modes = None if model.modes is None else described_modes(model.modes)
        self.metrics = metrics or Metrics()
        self.metrics.set("rbe_model_bytes", model.info.file_bytes, self)
        self.path = Path(model.info.path)
        self.model_id = options.model_id or self.path.stem
        self.names = frozenset((self.model_id, self.path.name))
        self.created = int(self.path.stat().st_mtime)
        self.fingerprint = f"rbe-{__version__}-{model.info.kernel_set}"
        self.template = template_of(model, options.template)
        self._options = options
        self.texts = TextNumbers(model, self.model_id, session, options.queue_limit)
        self._grammars_lock = threading.Lock()
        self._grammars: OrderedDict[Grammar, CompiledGrammar] = OrderedDict()
        self.scheduler: Scheduler | WithoutAnswers = (
            WithoutAnswers(model.encoder_info.context)
            if self.writes_nothing
            else Scheduler(model, session, options.slots, options.queue_limit, self.metrics, governor)
        )

    def close(self) -> None:
        """Running answers end at once. Closing twice is allowed."""
        self.scheduler.stop()
        self.texts.close()
        self.metrics.forget(self)

    @property
    def writes_nothing(self) -> bool:
        """Whether the model is an encoder, which answers no chat."""
        return self.model.encoder_info.is_encoder

    def metrics_text(self) -> str:
        """For `/metrics`. Reads sensors: not for the event loop."""
        power = "" if self._governor is None else "".join(f"{line}\n" for line in power_lines(self._governor))
        return self.metrics.text() + power

    # ---- jobs; these take time and are called off the event loop ----

    def chat_text(self, request: ChatRequest, *, more_comes: bool = True) -> str:
        """The conversation as the model's template writes it, marked (marked_text). more_comes: with the beginning of
        the answer. Raises ApiError."""
        self._check_length(sum(len(message.content) for message in request.messages), "messages")
        if self.model.encoder_decoder is not None:
            return text_to_answer(request)
        if not request.continues:
            return self._written(request, more_comes)
        *before, last = request.messages
        return with_beginning(self._written(replace(request, messages=tuple(before)), True), last.content)

    def _written(self, request: ChatRequest, more_comes: bool) -> str:
        try:
            if self.template.takes_tools:
                return self._rendered(request, request.messages, more_comes)
            messages = in_words(request.messages, request.tools)
            try:
                return self._rendered(request, messages, more_comes)
            except TemplateError:
                if not request.tools or request.messages[0].role == "system":
                    raise
            messages = in_words(request.messages, request.tools, has_system=False)
            return self._rendered(request, messages, more_comes)
        except TemplateError as error:
            raise wrong("messages", str(error)) from None

    def _rendered(self, request: ChatRequest, messages: Sequence[Message], more_comes: bool) -> str:
        tools = [tool.as_template_sees_it() for tool in request.tools] if self.template.takes_tools else []
        return self.template.render_marked(messages, tools, add_generation_prompt=more_comes, more=request.variables)

    def chat_tokens(self, request: ChatRequest) -> list[int]:
        """Token ids of that text."""
        tokenize = prompt_tokens if self.model.encoder_decoder is None else Model.tokenize
        return self._tokenize(self.chat_text(request), "messages", tokenize)

    def _check_writes(self) -> None:
        if self.writes_nothing:
            what = "/v1/rerank" if self.model.encoder_info.is_classes else "/v1/embeddings"
            message = f"{self.model_id!r} is an encoder, which writes no text"
            raise wrong("model", f"{message}; POST {what}, or name another model")

    def chat_jobs(self, request: ChatRequest) -> list[Job]:
        """A job for each choice. Raises ApiError, also for an encoder."""
        self._check_writes()
        compiled = self._grammar_of(request)
        prompt = self.chat_tokens(request)
        begun = request.messages[-1].content if request.continues else ""
        jobs = self._jobs(request.base, prompt, "messages", object(), begun)
        for job in jobs:
            job.constraint = None if compiled is None else Constraint(compiled)
        return jobs

    def _grammar_of(self, request: ChatRequest) -> CompiledGrammar | None:
        """What the answer must fit. Where tools are offered in words, calls must be calls: the model may never have
        learned how they are written. Without llguidance it is left to it."""
        in_words_only = request.grammar is None and bool(request.tools) and not self.template.takes_tools
        if request.grammar is None and not in_words_only:
            return None
        try:
            return self._compiled(request.grammar or free_grammar(request.tools))
        except MissingExtra as error:
            if in_words_only:
                return None
            raise wrong(request.grammar_param, str(error)) from None
        except SchemaError as error:
            raise wrong("tools", str(error)) from None
        except GrammarError as error:
            raise wrong("tools" if in_words_only else request.grammar_param, grammar_message(error)) from None

    def opens_thought(self, job: Job) -> bool:
        """Whether the prompt ends with the tag behind which a model thinks."""
        end = b"".join(self.model.token_bytes(token, special=True) for token in job.prompt[-8:])
        return end.rstrip().endswith(b"<think>")

    def text_jobs(self, request: TextRequest) -> list[Job]:
        """A job for each choice, prompt after prompt. Raises ApiError, also for an encoder."""
        self._check_writes()
        jobs, together = [], object()
        for prompt in request.prompts:
            if request.suffix is not None and isinstance(prompt, str):
                tokens = self.gap_tokens(Gap(prompt, request.suffix), "suffix")
            else:
                tokens = self._tokens_of(prompt, "prompt", self._written_tokens)
            jobs += self._jobs(request.base, tokens, "prompt", together)
        return jobs

    def gap_tokens(self, gap: Gap, param: str) -> list[int]:
        """The prompt that asks for what stands in a gap. Raises ApiError where the model was not made for it."""
        self._check_length(gap.characters, param)
        found = gap_prompt(self.model, gap)
        if found is None:
            raise wrong(param, "this model cannot fill in the middle: its vocabulary has no tokens for it")
        return found

    def _written_tokens(self, model: Model, text: str) -> list[int]:
        """Of a prompt that the client has formatted itself. The model's prefix is added unless the text has it."""
        if not self._options.reads_control_tokens:
            return model.tokenize(text)
        bos = model.metadata.get("bos_token")
        has_bos = isinstance(bos, str) and bool(bos) and text.startswith(bos)
        return model.tokenize(text, special=not has_bos, parse_special=True)

    def _tokens_of(self, given: str | list[int], param: str, tokenize: Tokenize = Model.tokenize) -> list[int]:
        return self._tokenize(given, param, tokenize) if isinstance(given, str) else self._known(given, param)

    def _tokenize(self, text: str, param: str, tokenize: Tokenize) -> list[int]:
        self._check_length(len(text), param)
        try:
            return tokenize(self.model, text)
        except OptionError as error:
            raise wrong(param, str(error)) from None

    def _check_length(self, characters: int, param: str) -> None:
        """A text far above the context need not be tokenized: no token is longer than this in any vocabulary seen."""
        if characters > 256 * self.scheduler.context:
            raise self._too_long(f"about {characters // 4}", param)

    def _known(self, tokens: list[int], param: str) -> list[int]:
        vocabulary = self.model.info.vocabulary
        if not all(0 <= token < vocabulary for token in tokens):
            raise wrong(param, f"`{param}`: token ids are from 0 to {vocabulary - 1}")
        return tokens

    def _too_long(self, tokens: object, param: str) -> ApiError:
        context = self.scheduler.context
        message = f"the prompt has {tokens} tokens and the context holds {context}; shorten it"
        return wrong(param, message, code="context_length_exceeded")

    def _jobs(self, request: Request, prompt: list[int], param: str, together: object, begun: str = "") -> list[Job]:
        """The choices for one prompt; the seed of each is one more than that of the one before. begun: of an
        encoder-decoder's answer, which elsewhere is in the prompt."""
        if not prompt:
            raise wrong(param, "the prompt is empty")
        if len(prompt) > self.scheduler.context:
            raise self._too_long(len(prompt), param)
        if any(token >= self.model.info.vocabulary for token, _ in request.sampling.logit_bias):
            raise wrong("logit_bias", f"`logit_bias`: token ids are from 0 to {self.model.info.vocabulary - 1}")
        text: list[int] = []
        if self.model.encoder_decoder is not None:
            text, prompt = prompt, [self.model.encoder_decoder.start, *self.model.tokenize(begun, special=False)]
            if len(prompt) > self.scheduler.context:
                raise self._too_long(len(prompt), param)
        most, wanted = self._options.max_tokens, request.max_tokens
        room = self.scheduler.context - len(prompt) + 1  # the last token need not be appended
        limit = room if most is None else min(room, most)
        clamped = wanted is not None and wanted > limit
        return [
            Job(
                prompt=prompt,
                text=text,
                sampling=replace(request.sampling, seed=(request.sampling.seed + choice) % 2**64),
                tell=lambda event: None,
                max_tokens=limit if clamped else wanted if wanted is not None else most,
                clamped=clamped,
                stop=request.stop,
                top_logprobs=request.top_logprobs,
                request=together,
            )
            for choice in range(request.choices)
        ]

    def _compiled(self, grammar: Grammar) -> CompiledGrammar:
        """The grammars used last are kept, because programs send the same schema again. Compiling one delays only
        those that need one."""
        with self._grammars_lock:
            found = self._grammars.get(grammar)
            if found is None or found.failed:
                found = self._grammars[grammar] = CompiledGrammar(self._vocabulary, grammar)
            self._grammars.move_to_end(grammar)
            if len(self._grammars) > _KEPT_GRAMMARS:
                self._grammars.popitem(last=False)
            return found

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.model)

    # ---- on the event loop ----

    def start(self, jobs: Sequence[Job]) -> AsyncIterator[tuple[int, Piece | Finish]]:
        """Puts the jobs of a request into the queue and yields their events up to the last Finish, each with the index
        of its job. Raises ApiError where the queue is full and, while iterating, where a job failed."""
        events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(index: int, event: Event) -> None:
            try:
                loop.call_soon_threadsafe(events.put_nowait, (index, event))
            except RuntimeError:  # the loop has been closed: nobody is listening
                jobs[index].cancel()

        for index, job in enumerate(jobs):
            job.tell = partial(tell, index)
        try:
            self.scheduler.submit(*jobs)
        except (QueueFull, Stopped) as error:
            raise api_error(error) from None
        return _until_finished(events, len(jobs))


async def _until_finished(
    events: asyncio.Queue[tuple[int, Event]], count: int
) -> AsyncIterator[tuple[int, Piece | Finish]]:
    while count:
        index, event = await events.get()
        if isinstance(event, BaseException):
            raise api_error(event) from event
        yield index, event
        count -= isinstance(event, Finish)
