"""How much work a packing does: `--effort`. The figures of each are in docs/codec.md, "Effort"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.packing.calibration import DAMPING, N_TOKENS, WINDOW, read_windows
from rbe_edge.packing.effort_name import EffortName
from rbe_edge.runtime.options import MAX_PASS_TOKENS


@dataclass(frozen=True)
class Effort:
    """tokens: of the calibration text, at most; a quick one takes windows from all of the first N_TOKENS.
    scored_tokens: on which sensitivities are measured, and scored_bytes that their predictions may take. quick: one run
    of the model gives statistics and estimates (survey.py), no block waits for those before it to be packed, and the
    encoder searches each lane less (docs/codec.md, "Tail-biting"). damping: of E[x x^T]; the fewer tokens it is of, the
    more.
    """

    name: EffortName
    tokens: int
    scored_tokens: int
    scored_bytes: int
    quick: bool
    damping: float = DAMPING

    def windows(self, model: Path, text: str) -> list[list[int]]:
        """Of the text, as read_windows() gives and raises."""
        if not self.quick:
            return read_windows(model, text, self.tokens, WINDOW)
        windows = read_windows(model, text, N_TOKENS, WINDOW)
        n = -(-self.tokens // max(map(len, windows)))
        return [windows[number * len(windows) // n] for number in range(min(n, len(windows)))]

    @property
    def settings(self) -> str:
        """What the statistics of a text depend on besides the text."""
        return f"{self.damping} {self.tokens} {WINDOW} {MAX_PASS_TOKENS} {self.quick}"


EFFORTS: Mapping[str, Effort] = {
    effort.name: effort
    for effort in (
        Effort("quick", 2048, 0, 0, quick=True, damping=0.5),
        Effort("normal", N_TOKENS, 3072, 256 << 20, quick=False),
        Effort("best", 65536, 8192, 1 << 30, quick=False),
    )
}
