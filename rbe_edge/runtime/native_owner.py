"""What runs a model in the C library, as Python objects own it: session, batch, gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rbe_edge.runtime.native_handle import NativeHandle

if TYPE_CHECKING:
    from typing_extensions import Self  # part of typing from Python 3.11 on

    from rbe_edge.runtime.engine_model import EngineModel


class NativeOwner:
    """Owns an object that the library made of a model, and frees it before the model is closed. A context manager. One
    thread uses it at a time; any thread may cancel or close it."""

    model: EngineModel
    _native: NativeHandle | None = None  # where it could not be made

    def own(self, model: EngineModel, handle: Any, kind: str = "session") -> None:
        """Takes the object. kind: as of a NativeHandle."""
        self.model = model
        self._native = NativeHandle(handle, kind)
        model.adopt(self._native)

    def close(self) -> None:
        """Frees its memory; what still runs on it is cancelled first. Closing twice is allowed."""
        if self._native is not None:
            self._native.free()
            self.model.release(self._native)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model!r}{' (closed)' if self.is_closed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        """Whether its memory has been freed."""
        return self._native is None or self._native.is_freed

    def use(self) -> AbstractContextManager[Any]:
        """The library's object, for one call on _native. Raises where another thread is using it or it has been
        closed."""
        assert self._native is not None
        return self._native.use()

    def lend(self) -> AbstractContextManager[Any]:
        """use() for as long as the caller reads what the library owns."""
        assert self._native is not None
        return self._native.lend()

    def run(self) -> AbstractContextManager[Any]:
        """use() of a session or of gradients for a call that takes long: Ctrl-C ends it at once."""
        assert self._native is not None
        return self._native.run()

    @contextmanager
    def keeping(self, other: EngineModel | None) -> Iterator[None]:
        """During a call that reads another model too: its close() waits for the call, as that of the own model does.
        None: there is no other."""
        if other is None or other is self.model:
            yield
            return
        assert self._native is not None
        other.adopt(self._native)
        try:
            yield
        finally:
            other.release(self._native)

    def cancel(self) -> None:
        """Makes the call that runs, or else the next one, raise Cancelled. Any thread; nothing once it is closed."""
        if self._native is not None:
            self._native.cancel()
