"""A vector for a text: its hidden states behind the last norm, pooled and scaled to length 1.

A decoder is trained to predict the next token, not to place texts by their meaning. What comes out orders texts roughly
by topic and style, and is far behind a model that was trained for it (docs/runtime.md, "Embeddings").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from rbe_edge import _native
from rbe_edge.errors import RbeError
from rbe_edge.runtime.options import require

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.engine_session import EngineSession

Pooling = Literal["mean", "last"]
"""mean: of all tokens, BOS included where the model wants one. last: of the last token, which has seen all others."""


def embedding(session: EngineSession, text: str | Sequence[int], pooling: Pooling) -> npt.NDArray[np.float32]:
    """float32 [width] of length 1; see Session.embedding."""
    import numpy as np

    require(pooling in get_args(Pooling), f"pooling must be one of {', '.join(get_args(Pooling))}, not {pooling}")
    if session.position:
        raise RbeError("an embedding needs an empty context; call rewind() first, or make another session")
    tokens = session.model.tokenize(text) if isinstance(text, str) else text
    require(len(tokens) > 0, "the text is empty; give at least one token")
    session.check_room(len(tokens), "the text")
    info = session.model.info
    total = np.zeros(info.width, dtype=np.float64)
    last = np.zeros(info.width, dtype=np.float64)

    def show(layer: int, point: int, x: npt.NDArray[Any]) -> None:
        if point == _native.CAPTURE_LM_HEAD:
            total[:] += x.sum(axis=0, dtype=np.float64)
            last[:] = x[-1]

    session.run_layers(0, info.layers, session.embed(tokens), show)
    vector = total / len(tokens) if pooling == "mean" else last
    length = float(np.sqrt((vector * vector).sum()))
    if not np.isfinite(length) or length == 0:
        raise RbeError("the hidden states of this text are not finite; the file of the model may be damaged")
    return (vector / length).astype(np.float32)
