"""Ctrl-C while the C library runs on the main thread: never lost, never printed, obeyed at once.

Python runs a handler of signals between two of its own instructions, so not before a call of the library returns; and
where the library calls back, ctypes prints what the handler raises and forgets it. Three things help:

* deferred() keeps the program's handler until an exception can be carried out, and what is in use has been given back;
* watched() lets a second thread cancel the call at the signal, which the system tells it while the main thread is in C;
* aside() lets the main thread wait for a call that nothing cancels, and leave it.

And where Python itself forgets what press() raised, heed_swallowed() raises it again.
"""

from __future__ import annotations

import _thread
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from types import FrameType

    _SignalHandler = Callable[[int, FrameType | None], object]

_T = TypeVar("_T")


class _Deferred:
    """noted: a signal that is kept until deliver()."""

    def __init__(self) -> None:
        self.handler: _SignalHandler | None = None  # the program's own, while note() stands in for it
        self.noted: tuple[int, FrameType | None] | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        self.noted = number, frame


_deferred = _Deferred()


@contextmanager
def deferred() -> Iterator[None]:
    """Until its end a Ctrl-C is only noted, so that nothing is left half done; then the program's handler runs, and
    what it raises is raised. Callbacks look earlier, with deliver(). May be nested. Nothing is deferred on other
    threads, which see no signals, and where the program has no handler of Python's."""
    handler = signal.getsignal(signal.SIGINT) if _on_main_thread() else None
    if not callable(handler) or handler == _deferred.note:
        yield
        return
    _deferred.handler, _deferred.noted = handler, None
    try:
        signal.signal(signal.SIGINT, _deferred.note)
        yield
    finally:
        if signal.getsignal(signal.SIGINT) == _deferred.note:  # else a callback has put another in its place
            signal.signal(signal.SIGINT, handler)
        deliver()


def deliver() -> None:
    """Runs the program's handler for a signal that was noted; raises what it raises."""
    if _deferred.noted is not None and _on_main_thread():
        noted, _deferred.noted = _deferred.noted, None
        assert _deferred.handler is not None
        _deferred.handler(*noted)


class Watch:
    """cancelled: whether the call was cancelled for a Ctrl-C."""

    def __init__(self) -> None:
        self.cancelled = False


class _Watcher:
    """A thread that the system wakes at a signal, through a pipe (signal.set_wakeup_fd), whatever the main thread does.
    What the pipe holds is read under the lock alone, so that no signal is taken for one of a later call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] | None = None
        self._watch = Watch()
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        while True:
            select.select([self._reading], [], [])
            with self._lock:
                if signal.SIGINT in self._signals() and self._cancel is not None:
                    self._watch.cancelled = True
                    self._cancel()

    def _signals(self) -> bytes:
        try:
            return os.read(self._reading, 64)
        except BlockingIOError:
            return b""

    def begin(self, cancel: Callable[[], object], watch: Watch) -> None:
        with self._lock:
            self._cancel, self._watch = cancel, watch
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)

    def end(self) -> None:
        signal.set_wakeup_fd(-1)
        with self._lock:
            self._cancel = None
            self._signals()


_watcher: _Watcher | None = None
_watching = False


def _forget_watcher() -> None:
    """In a forked child, which has no second thread."""
    global _watcher, _watching
    _watcher, _watching = None, False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_watcher)


@contextmanager
def watched(cancel: Callable[[], object], watch: Watch) -> Iterator[None]:
    """During one call of the library: a Ctrl-C calls cancel(), on another thread, and the main thread raises
    KeyboardInterrupt once the call returns; `watch` says behind it whether that was so. Nothing is watched on other
    threads, where the program handles the signal itself, or an event loop is told of signals; and within a call that is
    watched already."""
    global _watcher, _watching
    if _watching or not (_on_main_thread() and os.name == "posix" and _raises()) or _is_told():
        yield
        return
    if _watcher is None:
        _watcher = _Watcher()
    _watching = True
    try:
        _watcher.begin(cancel, watch)
        yield
    finally:
        _watching = False
        _watcher.end()


def _is_told() -> bool:
    """Whether somebody else is woken at signals, such as asyncio."""
    told = signal.set_wakeup_fd(-1)
    if told != -1:
        signal.set_wakeup_fd(told)
    return told != -1


class _Aside(Generic[_T]):
    """The main thread waits for a bare lock, and starts the thread by its bare function: a Ctrl-C within the waits of
    threading.Event, which Thread.start() has too, may leave a lock that the other thread then releases in vain."""

    def __init__(self, work: Callable[[], _T], dispose: Callable[[_T], object]) -> None:
        self._work, self._dispose = work, dispose
        self._lock = threading.Lock()
        self._done = _thread.allocate_lock()
        self._done.acquire()
        self._left = False
        self._made: list[_T] = []
        self._raised: BaseException | None = None

    def _run(self) -> None:
        try:
            made = self._work()
            with self._lock:
                if not self._left:
                    self._made.append(made)
                    return
            self._dispose(made)
        except BaseException as error:
            self._raised = error
        finally:
            self._done.release()

    def wait(self) -> _T:
        try:
            _thread.start_new_thread(self._run, ())
            self._done.acquire()
        except BaseException:
            with self._lock:
                self._left = True
            for made in self._made:
                self._dispose(made)
            raise
        if self._raised is not None:
            raise self._raised
        return self._made[0]


def aside(work: Callable[[], _T], dispose: Callable[[_T], object]) -> _T:
    """work(), which no one can cancel, on another thread, while the main thread waits where Ctrl-C reaches it. What
    comes when nobody waits any more is given to dispose(), on that thread. Elsewhere than on the main thread, and where
    the program handles the signal itself: work()."""
    if not (_on_main_thread() and _raises()):
        return work()
    return _Aside(work, dispose).wait()


def _raises() -> bool:
    """Whether Ctrl-C raises KeyboardInterrupt, as it does in a program that says nothing about it."""
    handler = signal.getsignal(signal.SIGINT)
    return (_deferred.handler if handler == _deferred.note else handler) in (signal.default_int_handler, press)


_pressed = False


def press(number: int, frame: FrameType | None) -> None:
    """A handler of SIGINT that raises KeyboardInterrupt and remembers that it did: a module in C that is being imported
    may make another exception of it."""
    global _pressed
    _pressed = True
    raise KeyboardInterrupt


def was_pressed() -> bool:
    """Whether Ctrl-C came, to press(), and was not answered yet by forget_press()."""
    return _pressed


def forget_press() -> None:
    """For whoever catches KeyboardInterrupt and goes on."""
    global _pressed
    _pressed = False


_AGAIN_S = 0.002  # until what swallowed a press is left


def heed_swallowed(unraisable: sys.UnraisableHookArgs) -> None:
    """For sys.unraisablehook: what press() raises within a destructor or a callback, as the import of a module has,
    Python prints and forgets. It is raised once more behind it, and not printed."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt) and _pressed:
        _thread.start_new_thread(_press_again, ())
    else:
        sys.__unraisablehook__(unraisable)


def _press_again() -> None:
    time.sleep(_AGAIN_S)
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # which wakes it where it waits
    else:
        _thread.interrupt_main()


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
