"""An rbe_encoder: texts into hidden states, pooled vectors, and words that fit into gaps (docs/encoders.md)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from rbe_edge import _native
from rbe_edge.errors import OptionError
from rbe_edge.progress import Report
from rbe_edge.runtime.encoder_info import POOLINGS, Pooling
from rbe_edge.runtime.encoder_texts import TextReader, TokenText, read_all
from rbe_edge.runtime.native_owner import NativeOwner
from rbe_edge.runtime.options import MAX_PASS_TOKENS, require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.encoder_texts import Text
    from rbe_edge.runtime.engine_model import EngineModel

    FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EncoderOptions:
    """threads: 1 to 64, 0 is one per fast core. pass_tokens: tokens that run at once, 1 to 512, 0 is the library's
    default. planes: read of each tensor, 1 to 4, 0 is all. pooling: in place of the file's; None is the file's.
    profile: measure where the time goes, for Encoder.profile()."""

    threads: int = 0
    pass_tokens: int = 0
    planes: int = 0
    pooling: Pooling | None = None
    profile: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.threads <= 64, f"threads must be from 1 to 64, or 0 for all cores, not {self.threads}")
        most = MAX_PASS_TOKENS
        require(0 <= self.pass_tokens <= most, f"pass_tokens must be from 1 to {most}, or 0, not {self.pass_tokens}")
        require(0 <= self.planes <= 4, f"planes must be from 1 to 4, or 0 for all, not {self.planes}")
        known = get_args(Pooling)
        require(self.pooling in (None, *known), f"pooling must be one of {', '.join(known)}, not {self.pooling}")


class _Batch:
    """Texts as the library takes them, shortest first, so that passes are full; and the caller's order."""

    def __init__(self, texts: Sequence[TokenText]) -> None:
        import numpy as np

        self.texts = texts
        self.order = sorted(range(len(texts)), key=lambda index: len(texts[index].tokens))
        self.n_tokens = sum(len(text.tokens) for text in texts)
        self._tokens = np.empty(self.n_tokens, np.uint32)
        self._segments = np.zeros(self.n_tokens, np.uint8)
        self.raw = (_native.EncoderText * len(texts))()
        tokens = self._tokens.ctypes.data
        segments = self._segments.ctypes.data
        first = 0
        for raw, index in zip(self.raw, self.order, strict=True):
            text = texts[index]
            n = len(text.tokens)
            self._tokens[first : first + n] = text.tokens
            self._segments[first + text.second : first + n] = 1
            raw.tokens = ctypes.cast(tokens + 4 * first, ctypes.POINTER(ctypes.c_uint32))
            raw.segments = ctypes.cast(segments + first, ctypes.POINTER(ctypes.c_uint8))
            raw.n_tokens = n
            first += n


class Encoder(NativeOwner):
    """Runs texts through a model, many at once. One thread at a time; any thread may cancel or close it.

    A text is a str, to which the special tokens of the model are put; a pair of str, as the model's pairs are written;
    or token ids, which are taken as they are. Results are in the order of the texts, and the same bits alone or in any
    company, with any number of threads.

        with model.encoder() as encoder:
            vectors = encoder.pooled(["A cat sits on a mat.", "Prices rose again."])
    """

    def __init__(self, model: EngineModel, options: EncoderOptions | None = None) -> None:
        """Takes all memory but that of texts longer than a pass. Raises OptionError for what the model cannot do."""
        chosen = options or EncoderOptions()
        raw = _native.EncoderOptions(
            struct_bytes=ctypes.sizeof(_native.EncoderOptions),
            n_threads=chosen.threads,
            pass_tokens=chosen.pass_tokens,
            n_planes=chosen.planes,
            profile=int(chosen.profile),
            pooling=POOLINGS[chosen.pooling] if chosen.pooling else 0,
        )
        handle = ctypes.POINTER(_native.EncoderHandle)()
        status = _native.library().rbe_encoder_create(model.handle, ctypes.byref(raw), ctypes.byref(handle))
        _native.check(status, OptionError)
        self.options = chosen
        self._reader = TextReader(model)
        self.own(model, handle, "encoder")

    def read(
        self, texts: Iterable[Text], *, cut: bool = False, prefix: str = "", parse_special: bool = False
    ) -> list[TokenText]:
        """The tokens of texts. cut: those that are too long lose their ends. prefix: stands before each. parse_special:
        control tokens such as [MASK] that are written out are read as such. Raises OptionError and ContextFull."""
        return read_all(self._reader, texts, cut=cut, prefix=prefix, parse_special=parse_special)

    def _texts(self, texts: Iterable[Text | TokenText]) -> list[TokenText]:
        require(not isinstance(texts, str), "give a list of texts, not one text")
        given = list(texts)
        if all(isinstance(text, TokenText) for text in given):
            return given  # type: ignore[return-value]
        return self.read(given)  # type: ignore[arg-type]

    def _run(self, function: str, batch: _Batch, out: FloatArray, progress: Report | None) -> None:
        carrier = _native.ReportCarrier(progress)
        with self.run() as handle:
            status = _native.call(
                getattr(_native.library(), f"rbe_encoder_{function}"),
                handle,
                batch.raw,
                len(batch.raw),
                _native.pointer(out, ctypes.c_float, writable=True),
                carrier.callback,
                None,
            )
            carrier.check(status, OptionError)

    def hidden(self, texts: Iterable[Text | TokenText], *, progress: Report | None = None) -> list[FloatArray]:
        """The hidden states of texts behind the last norm, float32 [tokens][width] each. progress counts tokens. Raises
        OptionError, ContextFull for a text that is too long, Cancelled."""
        import numpy as np

        batch = _Batch(self._texts(texts))
        out = np.empty((batch.n_tokens, self.model.info.width), np.float32)
        self._run("hidden", batch, out, progress)
        found: list[FloatArray] = [out[:0]] * len(batch.texts)
        first = 0
        for index in batch.order:
            end = first + len(batch.texts[index].tokens)
            found[index] = out[first:end]
            first = end
        return found

    @property
    def n_pooled(self) -> int:
        """Numbers of a pooled vector; 0 where neither the file nor the options name a pooling."""
        info = self.model.encoder_info
        return info.pooled or (self.model.info.width if self.options.pooling else 0)

    def pooled(self, texts: Iterable[Text | TokenText], *, progress: Report | None = None) -> FloatArray:
        """One vector for each text, float32 [n][n_pooled]: pooled, through the dense layers of the file, and of length
        1 where the file says so. progress and errors as of hidden(); OptionError without a pooling."""
        import numpy as np

        batch = _Batch(self._texts(texts))
        out = np.empty((len(batch.texts), self.n_pooled), np.float32)
        self._run("pool", batch, out, progress)
        found = np.empty_like(out)
        found[batch.order] = out
        return found

    def word_logits(self, text: Text | TokenText, positions: Sequence[int]) -> FloatArray:
        """What the model would write at positions of a text, counted in tokens from 0 on, special tokens included:
        float32 [n][vocabulary]. Raises OptionError for positions that the text has not, and without a head of words."""
        import numpy as np

        batch = _Batch(self._texts([text]))
        require(all(0 <= at < batch.n_tokens for at in positions), f"positions are 0 to {batch.n_tokens - 1}")
        places = np.array(positions, np.uint32)
        out = np.empty((len(places), self.model.info.vocabulary), np.float32)
        with self.run() as handle:
            status = _native.call(
                _native.library().rbe_encoder_word_logits,
                handle,
                batch.raw,
                _native.pointer(places, ctypes.c_uint32),
                len(places),
                _native.pointer(out, ctypes.c_float, writable=True),
            )
            _native.check(status, OptionError)
        return out

    def profile(self) -> dict[str, tuple[int, float]]:
        """Where the time has gone: calls and seconds of each operation. Raises OptionError unless it was made with
        `profile`."""
        entries: Any = (_native.ProfileEntry * 32)()
        count = ctypes.c_size_t()
        with self.use() as handle:
            status = _native.library().rbe_encoder_get_profile(handle, entries, len(entries), ctypes.byref(count))
            _native.check(status, OptionError)
        return {
            entry.operation.decode("ascii"): (entry.calls, entry.nanoseconds / 1e9) for entry in entries[: count.value]
        }
