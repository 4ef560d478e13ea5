"""The ctypes binding of native/include/rbe: the library, its calls, statuses as exceptions; declared in _abi.py.

The library is loaded at the first use of library(), and each function is bound when it is first asked for. Handles
are typed pointers, so that ctypes refuses a session where a model belongs. Calls release the GIL; rbe_last_error()
belongs to the thread, so check() must be called on the thread that made the call.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbe_edge import errors
from rbe_edge._abi import *  # noqa: F403 - all that is declared is part of the binding
from rbe_edge._abi import (
    ERROR_CANCELLED,
    ERROR_CONTEXT,
    OK,
    PROTOTYPES,
    CaptureCallback,
    DrawCallback,
    GradientCallback,
    LogCallback,
    ProgressCallback,
)
from rbe_edge._version import __version__
from rbe_edge.interrupts import Interrupts, called_back
from rbe_edge.progress import Report

if TYPE_CHECKING:
    import numpy as np


class Library:
    """The loaded C library; its functions are attributes of the same names as in the headers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._cdll = ctypes.CDLL(str(path))
        except OSError as error:
            raise errors.NativeLibraryError(
                f"cannot load {path} ({error}); install the package again (`pip install .`) on this machine"
            ) from None
        found = self.rbe_version().decode("utf-8", "replace")
        if found != __version__:
            raise errors.NativeLibraryError(
                f"{path} is version {found}, this package is {__version__}; install the package again (`pip install .`)"
            )

    def __getattr__(self, name: str) -> Any:
        if name not in PROTOTYPES:
            raise AttributeError(f"librbe has no function {name}")
        try:
            function = getattr(self._cdll, name)
        except AttributeError:
            raise errors.NativeLibraryError(
                f"{self.path} was built without {name}; install the package again (`pip install .`)"
            ) from None
        function.restype, function.argtypes = PROTOTYPES[name]
        setattr(self, name, function)  # the next access finds it without __getattr__
        return function


def _library_path() -> Path:
    override = os.environ.get("RBE_LIBRARY")
    if override:
        return Path(override)
    name = {"darwin": "librbe.dylib", "win32": "rbe.dll"}.get(sys.platform, "librbe.so")
    # An editable install keeps the sources and the built library apart; __path__ then names both directories.
    package = sys.modules["rbe_edge"]
    for directory in [str(Path(__file__).parent), *package.__path__]:
        candidate = Path(directory) / name
        if candidate.is_file():
            return candidate
    raise errors.NativeLibraryError(
        f"{name} is not in {Path(__file__).parent}; build it with `pip install .`, or set RBE_LIBRARY to a built one"
    )


@functools.cache
def library() -> Library:
    """The C library, loaded once. NativeLibraryError where it is missing, of another machine or another version."""
    return Library(_library_path())


_EXCEPTIONS: dict[int, type[errors.RbeError]] = {
    ERROR_CONTEXT: errors.ContextFull,
    ERROR_CANCELLED: errors.Cancelled,
}


def check(status: int, error: type[errors.RbeError] = errors.ModelError) -> None:
    """Raises for a status that is not RBE_OK: ContextFull and Cancelled for theirs, `error` for all others."""
    if status == OK:
        return
    lib = library()
    text = lib.rbe_status_text(status).decode("utf-8", "replace")
    message = lib.rbe_last_error().decode("utf-8", "replace")
    raise _EXCEPTIONS.get(status, error)(message or text)


_interrupts = Interrupts()


def call(function: Callable[..., int], *arguments: object) -> int:
    """Calls a function of the library that calls back, so that no Ctrl-C is lost; gives its status. Raises what the
    handler of SIGINT raises where the signal came after the last callback."""
    return _interrupts.call(function, *arguments)


class _Carrier:
    """Holds what a callback raised, since an exception cannot cross C, until check() raises it again. Functions that
    are given the callback are called by call(); each callback ends in _interrupts.deliver()."""

    def __init__(self) -> None:
        self._raised: BaseException | None = None

    def check(self, status: int, error: type[errors.RbeError] = errors.ModelError) -> None:
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised
        check(status, error)

    def _guard(self, act: Callable[[], object]) -> int:
        """What a callback returns that does this: 0, or 1 where it raised."""
        try:
            act()
            _interrupts.deliver()
            return 0
        except BaseException as raised:
            self._raised = raised
            return 1


class ReportCarrier(_Carrier):
    """A Report (rbe_edge/progress.py) made callable from C. Keep it until the call returns, then give the status to its
    check(), which raises again what the report raised, KeyboardInterrupt included. Without a `report` the callback only
    lets Python see a pending Ctrl-C.
    """

    def __init__(self, report: Report | None = None) -> None:
        super().__init__()
        self._report = report
        self.callback = ProgressCallback(self._call)

    @called_back
    def _call(self, done: int, total: int, user: int | None) -> int:
        try:
            if self._raised is not None:
                return 1
            stop = self._report is not None and self._report(done, total) is True
            _interrupts.deliver()
            return 1 if stop else 0
        except BaseException as raised:
            self._raised = raised
            return 1


class Capture(_Carrier):
    """A function that is shown activations, `show(layer, point, x)` with x float32 [tokens][cols] valid during the
    call, made callable from C; NULL without one. Keep it until the call returns, then give the status to its check().
    """

    def __init__(self, show: Callable[[int, int, np.ndarray[Any, Any]], object] | None) -> None:
        super().__init__()
        self._show = show
        self.callback = CaptureCallback(self._call) if show is not None else CaptureCallback()

    @called_back
    def _call(self, layer: int, point: int, x: Any, n_tokens: int, cols: int, user: int | None) -> int:
        import numpy as np

        assert self._show is not None
        show = self._show
        return self._guard(lambda: show(layer, point, np.ctypeslib.as_array(x, shape=(n_tokens, cols))))


class GradientShow(_Carrier):
    """A function that is shown gradients, `show(gradient)` with an rbe_gradient valid during the call, made callable
    from C; NULL, where nothing is made to be shown, without one. Keep it until the call returns, then give the status
    to its check()."""

    def __init__(self, show: Callable[[Any], object] | None) -> None:
        super().__init__()
        self._show = show
        self.callback = GradientCallback(self._call) if show is not None else GradientCallback()

    @called_back
    def _call(self, gradient: Any, user: int | None) -> int:
        assert self._show is not None
        show = self._show
        return self._guard(lambda: show(gradient.contents))


class Draw(_Carrier):
    """A function that chooses a token, `draw(logits, sampler)` with logits float32 [vocabulary] that it may change and
    sampler what `wrap` makes of the rbe_sampler; it returns a token, or None to end the text. Made callable from C:
    keep it as long as the generation, and give the status of each call to its check(), which raises again what `draw`
    raised, and OptionError where it returned what is no token. The text has ended then too."""

    def __init__(self, draw: Callable[[np.ndarray[Any, Any], Any], int | None], wrap: Callable[[Any], object]) -> None:
        super().__init__()
        self._draw = draw
        self._wrap = wrap
        self.callback = DrawCallback(self._call)

    @called_back
    def _call(self, logits: Any, n_vocabulary: int, sampler: Any, token: Any, user: int | None) -> int:
        import numpy as np

        try:
            chosen = self._draw(np.ctypeslib.as_array(logits, shape=(n_vocabulary,)), self._wrap(sampler))
            _interrupts.deliver()
            if chosen is None:
                return 1
            token[0] = self._token(chosen, n_vocabulary)
            return 0
        except BaseException as raised:
            self._raised = raised
            return 1

    @staticmethod
    def _token(chosen: object, n_vocabulary: int) -> int:
        # ctypes would cut off what is too large, and -1 is RBE_NO_TOKEN, which leaves the drawing to the sampler.
        try:
            token = operator.index(chosen)  # type: ignore[arg-type]
        except TypeError:
            token = -1
        if 0 <= token < n_vocabulary:
            return token
        raise errors.OptionError(f"draw must return a token from 0 to {n_vocabulary - 1}, or None, not {chosen!r}")


class Log(_Carrier):
    """A log function, `write(level, message)` with levels 0 debug, 1 information, 2 warning, made callable from C."""

    def __init__(self, write: Callable[[int, str], object]) -> None:
        super().__init__()
        self._write = write
        self.callback = LogCallback(self._call)

    @called_back
    def _call(self, level: int, message: bytes, user: int | None) -> None:
        try:
            self._write(level, message.decode("utf-8", "replace"))
            _interrupts.deliver()
        except BaseException as raised:
            self._raised = raised


# Kinds of numpy items by C types. numpy.dtype(ctype) would ask the same, but loses a Ctrl-C that comes meanwhile.
_KINDS = {
    ctypes.c_float: "f", ctypes.c_double: "f", ctypes.c_int8: "i", ctypes.c_int16: "i", ctypes.c_int32: "i",
    ctypes.c_int64: "i", ctypes.c_uint8: "u", ctypes.c_uint16: "u", ctypes.c_uint32: "u", ctypes.c_uint64: "u",
}  # fmt: skip


def pointer(array: np.ndarray[Any, Any], ctype: Any, *, writable: bool = False) -> Any:
    """A C pointer to a contiguous numpy array whose items are exactly `ctype`. writable: the library writes there. The
    array must outlive the pointer. Raises TypeError for another array."""
    found = array.dtype
    exact = found.kind == _KINDS[ctype] and found.itemsize == ctypes.sizeof(ctype) and found.isnative
    if not exact or not array.flags.c_contiguous:
        raise TypeError(f"needs a C-contiguous array of {ctype.__name__}, got {found}")
    if writable and not array.flags.writeable:
        raise TypeError(f"needs an array of {ctype.__name__} that may be written to; this one is read-only")
    return array.ctypes.data_as(ctypes.POINTER(ctype))


def kernel_sets() -> dict[str, bool]:
    """Kernel sets of this build, worst first, and whether this processor can run each."""
    lib = library()
    sets: dict[str, bool] = {}
    while name := lib.rbe_kernel_set_name(len(sets)):
        sets[name.decode("ascii")] = bool(lib.rbe_kernel_set_available(name))
    return sets
