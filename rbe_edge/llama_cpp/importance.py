"""llama.cpp's importance matrix, collected by this project's engine on the text that calibrates both sides.

What llama-imatrix gathers: for every matrix, the mean of the square of each column of what it multiplies, over the
tokens of a text. The model runs in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.progress import Report
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS
from rbe_edge.sources.gguf.names import gguf_name

FloatArray = npt.NDArray[np.float32]

_READERS = {
    _native.CAPTURE_QKV: ("attention.q", "attention.k", "attention.v"),
    _native.CAPTURE_O: ("attention.o",),
    _native.CAPTURE_UP: ("feed_forward.gate", "feed_forward.up"),
    _native.CAPTURE_DOWN: ("feed_forward.down",),
    _native.CAPTURE_LAYER_GATE: ("layer_embedding.gate",),
    _native.CAPTURE_LAYER_OUTPUT: ("layer_embedding.projection",),
}


def importance(
    model: Model,
    windows: Sequence[Sequence[int]],
    threads: int = 0,
    progress: Report | None = None,
) -> dict[str, FloatArray]:
    """Per matrix, under its name in the GGUF file, float32 [cols]. model: in fp32; progress: in windows."""
    sums: dict[str, npt.NDArray[np.float64]] = {}

    def add(name: str, x: FloatArray) -> None:
        if name in model.tensors:
            total = sums.setdefault(gguf_name(name), np.zeros(x.shape[1]))
            total += np.einsum("ij,ij->j", x, x, dtype=np.float64)

    def gather(layer: int, point: int, x: FloatArray) -> None:
        if point == _native.CAPTURE_LM_HEAD:
            add("head" if "head" in model.tensors else "embedding", x)
        for part in _READERS.get(point, ()):
            add(f"layers.{layer}.{part}", x)

    longest = max(map(len, windows))
    with model.session(context=longest, threads=threads, pass_tokens=MAX_PASS_TOKENS, kv="f32") as session:
        for done, window in enumerate(windows):
            if progress is not None:
                progress(done, len(windows))
            session.run_layers(0, model.info.layers, session.embed(window), gather)
    n_tokens = sum(map(len, windows))
    return {name: (total / n_tokens).astype(np.float32) for name, total in sums.items()}
