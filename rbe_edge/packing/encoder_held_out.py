"""What the packing of an encoder cost, measured on texts that it has not seen: how far what it gives is from what its
source gives.

The texts are those of the calibration text that nothing was calibrated or measured on, or where there are too few
sentences that come with the package (held_out.txt). Time: two passes over 64 texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.packing.encoder_texts import texts_of
from rbe_edge.packing.held_out import HeldOutKl, built_in_text
from rbe_edge.runtime.encoder_agreement import encoder_outputs
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.probabilities import standard_error

N_TEXTS = 64


@dataclass(frozen=True)
class HeldOutDistance:
    """distance: one minus the cosine, the mean of n. error: its standard error. of: what was compared. text: where the
    texts are from."""

    distance: float
    error: float
    n: int
    text: str
    of: str


class EncoderHeldOut:
    """What a source gives for held-out texts (runtime/encoder_agreement.py). For one thread."""

    def __init__(self, dense: Model, unseen: Sequence[Sequence[int]], threads: int | None = None) -> None:
        """dense: the source with dense weights, asked here alone. unseen: texts as tokens, of which the last are
        taken."""
        self._threads = threads or 0
        self._texts, self._text = list(unseen)[-N_TEXTS:], "the calibration text"
        if len(unseen) < 2 * N_TEXTS:
            self._texts, self._text = list(texts_of(dense, built_in_text())[0]), "a built-in text"
        self._expected = encoder_outputs(dense, self._texts, threads=self._threads)

    def of(self, packed: Path) -> HeldOutKl | HeldOutDistance:
        """Of a file that was packed from the source."""
        with Model.open(packed, verify=False) as model:
            found = self._expected.agreement(encoder_outputs(model, self._texts, threads=self._threads))
        mean, error, n = float(found.each.mean()), standard_error(found.each), len(found.each)
        if found.is_kl:
            return HeldOutKl(mean, error, n, self._text, found.of)
        return HeldOutDistance(mean, error, n, self._text, found.of)
