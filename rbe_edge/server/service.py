"""The work of the endpoints, without HTTP: turns requests into jobs, and passes events of the scheduler's thread to
this event loop."""

from __future__ import annotations

import asyncio
import threading
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from rbe_edge._version import __version__
from rbe_edge.errors import Cancelled, ContextFull, MissingExtra, OptionError, TemplateError
from rbe_edge.grammar.constraint import CompiledGrammar, Constraint
from rbe_edge.grammar.grammar import Grammar, GrammarError
from rbe_edge.grammar.vocabulary import Vocabulary
from rbe_edge.runtime.chat_template import template_of
from rbe_edge.runtime.conversation import prompt_tokens
from rbe_edge.runtime.governor import Governor
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.runtime.session import Session
from rbe_edge.server.api_error import ApiError, wrong
from rbe_edge.server.chat_request import ChatRequest, EmbeddingRequest, Request, TextRequest
from rbe_edge.server.job import Finish, Job, Piece
from rbe_edge.server.metrics import Metrics
from rbe_edge.server.power import described_modes, power_lines
from rbe_edge.server.scheduler import QueueFull, Scheduler, Stopped

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
        self, model: Model, session: SessionOptions, options: ServiceOptions, governor: Governor | None = None
    ) -> None:
        """governor: of answers, which must outlive this; embeddings are not governed. Raises TemplateError for a
        malformed template, and what making a session does."""
        self.model = model
        self._governor = governor
        self.modes = None if model.modes is None else described_modes(model.modes)
        self.metrics = Metrics()
        self.metrics.set("rbe_model_bytes", model.info.file_bytes)
        path = Path(model.info.path)
        self.model_id = options.model_id or path.stem
        self._names = {self.model_id, path.name}
        self.created = int(path.stat().st_mtime)
        self.fingerprint = f"rbe-{__version__}-{model.info.kernel_set}"
        self._template = template_of(model, options.template)
        self._options = options
        self._embedding = _Embedding(model, session, options.queue_limit)
        self._grammars_lock = threading.Lock()
        self._grammars: OrderedDict[Grammar, CompiledGrammar] = OrderedDict()
        self.scheduler = Scheduler(model, session, options.slots, options.queue_limit, self.metrics, governor)

    def close(self) -> None:
        """Running answers end at once. Closing twice is allowed."""
        self.scheduler.stop()
        self._embedding.close()

    def metrics_text(self) -> str:
        """For `/metrics`. Reads sensors: not for the event loop."""
        power = "" if self._governor is None else "".join(f"{line}\n" for line in power_lines(self._governor))
        return self.metrics.text() + power

    def check_model(self, name: str) -> None:
        if name not in self._names:
            raise ApiError(
                404,
                f"the model {name[:100]!r} does not exist; this server has {self.model_id!r}",
                param="model",
                code="model_not_found",
            )

    # ---- jobs; these take time and are called off the event loop ----

    def chat_jobs(self, request: ChatRequest) -> list[Job]:
        """A job for each choice."""
        self.check_model(request.base.model)
        if request.tools and not self._template.takes_tools:
            raise wrong("tools", "the chat template of this model has no place for tools; leave `tools` out")
        self._check_length(sum(len(message.content) for message in request.messages), "messages")
        tools = [tool.as_template_sees_it() for tool in request.tools]
        try:
            text = self._template.render_marked(request.messages, tools)
        except TemplateError as error:
            raise wrong("messages", str(error)) from None
        prompt = self._tokenize(text, "messages", prompt_tokens)
        jobs = self._jobs(request.base, prompt, "messages", object(), self._template.stops)
        if request.grammar is not None:
            try:
                compiled = self._compiled(request.grammar)
            except (GrammarError, MissingExtra) as error:
                raise wrong(request.grammar_param, _grammar_message(error)) from None
            for job in jobs:
                job.constraint = Constraint(compiled)
        return jobs

    def text_jobs(self, request: TextRequest) -> list[Job]:
        """A job for each choice, prompt after prompt."""
        self.check_model(request.base.model)
        jobs, together = [], object()
        for prompt in request.prompts:
            tokens = self._tokens_of(prompt, "prompt", self._written_tokens)
            jobs += self._jobs(request.base, tokens, "prompt", together)
        return jobs

    def embedding_inputs(self, request: EmbeddingRequest) -> list[array[int]]:
        """The token ids of each input."""
        self.check_model(request.model)
        inputs = []
        for one in request.inputs:
            tokens = self._tokens_of(one, "input")
            if not 0 < len(tokens) <= self.scheduler.context:
                raise self._too_long(len(tokens), "input")
            inputs.append(array("I", tokens))  # there may be a million of them
        return inputs

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

    def _jobs(
        self, request: Request, prompt: list[int], param: str, together: object, stops: Sequence[str] = ()
    ) -> list[Job]:
        """The choices for one prompt; the seed of each is one more than that of the one before."""
        if not prompt:
            raise wrong(param, "the prompt is empty")
        if len(prompt) > self.scheduler.context:
            raise self._too_long(len(prompt), param)
        most, wanted = self._options.max_tokens, request.max_tokens
        if most is not None and wanted is not None and wanted > most:
            raise wrong("max_tokens", f"`max_tokens` is {wanted}; this server gives at most {most}")
        return [
            Job(
                prompt=prompt,
                sampling=replace(request.sampling, seed=(request.sampling.seed + choice) % 2**64),
                tell=lambda event: None,
                max_tokens=wanted if wanted is not None else most,
                stop=(*request.stop, *stops),
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

    async def embeddings(
        self, inputs: Sequence[Sequence[int]], gone: Callable[[], Awaitable[bool]]
    ) -> list[list[float]]:
        """A vector for each of the token ids. gone: whether the client is; raises ApiError then."""
        try:
            return await self._embedding.vectors(inputs, gone)
        except (QueueFull, Cancelled, Stopped) as error:
            raise api_error(error) from None


async def _until_finished(
    events: asyncio.Queue[tuple[int, Event]], count: int
) -> AsyncIterator[tuple[int, Piece | Finish]]:
    while count:
        index, event = await events.get()
        if isinstance(event, BaseException):
            raise api_error(event) from event
        yield index, event
        count -= isinstance(event, Finish)


class _Embedding:
    """A session of its own, made when it is first needed, for one text at a time: requests take turns text by text."""

    def __init__(self, model: Model, options: SessionOptions, queue_limit: int) -> None:
        self._model, self._options, self._queue_limit = model, options, queue_limit
        self._session: Session | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._computing = threading.Lock()
        self._is_closed = False

    async def vectors(self, inputs: Sequence[Sequence[int]], gone: Callable[[], Awaitable[bool]]) -> list[list[float]]:
        """Raises QueueFull, Cancelled once gone() says so, and Stopped after close()."""
        if self._waiting > self._queue_limit:
            raise QueueFull(1)
        self._waiting += 1
        found = []
        try:
            for tokens in inputs:
                async with self._turn:
                    if await gone():
                        raise Cancelled("the client went away")
                    found.append(await asyncio.to_thread(self._computed, list(tokens)))
            return found
        finally:
            self._waiting -= 1

    def _computed(self, tokens: list[int]) -> list[float]:
        with self._computing:
            if self._is_closed:
                raise Stopped("the server is stopping")
            if self._session is None:
                self._session = Session(self._model, self._options)
            vector: list[float] = self._session.embedding(tokens).tolist()
            return vector

    def close(self) -> None:
        """Waits for the text that is being computed."""
        with self._computing:
            self._is_closed = True
            if self._session is not None:
                self._session.close()


def api_error(error: BaseException) -> ApiError:
    """The error that the client gets; one that it did not cause stays a 500."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueFull):
        return ApiError(
            429, f"{error}; try again later", code="queue_full", headers={"Retry-After": f"{error.retry_after}"}
        )
    if isinstance(error, Cancelled):
        return ApiError(499, str(error))  # nobody will read it
    if isinstance(error, Stopped):
        return ApiError(503, str(error))
    if isinstance(error, GrammarError):
        return wrong("response_format", _grammar_message(error))
    if isinstance(error, ContextFull):
        return wrong("messages", str(error), code="context_length_exceeded")
    return ApiError(500, "the answer could not be made; the server's log says why")


def _grammar_message(error: BaseException) -> str:
    return f"the schema cannot be used: {error}" if isinstance(error, GrammarError) else str(error)
