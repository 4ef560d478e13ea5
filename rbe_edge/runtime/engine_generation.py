"""An rbe_generation: the tokens and the text that follow a session's context, one token a step.

Generation (generation.py) is what users get: it adds the prompt's prefill, speculation and statistics.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from rbe_edge import _native
from rbe_edge.errors import ModelError, RbeError, TokenizerError
from rbe_edge.interrupts import is_called_back
from rbe_edge.runtime.options import SamplingOptions, check_stops, encoded, require
from rbe_edge.runtime.sampler import Sampler, adjust, raw_options

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.engine_session import EngineSession

Finish = Literal["end", "stop", "length", "context", "caller"]
_FINISHES: dict[int, Finish] = {
    _native.FINISH_END: "end", _native.FINISH_STOP: "stop", _native.FINISH_LENGTH: "length",
    _native.FINISH_CONTEXT: "context", _native.FINISH_CALLER: "caller",
}  # fmt: skip

#: Chooses a token from logits float32 [vocabulary], which it may change, or ends the text with None.
Draw = Callable[["npt.NDArray[np.float32]", Sampler], "int | None"]


@dataclass(frozen=True)
class Event:
    """What one step gave. token: drawn, None where nothing was; that of finish `end` is no part of the text. finish:
    None while it goes on; `end` by the model, `stop` sequence, `length` as asked for, `context` full, or the `caller`.
    text: has become certain; rest: at the end, what was held back until then."""

    token: int | None
    finish: Finish | None
    text: str
    rest: str


class EngineGeneration:
    """Draws what follows the prompt, which the session's context holds. One thread uses both at a time. Raises
    TokenizerError where the model's file holds no tokenizer."""

    def __init__(
        self,
        session: EngineSession,
        sampling: SamplingOptions,
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        ignore_end: bool = False,
        draw: Draw | None = None,
    ) -> None:
        """max_tokens None: as many as fit into the context. stop: texts that end it, none of them empty. draw None: the
        sampler draws. Raises OptionError for what is out of range."""
        self._handle: Any = None
        self._user: int | None = None  # the thread that is using it
        require(max_tokens is None or 0 < max_tokens < 2**32, f"max_tokens must be 1 or more, not {max_tokens}")
        check_stops(stop)
        assert session.model.tokenizer_handle
        stops = [encoded(one) for one in stop]
        self.session = session
        self._carrier = _native.Draw(draw, Sampler.of) if draw is not None else None
        options = _native.GenerationOptions(
            struct_bytes=ctypes.sizeof(_native.GenerationOptions),
            sampling=ctypes.pointer(raw_options(sampling)),
            max_tokens=max_tokens or 0,
            ignore_end=int(ignore_end),
            stops=(ctypes.c_char_p * len(stops))(*stops),
            n_stops=len(stops),
            draw=self._carrier.callback if self._carrier is not None else _native.DrawCallback(),
        )
        made = ctypes.POINTER(_native.GenerationHandle)()
        with session.use() as handle:
            status = _native.library().rbe_generation_create(handle, ctypes.byref(options), ctypes.byref(made))
            _native.check(status, TokenizerError)
        self._handle = made
        adjust(_native.library().rbe_generation_sampler(made), sampling)

    @contextmanager
    def use(self) -> Iterator[Any]:
        """The rbe_generation, for one call on _native; its session is in use meanwhile. Raises where that is in use
        already, and ModelError where either has been closed."""
        with self.session.run():
            if self._handle is None:
                raise ModelError("this generation has been closed; make another one on its session")
            self._user = threading.get_ident()
            try:
                yield self._handle
            finally:
                self._user = None

    def step(self) -> Event:
        """Appends the token of the step before to the context, and draws the next one. Raises Cancelled after
        Session.cancel(): the next step then tries again. Raises what `draw` raises: the text has then ended, as it has
        after an event with a `finish`. Raises RbeError once it has ended, and where the context has no logits."""
        return self._event(_native.library().rbe_generation_step)

    def next(self, logits: Any = None) -> Event:
        """Draws and appends nothing: the caller does, before each next() that follows. A step() that follows appends it
        itself. logits: a C pointer to float[vocabulary]; None: the session's. Raises as step() does."""
        return self._event(_native.library().rbe_generation_next, logits)

    def end(self) -> str:
        """Ends the text here, and gives what was held back. Raises RbeError once it has ended."""
        return self._event(_native.library().rbe_generation_end).rest

    def _event(self, function: Any, *arguments: Any) -> Event:
        raw = _native.GenerationEvent(struct_bytes=ctypes.sizeof(_native.GenerationEvent))
        with self.use() as handle:
            arguments = (handle, *arguments, ctypes.byref(raw))
            status = function(*arguments) if self._carrier is None else _native.call(function, *arguments)
            return self.event_of(status, raw)

    def event_of(self, status: int, raw: _native.GenerationEvent) -> Event:
        """What a call on the handle gave. Raises where it failed, or `draw` did."""
        (self._carrier.check if self._carrier is not None else _native.check)(status, RbeError)
        return Event(
            token=None if raw.token == _native.NO_TOKEN else raw.token,
            finish=_FINISHES.get(raw.finish),
            text=ctypes.string_at(raw.text, raw.text_bytes).decode("utf-8") if raw.text_bytes else "",
            rest=ctypes.string_at(raw.rest, raw.rest_bytes).decode("utf-8") if raw.rest_bytes else "",
        )

    def close(self) -> None:
        """Frees it; the session stays. Closing twice is allowed; from `draw` it is refused."""
        # After a Ctrl-C the use of this thread may be over and not yet ended (native_handle.py).
        if self._user is not None and (self._user != threading.get_ident() or is_called_back()):
            raise RbeError("a generation cannot be closed while it draws; return None from draw to end its text")
        handle, self._handle = self._handle, None
        if handle is not None:
            _native.library().rbe_generation_free(handle)

    def __enter__(self) -> EngineGeneration:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
