"""Steps of many sessions at once: each weight is generated once for all of their tokens."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rbe_edge import _native
from rbe_edge.errors import Cancelled, ContextFull, OptionError, RbeError
from rbe_edge.runtime.engine_generation import EngineGeneration, Event
from rbe_edge.runtime.engine_session import EngineSession
from rbe_edge.runtime.native_owner import NativeOwner
from rbe_edge.runtime.options import require
from rbe_edge.runtime.threads import Workers, raw_workers

if TYPE_CHECKING:
    from rbe_edge.runtime.engine_model import EngineModel


class Batch(NativeOwner):
    """Made by model.batch(). cancel() ends a step; Session.cancel() takes one session out of it. Closing leaves the
    sessions.

    with model.batch(max_sessions=2) as batch, model.session() as a, model.session() as b:
        a.prefill(model.tokenize("Once upon a time"))
        b.prefill(model.tokenize("The lily pond"))
        batch.step([a, b], [int(a.logits.argmax()), int(b.logits.argmax())])
    """

    def __init__(
        self, model: EngineModel, max_sessions: int, threads: int, planes: int, follow_sessions: bool = False
    ) -> None:
        """Use model.batch()."""
        require(1 <= max_sessions <= 512, f"max_sessions must be from 1 to 512, not {max_sessions}")
        require(0 <= threads <= 64, f"threads must be from 1 to 64, or 0 for all cores, not {threads}")
        require(0 <= planes <= 4, f"planes must be from 1 to 4, or 0 for all, not {planes}")
        raw = _native.BatchOptions(
            struct_bytes=ctypes.sizeof(_native.BatchOptions),
            max_sessions=max_sessions,
            n_threads=threads,
            n_planes=planes,
        )
        handle = ctypes.POINTER(_native.BatchHandle)()
        _native.check(_native.library().rbe_batch_create(model.handle, ctypes.byref(raw), ctypes.byref(handle)))
        _native.check(_native.library().rbe_batch_follow_sessions(handle, follow_sessions))
        self.max_sessions = max_sessions
        self.own(model, handle, "batch")

    def set_workers(self, workers: Workers) -> None:
        """As of a session, for the steps of the batch: so many workers from the next one on."""
        with self.use() as handle:
            _native.check(_native.library().rbe_batch_set_workers(handle, ctypes.byref(raw_workers(workers))))

    def step(self, sessions: Sequence[EngineSession], tokens: Sequence[int]) -> list[RbeError | None]:
        """Appends tokens[i] to the context of sessions[i]; their logits are then, bit for bit, those that
        prefill([token]) would have given. For each session None, or why it did not step: ContextFull, or Cancelled
        after its cancel(); its context is then as before, and the others stepped all the same.

        Raises OptionError for sessions of another model, for doubles, for more than max_sessions and for what are no
        tokens; Cancelled after cancel(). No session has changed then. A step for which a context slides
        is not cancelled, nor what follows the first pass of several: the next one is."""
        require(1 <= len(sessions) <= self.max_sessions, f"a step is of 1 to {self.max_sessions} sessions")
        require(len(tokens) == len(sessions), f"{len(sessions)} sessions need as many tokens, not {len(tokens)}")
        require(len(set(map(id, sessions))) == len(sessions), "a session can be in a step only once")
        raw_tokens = sessions[0].token_array(tokens)
        statuses = (ctypes.c_int * len(sessions))()
        with ExitStack() as stack:
            batch = stack.enter_context(self.use())
            handles = [stack.enter_context(session.use()) for session in sessions]
            raw_sessions = (ctypes.POINTER(_native.SessionHandle) * len(handles))(*handles)
            lib = _native.library()
            status = lib.rbe_batch_decode(batch, raw_sessions, raw_tokens, len(handles), statuses)
            _native.check(status, OptionError)
        return [_error(status, session) for status, session in zip(statuses, sessions, strict=True)]

    def advance(self, generations: Sequence[EngineGeneration]) -> list[Event | BaseException]:
        """A step of several generations, of different sessions: their tokens are appended in one pass. For each what
        its step() would have given or raised, Ctrl-C in its `draw` included; the others went on all the same. Raises as
        step() does, and OptionError where a generation has ended."""
        require(1 <= len(generations) <= self.max_sessions, f"a step is of 1 to {self.max_sessions} generations")
        sessions = {id(generation.session) for generation in generations}
        require(len(sessions) == len(generations), "a session can be in a step only once")
        events = (_native.GenerationEvent * len(generations))()
        for raw in events:
            raw.struct_bytes = ctypes.sizeof(_native.GenerationEvent)
        statuses = (ctypes.c_int * len(generations))()
        with ExitStack() as stack:
            batch = stack.enter_context(self.use())
            handles = [stack.enter_context(generation.use()) for generation in generations]
            raw_handles = (ctypes.POINTER(_native.GenerationHandle) * len(handles))(*handles)
            step = _native.library().rbe_batch_step
            status = _native.call(step, batch, raw_handles, len(handles), events, statuses)
            _native.check(status, OptionError)
            return [_outcome(*one) for one in zip(generations, statuses, events, strict=True)]


def _outcome(generation: EngineGeneration, status: int, raw: _native.GenerationEvent) -> Event | BaseException:
    if status == _native.ERROR_CANCELLED:
        return Cancelled("cancelled")  # the message in the library is that of the last one that failed
    try:
        return generation.event_of(status, raw)
    except BaseException as raised:
        return raised


def _error(status: int, session: EngineSession) -> RbeError | None:
    if status == _native.OK:
        return None
    if status == _native.ERROR_CONTEXT:
        return ContextFull(f"the context of {session.context} tokens is full")
    return Cancelled("cancelled")
