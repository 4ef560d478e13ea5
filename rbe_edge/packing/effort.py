"""How much work a packing does: `--effort`. The figures of each are in docs/codec.md, "Effort"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.packing.calibration import N_TOKENS, WINDOW, read_windows
from rbe_edge.packing.effort_name import EffortName
from rbe_edge.runtime.options import MAX_PASS_TOKENS

BACKWARD_WINDOW = 128
"""Tokens over which gradients are summed (curvature.py)."""


@dataclass(frozen=True)
class Effort:
    """tokens: of the calibration text, at most, in windows from all of its first `reach` tokens.
    scored_tokens: on which `checked` matrices are measured (sensitivity.py), and scored_bytes that their predictions
    may take. quick: one run of the model gives statistics and estimates (survey.py), and the encoder searches each
    lane less (docs/codec.md, "Tail-biting"); else a backward pass does (curvature.py). damping: of E[x x^T] in a quick
    one.
    """

    name: EffortName
    tokens: int
    quick: bool
    checked: int = 0
    scored_tokens: int = 0
    scored_bytes: int = 0
    damping: float = 0.0

    def windows(self, model: Path, text: str | Sequence[int]) -> list[Sequence[int]]:
        """Of the text, or of its tokens, as read_windows() gives and raises, from all of what calibrates."""
        windows = read_windows(model, text, self.reach, WINDOW if self.quick else BACKWARD_WINDOW)
        n = -(-self.tokens // max(map(len, windows)))
        return [windows[number * len(windows) // n] for number in range(min(n, len(windows)))]

    @property
    def reach(self) -> int:
        """Tokens of the text behind which nothing calibrates."""
        return max(self.tokens, N_TOKENS)

    @property
    def settings(self) -> str:
        """What the statistics of a text depend on besides the text."""
        window = WINDOW if self.quick else BACKWARD_WINDOW
        return f"{self.damping} {self.tokens} {window} {MAX_PASS_TOKENS} {self.quick} begun, from all"


EFFORTS: Mapping[str, Effort] = {
    effort.name: effort
    for effort in (
        Effort("quick", 2048, quick=True, damping=0.5),
        Effort("normal", 8192, quick=False, checked=4, scored_tokens=1536, scored_bytes=256 << 20),
        Effort("best", 65536, quick=False, checked=16, scored_tokens=8192, scored_bytes=1 << 30),
    )
}
