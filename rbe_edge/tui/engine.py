"""The model on a thread of its own, so that the screen never waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from rbe_edge.errors import Cancelled, ModelError, RbeError
from rbe_edge.machine.power import Energy, Mode, Power, joules_between, measured
from rbe_edge.machine.process import is_busy
from rbe_edge.runtime import fit
from rbe_edge.runtime.chat_defaults import chat_defaults
from rbe_edge.runtime.conversation import Conversation
from rbe_edge.runtime.encoder_kinds import check_converses
from rbe_edge.runtime.generation import Statistics
from rbe_edge.runtime.governor import Governor, PowerChoice
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.model_info import ModelInfo
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions, SessionOptions
from rbe_edge.runtime.parts import ModeTable
from rbe_edge.runtime.session import Session
from rbe_edge.store.conversations import StoredMessage
from rbe_edge.store.places import make_threads_file_directory
from rbe_edge.tui.power import PowerState
from rbe_edge.tui.turns import latest_within, n_messages_of

T = TypeVar("T")

_STATE_S = 0.25  # between looks at the power mode while an answer is given

# A token is hardly ever longer on average, so what lies further back than this many characters per token of context
# cannot be part of the prompt. It saves rendering and counting a long history again and again.
_MOST_CHARACTERS_PER_TOKEN = 32


@dataclass(frozen=True)
class Loaded:
    """A model that is open. path None: the demo. context: of the session, in tokens. modes: the file's table of power
    modes, None where it has none. defaults: how the model likes to be sampled. template: whether it has a chat
    template."""

    path: Path | None
    name: str
    info: ModelInfo
    context: int
    threads: int
    kv_bytes: int
    modes: ModeTable | None
    defaults: SamplingOptions = field(default_factory=SamplingOptions)
    template: bool = True


def model_key(path: Path | None) -> str:
    """How a model is written in the store."""
    return "" if path is None else str(path.resolve())


@dataclass(frozen=True)
class Question:
    """What is to be answered. history: the messages before it that the model is to see. begun: the beginning of the
    answer, where the model is to go on."""

    text: str
    history: Sequence[StoredMessage]
    system: str
    options: GenerationOptions
    begun: str = ""


@dataclass(frozen=True)
class Outcome:
    """How an answer ended. text: all that was said now. n_forgotten: messages at the history's beginning that no longer
    fitted. error: why it ended early, None where it did not. joules_per_token: of the tokens behind the first one, None
    where nothing measures."""

    text: str
    statistics: Statistics | None
    n_forgotten: int
    error: RbeError | None
    joules_per_token: float | None = None


class Feed:
    """An answer in progress: filled by the engine's thread, emptied by the screen's, stopped by either.

    position: tokens in the context. prompt: how many of the prompt's tokens are read, of how many.
    """

    def __init__(self) -> None:
        self._pieces: deque[str] = deque()
        self._times: deque[tuple[float, int]] = deque(maxlen=64)
        self.stopped = False
        self.prompt = (0, 0)
        self.position = 0

    def put(self, piece: str, position: int) -> None:
        self._pieces.append(piece)
        self.position = position
        self._times.append((time.perf_counter(), position))

    def take(self) -> str:
        """What was said since the last time."""
        pieces = []
        while self._pieces:
            pieces.append(self._pieces.popleft())
        return "".join(pieces)

    @property
    def tokens_per_second(self) -> float:
        """Over the last pieces; 0 before there are two."""
        times = list(self._times)
        if len(times) < 2 or times[-1][0] <= times[0][0]:
            return 0.0
        return max(0.0, (times[-1][1] - times[0][1]) / (times[-1][0] - times[0][0]))


class Engine:
    """A model, a session, and the one thread that calls them. All methods are the event loop's, and none waits in it.

    power: the sensors, which must outlive it; None: none. choice: when which power mode. observe: called on the
    engine's thread before each piece of work, for tests.
    """

    def __init__(
        self,
        session: SessionOptions | None = None,
        *,
        verify: bool = True,
        template: str | None = None,
        power: Power | None = None,
        choice: PowerChoice | None = None,
        observe: Callable[[str], object] | None = None,
    ) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rbe-engine")
        self._options = session or SessionOptions(kv="auto")
        self._verify = verify
        self._template = template
        self._observe = observe or (lambda work: None)
        self._model: Model | None = None
        self._session: Session | None = None
        self._power = power
        self._choice = choice or PowerChoice()
        self._governor: Governor | None = None  # of the model; changed by the engine's thread, under the lock
        self._governor_lock = threading.Lock()
        self._first_state: PowerState | None = None
        self._last_state: PowerState | None = None  # of the last token
        self._noted_at = 0.0
        self._override: Mode | None = None
        self._feed: Feed | None = None
        self._feed_lock = threading.Lock()
        self.loaded: Loaded | None = None

    async def _run(self, what: str, work: Callable[[], T]) -> T:
        def observed() -> T:
            self._observe(what)
            return work()

        return await asyncio.get_running_loop().run_in_executor(self._thread, observed)

    async def open(self, path: Path | None, options: SessionOptions) -> Loaded:
        """Opens another model, None for the demo; the one before is closed when the new one can run.

        Raises ModelError, OptionError, also for what is to be held and cannot be measured; then all is as before."""
        return await self._run("open", lambda: self._open(path, options))

    def _open(self, path: Path | None, options: SessionOptions) -> Loaded:
        if options.check_memory:
            fit.check(path or demo_path(), fit.Wish(options))
        model = Model.open(path or demo_path(), verify=self._verify)
        governor: Governor | None = None
        try:
            check_converses(model)
            governor = Governor(model, self._power, self._choice.policy, self._choice.goals)
            session = Session(model, options)
            first = governor.first_decision()
        except BaseException:
            if governor is not None:
                governor.close()
            model.close()
            raise
        self._close()
        with self._governor_lock:
            self._model, self._governor = model, governor
            self._first_state, self._last_state = PowerState(first.mode, first.reason), None
            self._set_override()
        return self._adopt(session, path, options)

    async def configure(self, options: SessionOptions) -> Loaded:
        """Another session of the same model; what the old one had read is read again by the next answer."""
        return await self._run("configure", lambda: self._configure(options))

    def _configure(self, options: SessionOptions) -> Loaded:
        if self._model is None or self.loaded is None:
            raise ModelError("no model is open; choose one")
        session = Session(self._model, options)
        if self._session is not None:
            self._session.close()
        return self._adopt(session, self.loaded.path, options)

    def _adopt(self, session: Session, path: Path | None, options: SessionOptions) -> Loaded:
        assert self._model is not None and self._governor is not None
        self._session = session
        self._governor.govern(session)
        if options.threads == 0:
            session.try_threads(make_threads_file_directory(), keep=not is_busy())
        info = session.info
        stored = self._model.metadata.get("name")
        name = "the demo" if path is None else stored if isinstance(stored, str) and stored else path.stem
        self.loaded = Loaded(
            path, name, self._model.info, info.context, info.threads, info.kv_bytes, self._model.modes,
            chat_defaults(self._model).sampling, bool(self._template or self._model.metadata.get("chat_template")),
        )  # fmt: skip
        return self.loaded

    def override(self, mode: Mode | None) -> None:
        """Always that mode, from the next token on; None: the policy decides. It stays for models opened later."""
        with self._governor_lock:
            self._override = mode
            self._set_override()

    def _set_override(self) -> None:
        """None is what the policy's file says, which may be a mode."""
        if self._governor is not None:
            self._governor.override(self._choice.policy.override if self._override is None else self._override)

    @property
    def power_state(self) -> PowerState | None:
        """The mode now; None where no model is open."""
        with self._governor_lock:
            if self._governor is None or self._first_state is None:
                return None
            last = self._last_state
            if self._override is not None:
                return (
                    last if last is not None and last.mode == self._override else PowerState(self._override, "override")
                )
            return self._first_state if last is None or last.is_override else last

    def _note_state(self, *, now: bool = False) -> None:
        """After a token, some times a second, on the engine's thread: a governor that is asked reads sensors."""
        if self._governor is not None and (now or time.monotonic() - self._noted_at >= _STATE_S):
            info = self._governor.info
            self._noted_at = time.monotonic()
            self._last_state = PowerState(info.mode, info.reason) if info.reason else None

    async def save_state(self, path: Path) -> None:
        """Keeps what the session has read. Raises StateError where it cannot be written; nothing is left of it then."""
        await self._run("save_state", lambda: self._save_state(path))

    def _save_state(self, path: Path) -> None:
        if self._session is not None and self._session.position:
            self._session.save(path)

    async def restore_state(self, path: Path) -> int:
        """Takes up what save_state kept: tokens in the context now. Raises StateError for a file that is missing,
        damaged, or of another model or settings, ContextFull where it does not fit; the session is then as before."""
        return await self._run("restore_state", lambda: self._restore_state(path))

    def _restore_state(self, path: Path) -> int:
        return len(self._session.restore(path)) if self._session is not None else 0

    async def answer(self, question: Question, feed: Feed) -> Outcome:
        """Feeds the answer piece by piece. What the runtime raises is in the outcome, with what was said before."""
        with self._feed_lock:
            self._feed = feed
        try:
            return await self._run("answer", lambda: self._answer(question, feed))
        finally:
            with self._feed_lock:
                self._feed = None

    def stop(self) -> bool:
        """Ends the answer in progress; whether there was one that was not being stopped yet. Any thread."""
        with self._feed_lock:
            if self._feed is None or self._feed.stopped:
                return False
            self._feed.stopped = True
            if self._session is not None:
                self._session.cancel()
            return True

    def _answer(self, question: Question, feed: Feed) -> Outcome:
        if self._session is None:
            return Outcome("", None, 0, ModelError("no model is open; choose one"))
        outcome = self.attempt(self._session, question, feed)
        if isinstance(outcome.error, Cancelled) and not feed.stopped and not outcome.text:
            # The stop of an earlier answer came just after its last call, and hit the first call of this one.
            outcome = self.attempt(self._session, question, feed)
        return replace(outcome, error=None) if feed.stopped else outcome

    def attempt(self, session: Session, question: Question, feed: Feed) -> Outcome:
        """One try at an answer, on the engine's thread. answer() calls it; tests put another in its place."""

        def progress(done: int, total: int) -> bool:
            feed.prompt = (done, total)
            return feed.stopped

        history, n_cut = latest_within(question.history, _MOST_CHARACTERS_PER_TOKEN * session.context)
        said: list[str] = []
        has_template = self.loaded is None or self.loaded.template
        error: RbeError | None = None
        statistics, dropped = None, 0
        first: tuple[Energy, int] | None = None  # at the first piece, with the position
        try:
            conversation = Conversation(
                session,
                question.options,
                system=question.system or None,
                messages=[{"role": message.role, "content": message.content} for message in history],
                template=self._template,
            )
            reply = conversation.send(question.text, begun=question.begun, progress=progress)
            try:
                while not feed.stopped:
                    piece = next(reply, None)
                    if piece is None:
                        break
                    if not said and not question.begun and has_template:  # else the blank belongs to the text so far
                        piece = piece.lstrip()
                    if piece:
                        if self._power is not None and first is None:
                            first = self._power.energy(), session.position
                        said.append(piece)
                        feed.put(piece, session.position)
                        self._note_state()
            finally:
                reply.close()
                statistics, dropped = reply.statistics, reply.dropped_turns
        except RbeError as raised:
            error = raised
        except MemoryError:
            error = ModelError("out of memory; make the context smaller, or choose a smaller model")
        feed.position = session.position
        self._note_state(now=True)
        joules = self._joules_per_token(first, session.position)
        return Outcome("".join(said), statistics, n_cut + n_messages_of(history, dropped), error, joules)

    def _joules_per_token(self, first: tuple[Energy, int] | None, position: int) -> float | None:
        if self._power is None or first is None or position <= first[1]:
            return None
        energy = self._power.energy()
        joules = joules_between(first[0], energy)
        known = None if joules is None else measured(joules, energy.resolution_j)
        return None if known is None else known / (position - first[1])

    async def close(self) -> None:
        """Stops what runs, and frees session and model. Closing twice is allowed."""
        self.stop()
        try:
            await self._run("close", self._close)
        except RuntimeError:  # the thread has ended
            return
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        with self._governor_lock:
            governor, self._governor = self._governor, None
        if self._session is not None:
            self._session.close()
        if governor is not None:
            governor.close()
        if self._model is not None:
            self._model.close()
        self._session = self._model = self.loaded = None
