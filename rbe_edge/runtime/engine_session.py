"""An rbe_session: the KV cache of one text and the passes over it, on one thread at a time.

Session (session.py) is what users get: it adds what is made of passes, such as generated text.
"""

from __future__ import annotations

import ctypes
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rbe_edge import _native
from rbe_edge.errors import ContextFull, OptionError, RbeError, StateError
from rbe_edge.progress import Report
from rbe_edge.runtime.effort import Effort, set_effort
from rbe_edge.runtime.fit import check_session
from rbe_edge.runtime.memory import ProfileEntry, read_profile
from rbe_edge.runtime.native_options import raw_session_options
from rbe_edge.runtime.native_owner import NativeOwner
from rbe_edge.runtime.options import CACHE_TYPES, CacheType, PlanesKind, SessionOptions, require
from rbe_edge.runtime.threads import ThreadsInfo, Workers, raw_workers, read_threads, try_threads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.engine_model import EngineModel

    Show = Callable[[int, int, npt.NDArray[np.float32]], object]

_PLANES_KINDS: dict[PlanesKind, int] = {
    "attention": _native.PLANES_ATTENTION, "feed_forward": _native.PLANES_FEED_FORWARD,
    "embedding": _native.PLANES_EMBEDDING, "lm_head": _native.PLANES_LM_HEAD,
}  # fmt: skip


@dataclass(frozen=True)
class SessionInfo:
    """arena_bytes: all memory of the session, kv_bytes: what of it is the KV cache. context, position: in tokens. kv:
    the type of the cache, decided where "auto" was asked for."""

    arena_bytes: int
    kv_bytes: int
    context: int
    position: int
    threads: int
    kv: CacheType


@dataclass(frozen=True)
class Scores:
    """log_probabilities: float32 [n - 1], natural log-probability of token i + 1 after token i. logits: float32
    [n][vocabulary] where they were asked for."""

    log_probabilities: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32] | None


class EngineSession(NativeOwner):
    """A session without the generation of text. All memory is taken at creation. One thread uses it at a time, any
    thread may cancel."""

    def __init__(self, model: EngineModel, options: SessionOptions) -> None:
        raw = raw_session_options(options)
        if options.check_memory:
            check_session(model.handle, raw)
        handle = ctypes.POINTER(_native.SessionHandle)()
        _native.check(_native.library().rbe_session_create(model.handle, ctypes.byref(raw), ctypes.byref(handle)))
        self.own(model, handle)
        self.sinks = options.sinks
        self.context = self.info.context

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.model!r}{' (closed)' if self.is_closed else f', {self.context} tokens'}>"
        )

    def _raw_info(self) -> _native.SessionInfo:
        raw = _native.SessionInfo(struct_bytes=ctypes.sizeof(_native.SessionInfo))
        with self.use() as handle:
            _native.check(_native.library().rbe_session_get_info(handle, ctypes.byref(raw)))
        return raw

    @property
    def info(self) -> SessionInfo:
        """Memory, context, position, threads and the type of the cache, as values."""
        raw = self._raw_info()
        return SessionInfo(
            arena_bytes=raw.arena_bytes,
            kv_bytes=raw.kv_bytes,
            context=raw.context_tokens,
            position=raw.position,
            threads=raw.n_threads,
            kv=CACHE_TYPES[raw.kv_type],
        )

    @property
    def profile(self) -> tuple[ProfileEntry, ...]:
        """Where the time went since the session was made, if it was made with `profile`; else ModelError."""
        with self.use() as handle:
            return read_profile(handle)

    @property
    def position(self) -> int:
        """Tokens in the context now."""
        position: int = self._raw_info().position
        return position

    @property
    def tokens(self) -> tuple[int, ...]:
        """The tokens in the context."""
        n_tokens = ctypes.c_size_t()
        with self.use() as handle:
            tokens = _native.library().rbe_session_tokens(handle, ctypes.byref(n_tokens))
            return tuple(tokens[: n_tokens.value])

    def configure(self, *, threads: int = 0, planes: int | Mapping[PlanesKind, int] = 0) -> None:
        """From the next call on: another number of threads (0: as they are), and planes read of each trellis tensor (0:
        all), for all matrices or by their kind; of a kind that is left out all are read. What the context holds stays
        as it was computed. Raises OptionError for what is out of range; the session is then as before."""
        raw = _native.PassOptions(struct_bytes=ctypes.sizeof(_native.PassOptions), n_threads=threads)
        require(0 <= threads <= 64, f"threads must be from 1 to 64, or 0 for as they are, not {threads}")
        by_kind = planes if isinstance(planes, Mapping) else dict.fromkeys(_PLANES_KINDS, planes)
        for kind, count in by_kind.items():
            require(kind in _PLANES_KINDS, f"planes are of {', '.join(_PLANES_KINDS)}, not of {kind}")
            require(0 <= count <= 4, f"planes must be from 1 to 4, or 0 for all, not {count}")
            raw.planes[_PLANES_KINDS[kind]] = count
        with self.use() as handle:
            _native.check(_native.library().rbe_session_configure(handle, ctypes.byref(raw)))

    def set_effort(self, effort: Effort | None) -> None:
        """How much of the model is read from the next call on; effort None: all of it. It replaces planes that were set
        before, and planes that are set later replace it. Raises OptionError where it is none for this model; the
        session is then as before."""
        with self.use() as handle:
            set_effort(handle, effort)

    def set_workers(self, workers: Workers) -> None:
        """How many threads there are from the next call on, and how they use the machine (Workers). Raises OptionError
        for workers that cannot be; the threads are then as before."""
        with self.use() as handle:
            _native.check(_native.library().rbe_session_set_workers(handle, ctypes.byref(raw_workers(workers))))

    def try_threads(self, kept: os.PathLike[str] | None = None, *, keep: bool = True) -> None:
        """From the next token on, tries numbers of threads for some 24 tokens at most and stays with the fastest; what
        is said does not depend on it. kept: a file of results, which need not exist; what it knows of this machine and
        size of model is taken without trying. keep: False writes nothing there, as on a machine that is busy now."""
        if kept is not None and not keep and not self.model.kept_threads(kept):
            kept = None
        with self.use() as handle:
            try_threads(handle, kept)

    @property
    def threads_info(self) -> ThreadsInfo:
        """What try_threads() found so far."""
        with self.use() as handle:
            return read_threads(handle)

    def check_room(self, n_tokens: int, what: str) -> None:
        """Raises ContextFull, with the numbers, where n_tokens more do not fit. what: what has them, such as "the
        prompt"."""
        position = self.position
        if not self.sinks and position + n_tokens > self.context:
            used = f", {position} of them in use" if position else ""
            message = f"{what} has {n_tokens} tokens and the context holds {self.context}{used}"
            raise ContextFull.beyond(message, self.context, self.model.info.context)

    def prefill(self, tokens: Sequence[int], *, progress: Report | None = None) -> None:
        """Appends tokens to the context; logits are then those after the last one.

        progress(done, total) is called between pieces of the work and may return True to stop it, which raises
        Cancelled. On any failure the session is as before. Ctrl-C stops it too. Raises ContextFull, unless the context
        slides.
        """
        array = self.token_array(tokens)
        self.check_room(len(array), "the prompt")
        carrier = _native.ReportCarrier(progress)
        with self.run() as handle:
            append = _native.library().rbe_session_append
            status = _native.call(append, handle, array, len(array), carrier.callback, None)
            carrier.check(status)

    def encode(self, text: str | Sequence[int], *, progress: Report | None = None) -> None:
        """The text, or its tokens, that an encoder-decoder answers to, in place of the one before. The context, which
        is the answer, is empty afterwards. progress, stopping and failures: as of prefill(). Raises OptionError for a
        model of another kind, ContextFull for a text of more tokens than the context has room for."""
        array = self._text_array(self.model.tokenize(text) if isinstance(text, str) else text)
        carrier = _native.ReportCarrier(progress)
        with self.run() as handle:
            encode = _native.library().rbe_session_encode
            status = _native.call(encode, handle, array, len(array), carrier.callback, None)
            carrier.check(status)

    def _text_array(self, tokens: Sequence[int]) -> Any:
        if self.model.encoder_decoder is None:
            raise OptionError(f"{self.model!r} has no encoder in front of a decoder; give it the text as a prompt")
        array = self.token_array(tokens)
        if len(array) > self.context:
            message = f"the text has {len(array)} tokens and the session has room for {self.context}"
            raise ContextFull.beyond(message, self.context, self.model.info.context)
        return array

    @property
    def text_tokens(self) -> int:
        """Tokens of the text that was encoded; 0: none was."""
        with self.use() as handle:
            return int(_native.library().rbe_session_text_tokens(handle))

    def take_prompt(self, tokens: Sequence[int], *, progress: Report | None = None) -> None:
        """The tokens of a prompt: they are appended; by an encoder-decoder they are encoded, and the answer begun.
        progress and errors: as of prefill() and encode()."""
        kind = self.model.encoder_decoder
        if kind is None:
            self.prefill(tokens, progress=progress)
            return
        self.encode(tokens, progress=progress)
        self.prefill([kind.start])

    @property
    def logits(self) -> npt.NDArray[np.float32]:
        """A copy of the logits after the last token, float32 [vocabulary]. Raises before the first prefill."""
        import numpy as np

        with self.logits_pointer() as pointer:
            return np.array(np.ctypeslib.as_array(pointer, shape=(self.model.info.vocabulary,)), dtype=np.float32)

    @contextmanager
    def logits_pointer(self) -> Iterator[Any]:
        """The logits where they lie, a C pointer to float[vocabulary]; the session is in use while they are read."""
        with self.use() as handle:
            pointer = _native.library().rbe_session_logits(handle)
            if not pointer:
                raise RbeError("there are no logits before the first prefill, or after a rewind")
            yield pointer

    def score(self, tokens: Sequence[int], *, logits: bool = False, progress: Report | None = None) -> Scores:
        """Appends tokens and says how probable each was after those before it: log-probabilities float32 [n - 1], and
        with `logits` the logits after each, float32 [n][vocabulary]. For perplexity and parity. progress and errors: as
        of prefill()."""
        import numpy as np

        array = self.token_array(tokens)
        self.check_room(len(array), "the text")
        log_probabilities = np.empty(len(array) - 1, dtype=np.float32)
        all_logits = np.empty((len(array), self.model.info.vocabulary), dtype=np.float32) if logits else None
        carrier = _native.ReportCarrier(progress)
        with self.run() as handle:
            status = _native.call(
                _native.library().rbe_session_score,
                handle,
                array,
                len(array),
                _native.pointer(log_probabilities, ctypes.c_float) if len(array) > 1 else None,
                _native.pointer(all_logits, ctypes.c_float) if all_logits is not None else None,
                carrier.callback,
                None,
            )
            carrier.check(status)
        return Scores(log_probabilities=log_probabilities, logits=all_logits)

    def embed(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """The hidden states of tokens before the first layer, float32 [n][stream_width]. The context must be empty.
        Raises OptionError for what are no tokens."""
        import numpy as np

        array = self.token_array(tokens)
        hidden = np.empty((len(array), self.model.stream_width), dtype=np.float32)
        with self.use() as handle:
            pointer = _native.pointer(hidden, ctypes.c_float)
            _native.check(_native.library().rbe_session_embed(handle, array, len(array), pointer))
        return hidden

    def run_layers(
        self,
        first: int,
        count: int,
        hidden: npt.NDArray[np.float32],
        show: Show | None = None,
        *,
        position: int = 0,
    ) -> None:
        """Runs `count` layers from `first` on over hidden states float32 [n][stream_width] at positions `position`
        ..., in place, continuing what these layers keep of positions before. The context, which ends at or before
        `position`, stays as it is. show(layer, point, x) is given what each group of matrices reads, [tokens][cols]
        valid during the call; point is one of _native.CAPTURE_*. For calibration, and for layers on several machines.

        Raises OptionError for hidden states of another width, layers that the model does not hold and positions before
        the end of the context, ContextFull for those behind the last one, Cancelled after cancel(): hidden states are
        then in part those of before, in part those after the layers."""
        width = self.model.stream_width
        require(hidden.ndim == 2 and hidden.shape[1] == width, f"hidden must be [n][{width}], not {hidden.shape}")
        for number in (first, count, position):
            require(0 <= number < 2**32, f"layers and positions are whole numbers from 0 on, not {number}")
        carrier = _native.Capture(show)
        with self.run() as handle:
            status = _native.call(
                _native.library().rbe_session_run_layers,
                handle,
                first,
                count,
                position,
                _native.pointer(hidden, ctypes.c_float, writable=True),
                len(hidden),
                carrier.callback,
                None,
            )
            carrier.check(status, OptionError)

    def rewind(self, n_tokens: int = 0) -> None:
        """Forgets all but the first n_tokens of the context."""
        position = self.position
        if not 0 <= n_tokens <= position:
            raise OptionError(f"the context has {position} tokens, so it cannot go back to {n_tokens}")
        with self.use() as handle:
            _native.check(_native.library().rbe_session_rewind(handle, n_tokens))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the context, its keys and values and the logits to `path` (docs/runtime.md, "Saved state"), so that
        restore() goes on from there without computing them again. The file holds the text: it is readable by its owner
        alone. Raises StateError where it cannot be written; what was there before is then still there."""
        with self.use() as handle:
            _native.check(_native.library().rbe_session_save(handle, os.fsencode(path)), StateError)

    def restore(self, path: str | os.PathLike[str]) -> list[int]:
        """Replaces the context by the one saved at `path` and returns its tokens; what follows is bit for bit what
        would have followed there. The size of the context, threads, planes, pass and sinks may differ from those of the
        saved one.

        Raises StateError for a file that is missing, damaged, of another version, model or kv type, ContextFull where
        it does not fit. The session is then as before."""
        with self.use() as handle:
            _native.check(_native.library().rbe_session_restore(handle, os.fsencode(path)), StateError)
        return list(self.tokens)

    def copy_from(self, other: EngineSession, n_tokens: int) -> None:
        """Replaces the context by the first n_tokens of another session's, which stays as it is: a prompt that both
        begin with is computed once. There are no logits then. Size of the context, threads, planes, pass and sinks may
        differ.

        Raises OptionError where the other holds fewer tokens or differs in model or kv type, ContextFull where they do
        not fit. The session is then as before."""
        if other is self:
            raise OptionError("a session is copied from another one; rewind() forgets what comes later")
        with self.use() as handle, other.use() as source:
            _native.check(_native.library().rbe_session_copy(handle, source, n_tokens), OptionError)

    def resume(self, tokens: Sequence[int]) -> list[int]:
        """Goes back to the longest prefix of `tokens` that the context already holds, and returns the rest of them,
        at least the last one, for prefill or generate: so a growing conversation is computed once."""
        array, n_held = self.token_array(tokens), ctypes.c_size_t()
        with self.use() as handle:
            _native.check(_native.library().rbe_session_resume(handle, array, len(array), ctypes.byref(n_held)))
        return list(tokens[n_held.value :])

    def common(self, tokens: Sequence[int]) -> int:
        """How many of the tokens the context begins with; 0 of none. Raises OptionError for what are no tokens."""
        array = self.token_array(tokens) if len(tokens) else None
        with self.use() as handle:
            common: int = _native.library().rbe_session_common(handle, array, len(tokens))
            return common

    def token_array(self, tokens: Sequence[int]) -> ctypes.Array[ctypes.c_uint32]:
        """The tokens for C. Raises OptionError where there are none, or one is no token of the model."""
        # Without numpy, whose import takes longer than the first token of a small model.
        if len(tokens) == 0:
            raise OptionError("the prompt is empty; give at least one token")
        vocabulary = self.model.info.vocabulary
        try:
            ids = list(map(operator.index, tokens))
        except TypeError:
            ids = [-1]
        if min(ids) < 0 or max(ids) >= vocabulary:
            raise OptionError(f"tokens must be whole numbers from 0 to {vocabulary - 1}")
        return (ctypes.c_uint32 * len(ids))(*ids)
