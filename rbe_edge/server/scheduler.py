"""Runs many answers on one model: a thread that owns the sessions and gives each a turn.

A turn of the loop reads one piece of every prompt that is being read, then steps every other answer: one pass appends
what they drew, and each draws its next token. So a long prompt delays the others by a piece, never by the whole, and
none waits for another's end.
A prompt that several answers want is read once; the others then copy it.
The text of an encoder-decoder is read in one piece, for each of its tokens sees all others.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rbe_edge.runtime.engine_generation import EngineGeneration, Event
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.runtime.session import Session
from rbe_edge.server.job import Answer, Job
from rbe_edge.server.log import cause_of
from rbe_edge.server.metrics import Metrics
from rbe_edge.server.power import PowerMeter

if TYPE_CHECKING:
    from rbe_edge.runtime.governor import Governor
    from rbe_edge.runtime.model import Model

_log = logging.getLogger("rbe_edge.server")

#: Prompt tokens of one turn: the engine's default of a pass.
PIECE_TOKENS = 64


class QueueFull(Exception):
    """No slot is free and too many wait. retry_after: seconds, an estimate."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("too many requests wait already")
        self.retry_after = retry_after


class Stopped(Exception):
    """The scheduler is stopping."""


class _Slot:
    """A session, and the answer it works on."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.answer: Answer | None = None
        self.text: Sequence[int] = ()  # of an encoder-decoder, which the session holds
        self.used = 0.0


class Scheduler:
    """submit() may be called on any thread. All sessions are made at once, so that what does not fit is known early."""

    def __init__(
        self,
        model: Model,
        options: SessionOptions,
        slots: int,
        queue_limit: int,
        metrics: Metrics,
        governor: Governor | None = None,
    ) -> None:
        """slots: answers at the same time. queue_limit: jobs that may wait for one. governor: of all that is computed
        here, None for none; it must outlive this. Raises as Session does."""
        self._metrics = metrics
        self._meter = PowerMeter(governor)
        self._queue_limit = queue_limit
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._busy = 0
        self._mean_seconds = 1.0  # of an answer
        self._turn_began: float | None = None
        self._stack = contextlib.ExitStack()
        try:
            self._slots = [_Slot(self._stack.enter_context(Session(model, options))) for _ in range(slots)]
            self._batch = self._stack.enter_context(
                model.batch(max_sessions=slots, threads=options.threads, planes=options.planes)
            )
            if governor is not None:
                governor.govern(self._batch)
                for slot in self._slots:  # prompts, and tokens where one answer alone is made
                    governor.govern(slot.session)
        except BaseException:
            self._stack.close()
            raise
        self.context = self._slots[0].session.context
        info = self._slots[0].session.info
        metrics.set("rbe_session_bytes", slots * info.arena_bytes, self)
        metrics.set("rbe_slots", slots, self)
        self._thread = threading.Thread(target=self._run, name="rbe-scheduler", daemon=True)
        self._thread.start()

    def submit(self, *jobs: Job) -> None:
        """The jobs of one request, all or none of them. Raises QueueFull or Stopped."""
        with self._changed:
            if self._stopping:
                raise Stopped("the server is stopping")
            free = len(self._slots) - self._busy
            waiting = len({job.request for job in self._waiting if not job.cancelled})
            if waiting >= self._queue_limit + free:
                rounds = (waiting + 1) / len(self._slots)
                raise QueueFull(max(1, min(300, math.ceil(rounds * self._mean_seconds))))
            self._waiting.extend(jobs)
            self._changed.notify_all()

    @property
    def stopping(self) -> bool:
        """Whether it takes no more jobs, because of stop() or of an error, which is in the log."""
        return self._stopping

    def is_alive(self, seconds: float) -> bool:
        """Whether it takes jobs, and has not worked on the same turn for so long."""
        began = self._turn_began
        return not self._stopping and (began is None or time.monotonic() - began < seconds)

    def stop(self) -> None:
        """Ends all answers where they are and frees the sessions. Stopping twice is allowed."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self._metrics.forget(self)

    # ---- on the thread ----

    def _run(self) -> None:
        try:
            while self._admit():
                self._turn_began = time.monotonic()
                self._turn()
                self._turn_began = None
        except Exception as error:
            _log.error("no answer can be made any more: %s; start the server again", cause_of(error))
        finally:
            with self._changed:
                self._stopping = True
                left, self._waiting = list(self._waiting), deque()
            for job in left:
                job.tell(Stopped("the server is stopping"))
            for slot in self._slots:
                if slot.answer is not None:
                    slot.answer.job.tell(Stopped("the server is stopping"))
                    self._release(slot)
            self._stack.close()

    def _admit(self) -> bool:
        """Gives free slots to those who wait; waits where there is nothing to do. False: stop."""
        with self._changed:
            while not self._stopping and not self._waiting and not self._busy:
                self._changed.wait()
            if self._stopping:
                return False
            admitted: list[Job] = []
            if self._waiting and self._busy < len(self._slots):
                self._waiting = deque(job for job in self._waiting if not job.cancelled)
            while self._waiting and self._busy < len(self._slots):
                job = self._next(admitted)
                if job is None:
                    break
                self._waiting.remove(job)
                admitted.append(job)
                self._busy += 1
            self._metrics.set("rbe_queue_length", len(self._waiting), self)
        for job in admitted:
            self._place(job)
        self._metrics.set("rbe_slots_busy", self._busy, self)
        return True

    def _next(self, admitted: list[Job]) -> Job | None:
        """The oldest of those whose request has the fewest answers in work, so that one that wants many takes turns
        with the others. None while the prompt that all of them want is being read."""
        answers = [slot.answer for slot in self._slots if slot.answer is not None]
        at_work = Counter(job.request for job in [*admitted, *(answer.job for answer in answers)])
        read = {id(job.reads) for job in admitted} | {id(answer.job.reads) for answer in answers if answer.rest}
        ready = [job for job in self._waiting if id(job.reads) not in read]
        return min(ready, key=lambda job: at_work[job.request], default=None)

    def _place(self, job: Job) -> None:
        """Gives a free slot to a job. What goes wrong ends that job alone, as where what it wants is no prompt."""
        try:
            self._begin(job)
        except Exception as error:
            job.tell(error)
            with self._changed:
                self._busy -= 1

    def _begin(self, job: Job) -> None:
        """In the free slot that holds most of the prompt, where that is most of what it holds. Else in the one that was
        used longest ago, and the beginning is copied to it from the slot that holds most of it."""
        if job.text:
            self._begin_on_text(job)
            return
        prompt = list(job.prompt)
        held = {slot: slot.session.common(prompt) for slot in self._slots}
        source = max(self._slots, key=lambda slot: (held[slot], slot.answer is None, -slot.used))
        slot = source
        if source.answer is not None or 2 * held[source] < source.session.position:
            slot = min((slot for slot in self._slots if slot.answer is None), key=lambda slot: slot.used)
        self._metrics.observe("rbe_queue_seconds", time.monotonic() - job.arrived)
        if held[source] > held[slot]:
            slot.session.copy_from(source.session, held[source])
        slot.answer = Answer(job, slot.session, self._meter.use)

    def _begin_on_text(self, job: Job) -> None:
        """In the free slot that holds the text, else in the one that was used longest ago, to which a text is copied
        that another slot holds."""
        holding = [slot for slot in self._slots if list(slot.text) == list(job.text)]
        free = [slot for slot in self._slots if slot.answer is None]
        slot = min(free, key=lambda slot: (slot not in holding, slot.used))
        self._metrics.observe("rbe_queue_seconds", time.monotonic() - job.arrived)
        if holding and slot not in holding:
            slot.session.copy_from(holding[0].session, 0)
            slot.text = job.text
        slot.answer = Answer(job, slot.session, self._meter.use, holds_text=bool(holding))

    def _turn(self) -> None:
        for slot in self._slots:
            if slot.answer is not None and slot.answer.job.cancelled:
                self._metrics.count("rbe_cancelled_total")
                self._release(slot)
        reading = [slot for slot in self._slots if slot.answer is not None and slot.answer.rest]
        stepping = [slot for slot in self._slots if slot.answer is not None and not slot.answer.rest]
        if reading or stepping:
            self._meter.begin()
        for slot in reading:
            self._guarded(slot, lambda slot=slot: self._read(slot))  # type: ignore[misc]
        self._step(stepping)

    def _read(self, slot: _Slot) -> None:
        answer = slot.answer
        assert answer is not None
        if answer.unread:
            self._encode(slot, answer)
        piece, answer.rest = answer.rest[:PIECE_TOKENS], answer.rest[PIECE_TOKENS:]
        with self._meter.working([answer.spent], on_tokens=False):
            slot.session.prefill(piece)
        self._metrics.count("rbe_prompt_tokens_total", len(piece))

    def _encode(self, slot: _Slot, answer: Answer) -> None:
        slot.text = ()  # where it fails
        with self._meter.working([answer.spent], on_tokens=False):
            slot.session.encode(answer.unread)
        self._metrics.count("rbe_prompt_tokens_total", len(answer.unread))
        slot.text, answer.unread = answer.job.text, ()

    def _step(self, slots: list[_Slot]) -> None:
        """Computes a token of each answer. Several answers share one pass, so that each weight is generated once for
        all."""
        begun: list[tuple[_Slot, EngineGeneration]] = []

        def begin(slot: _Slot) -> None:
            assert slot.answer is not None
            begun.append((slot, slot.answer.generation))

        for slot in slots:
            self._guarded(slot, lambda slot=slot: begin(slot))  # type: ignore[misc]
        if len(begun) == 1:
            slot, generation = begun[0]
            self._guarded(slot, lambda: self._take(slot, self._alone(slot, generation)))
        elif begun:
            outcomes: Sequence[Event | BaseException]
            try:
                with self._meter.working([slot.answer.spent for slot, _ in begun if slot.answer], on_tokens=True):
                    outcomes = self._batch.advance([generation for _, generation in begun])
            except Exception as error:  # of the step: no session took it
                outcomes = [error] * len(begun)
            for (slot, _), outcome in zip(begun, outcomes, strict=True):
                self._guarded(slot, lambda slot=slot, outcome=outcome: self._take(slot, outcome))  # type: ignore[misc]

    def _alone(self, slot: _Slot, generation: EngineGeneration) -> Event:
        """A step of one answer without others."""
        assert slot.answer is not None
        with self._meter.working([slot.answer.spent], on_tokens=True):
            return generation.step()

    def _take(self, slot: _Slot, outcome: Event | BaseException) -> None:
        if isinstance(outcome, BaseException):
            raise outcome
        answer = slot.answer
        assert answer is not None
        first, before = answer.first_token_at is None, answer.generated
        goes_on = answer.take(outcome)
        if answer.generated > before:
            self._metrics.count_token()
        if first and answer.first_token_at is not None:
            self._metrics.observe("rbe_first_token_seconds", answer.first_token_at - answer.job.arrived)
        if not goes_on:
            self._metrics.count("rbe_cached_prompt_tokens_total", answer.cached_tokens)
            self._release(slot)

    def _guarded(self, slot: _Slot, work: Callable[[], None]) -> None:
        """Does work for one answer; what goes wrong ends that answer alone."""
        try:
            work()
        except Exception as error:  # whatever it is, the other answers go on and the client is told
            if slot.answer is not None:
                slot.answer.job.tell(error)
                self._release(slot)

    def _release(self, slot: _Slot) -> None:
        answer, slot.answer = slot.answer, None
        assert answer is not None
        slot.used = time.monotonic()
        answer.close()
        self._mean_seconds += 0.2 * (slot.used - answer.job.arrived - self._mean_seconds)
        with self._changed:
            self._busy -= 1
            is_idle = not self._busy
        if is_idle:
            self._meter.rest()
        self._metrics.set("rbe_slots_busy", self._busy, self)
