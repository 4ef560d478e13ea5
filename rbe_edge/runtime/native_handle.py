"""An object that the C library made and Python owns. One thread uses it at a time; any thread may cancel or free it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rbe_edge import _native
from rbe_edge.errors import ModelError, RbeError
from rbe_edge.interrupts import Watch, is_called_back, leave, watched

# How long closing waits for a call on another thread to notice that it was cancelled. A call looks between pieces of a
# prefill pass, which even on a small device take well under this.
_CLOSE_TIMEOUT_S = 30.0
_CLOSE_LOOK_S = 0.001
_NOW = "now"


class NativeHandle:
    """An rbe_session, or what else runs a model: one call at a time, and no cancel of what has been freed. kind: the
    word in the names of its C functions."""

    def __init__(self, handle: Any, kind: str = "session") -> None:
        self._handle: Any = handle
        self._kind = kind
        # Who is using it: a thread, and what tells its uses apart. No lock: taking one and noting whose it is are two
        # steps, between which a Ctrl-C may come; to set a key of a dictionary that has none is one.
        self._user: dict[str, tuple[int, object]] = {}
        self._life = threading.Lock()
        self._lent = False
        self._watch: Watch | None = None  # of the latest run()

    @property
    def is_freed(self) -> bool:
        return self._handle is None

    @contextmanager
    def use(self) -> Iterator[Any]:
        """The handle, for one call. Raises where another thread is using it or it has been freed."""
        mine = self._take()
        if mine is None:
            raise RbeError(
                f"this {self._kind} is in use; a {self._kind} serves one call at a time, make one for each thread"
            )
        try:
            if self._handle is None:
                raise ModelError(f"this {self._kind} has been closed; make another with model.{self._kind}()")
            yield self._handle
        finally:
            self._give_up(mine)

    def _take(self) -> tuple[int, object] | None:
        """The right to a call; None where another one has it."""
        mine = (threading.get_ident(), object())
        user = self._user.setdefault(_NOW, mine)
        if user is not mine:
            if not self._is_left(user):
                return None
            self._user[_NOW] = mine
        return mine

    def _give_up(self, mine: tuple[int, object]) -> None:
        if self._user.get(_NOW) is mine:
            del self._user[_NOW]

    def _is_left(self, user: tuple[int, object]) -> bool:
        """Whether this is of a call of this thread that is over: a Ctrl-C came before the end of its use(), and Python
        ends that when nothing refers to the exception any more."""
        return user[0] == threading.get_ident() and not self._lent and not is_called_back()

    @contextmanager
    def lend(self) -> Iterator[Any]:
        """use() for as long as the caller reads what the library owns."""
        with self.use() as handle:
            self._lent = True
            try:
                yield handle
            finally:
                self._lent = False

    @contextmanager
    def run(self) -> Iterator[Any]:
        """use() of a session or of gradients for a call that takes long: Ctrl-C ends it at once."""
        with self.use() as handle:
            self._forget_press(handle)  # of a call that a Ctrl-C left open
            watch = self._watch = Watch()
            try:
                with watched(self.cancel, watch):
                    yield handle
            finally:
                self._forget_press(handle)

    def _forget_press(self, handle: Any) -> None:
        """What came when the call was through is not meant for the next one."""
        watch = self._watch
        if watch is not None:
            leave(watch)
            if watch.cancelled:
                getattr(_native.library(), f"rbe_{self._kind}_uncancel")(handle)
            self._watch = None

    def cancel(self) -> None:
        """Any thread; nothing where it has been freed."""
        with self._life:
            if self._handle is not None:
                getattr(_native.library(), f"rbe_{self._kind}_cancel")(self._handle)

    def free(self) -> None:
        """Frees it; a call that runs on another thread is cancelled first. Freeing twice is allowed."""
        mine = self._take()
        if mine is None:
            if self._user.get(_NOW, (0, None))[0] == threading.get_ident():
                raise RbeError(f"a {self._kind} cannot be closed from its own progress function; return True to stop")
            self.cancel()
            mine = self._taken_in_time()
        try:
            with self._life:
                handle, self._handle = self._handle, None
            if handle is not None:
                getattr(_native.library(), f"rbe_{self._kind}_free")(handle)
        finally:
            self._give_up(mine)

    def _taken_in_time(self) -> tuple[int, object]:
        until = time.monotonic() + _CLOSE_TIMEOUT_S
        while (mine := self._take()) is None:
            if time.monotonic() > until:
                raise RbeError(f"this {self._kind} is still in use on another thread; cancel it before closing")
            time.sleep(_CLOSE_LOOK_S)
        return mine
