"""A digest of what a model computes on a text: equal on two machines where they compute the same bits (docs/engine.md,
"One answer on every machine")."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rbe_edge.evaluation.divergence import pieces

if TYPE_CHECKING:
    from rbe_edge.runtime.effort import Effort
    from rbe_edge.runtime.model import Model

DIGITS = 16


def logits_digest(
    model: Model, tokens: Sequence[int], *, threads: int = 0, planes: int = 0, effort: Effort | None = None
) -> str:
    """The first hexadecimal digits of SHA-256 over the logits of all tokens but the last, float32 little-endian, in an
    empty context with a cache of fp16. planes: how many of each tensor are read, 0 for all. effort: how much is read
    instead. At least two tokens."""
    digest = hashlib.sha256()
    with model.session(context=len(tokens), threads=threads, planes=planes) as session:
        if effort is not None:
            session.set_effort(effort)
        for given, _ in pieces(tokens, model.info.vocabulary):
            logits = session.score(given, logits=True).logits
            assert logits is not None
            digest.update(logits.astype("<f4", copy=False).data)
    return digest.hexdigest()[:DIGITS]
