"""An object that the C library made and Python owns. One thread uses it at a time; any thread may cancel or free it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rbe_edge import _native
from rbe_edge.errors import ModelError, RbeError
from rbe_edge.interrupts import Watch, watched

# How long closing waits for a call on another thread to notice that it was cancelled. A call looks between pieces of a
# prefill pass, which even on a small device take well under this.
_CLOSE_TIMEOUT_S = 30.0


class NativeHandle:
    """An rbe_session, or what else runs a model, and its two locks: one call at a time, and no cancel of what has been
    freed. kind: the word in the names of its C functions."""

    def __init__(self, handle: Any, kind: str = "session") -> None:
        self._handle: Any = handle
        self._kind = kind
        self._call = threading.Lock()
        self._life = threading.Lock()
        self._caller: int | None = None
        self._use: object = None  # the one that gives the lock up
        self._lent = False

    @property
    def is_freed(self) -> bool:
        return self._handle is None

    @contextmanager
    def use(self) -> Iterator[Any]:
        """The handle, for one call. Raises where another thread is using it or it has been freed."""
        if not self._call.acquire(blocking=False) and not self._is_left():
            raise RbeError(
                f"this {self._kind} is in use; a {self._kind} serves one call at a time, make one for each thread"
            )
        mine = self._use = object()
        try:
            self._caller = threading.get_ident()
            if self._handle is None:
                raise ModelError(f"this {self._kind} has been closed; make another with model.{self._kind}()")
            yield self._handle
        finally:
            if self._use is mine:
                self._give_up()

    def _give_up(self) -> None:
        self._caller = self._use = None
        self._call.release()

    def _is_left(self) -> bool:
        """Whether the lock is of a call of this thread that is over: a Ctrl-C came before the end of its use(), and
        Python ends that when nothing refers to the exception any more."""
        return self._caller == threading.get_ident() and not self._lent and not _native.is_called_back()

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
        watch = Watch()
        with self.use() as handle:
            try:
                with watched(self.cancel, watch):
                    yield handle
            finally:
                if watch.cancelled:  # what came when the call was through is not meant for the next one
                    getattr(_native.library(), f"rbe_{self._kind}_uncancel")(handle)

    def cancel(self) -> None:
        """Any thread; nothing where it has been freed."""
        with self._life:
            if self._handle is not None:
                getattr(_native.library(), f"rbe_{self._kind}_cancel")(self._handle)

    def free(self) -> None:
        """Frees it; a call that runs on another thread is cancelled first. Freeing twice is allowed."""
        if not self._call.acquire(blocking=False):
            if self._caller == threading.get_ident():
                if not self._is_left():
                    raise RbeError(
                        f"a {self._kind} cannot be closed from its own progress function; return True to stop"
                    )
            else:
                self.cancel()
                if not self._call.acquire(timeout=_CLOSE_TIMEOUT_S):
                    raise RbeError(f"this {self._kind} is still in use on another thread; cancel it before closing")
        try:
            with self._life:
                handle, self._handle = self._handle, None
            if handle is not None:
                getattr(_native.library(), f"rbe_{self._kind}_free")(handle)
        finally:
            self._give_up()
