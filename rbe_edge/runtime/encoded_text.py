"""The text that an encoder-decoder answers to: its encoder runs over it once, and the decoder's layers keep what they
need of it (docs/encoder_decoders.md)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rbe_edge import _native
from rbe_edge.errors import ContextFull, OptionError
from rbe_edge.progress import Report

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.engine_session import EngineSession

    Show = Callable[[int, int, npt.NDArray[np.float32]], object]


@dataclass(frozen=True)
class EncoderDecoderInfo:
    """encoder_layers: of the encoder. start: the token that begins an answer."""

    encoder_layers: int
    start: int


def read_encoder_decoder_info(model: Any) -> EncoderDecoderInfo | None:
    """model: an rbe_model. None for a model that is none."""
    raw = _native.EncoderDecoderInfo(struct_bytes=ctypes.sizeof(_native.EncoderDecoderInfo))
    _native.check(_native.library().rbe_model_get_encoder_decoder_info(model, ctypes.byref(raw)))
    return EncoderDecoderInfo(raw.encoder_layers, raw.start_token) if raw.is_encoder_decoder else None


def _array(session: EngineSession, tokens: Sequence[int]) -> Any:
    if session.model.encoder_decoder is None:
        raise OptionError(f"{session.model!r} has no encoder in front of a decoder; give it the text as a prompt")
    array = session.token_array(tokens)
    if len(array) > session.context:
        message = f"the text has {len(array)} tokens and the session has room for {session.context}"
        raise ContextFull.beyond(message, session.context, session.model.info.context)
    return array


def encode(session: EngineSession, tokens: Sequence[int], progress: Report | None) -> None:
    """See EngineSession.encode()."""
    array = _array(session, tokens)
    carrier = _native.ReportCarrier(progress)
    with session.run() as handle:
        run = _native.library().rbe_session_encode
        status = _native.call(run, handle, array, len(array), carrier.callback, None)
        carrier.check(status)


def encode_shown(session: EngineSession, tokens: Sequence[int], show: Show) -> None:
    """The same for calibration. show(layer, point, x): what each group of matrices reads, as of
    EngineSession.run_layers(); the encoder's layers count from one behind the decoder's last on, and keys and values of
    the text are those of the decoder's layers."""
    array = _array(session, tokens)
    carrier = _native.Capture(show)
    with session.run() as handle:
        run = _native.library().rbe_session_encode_captured
        status = _native.call(run, handle, array, len(array), carrier.callback, None)
        carrier.check(status, OptionError)
