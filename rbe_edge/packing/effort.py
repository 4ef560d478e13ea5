"""How much work a packing does: `--effort`. The figures of each are in docs/codec.md, "Effort"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rbe_edge.packing.calibration import MIN_TOKENS, N_TOKENS, WINDOW, read_windows
from rbe_edge.packing.effort_name import EffortName
from rbe_edge.runtime.options import MAX_PASS_TOKENS

BACKWARD_WINDOW = 128
"""Tokens over which gradients are summed (curvature.py)."""


KEPT_BACK = 8
"""Of so many windows one is not calibrated on, where matrices are measured (sensitivity.py)."""


class Windows(NamedTuple):
    """seen: what statistics are of. unseen: the others, on which matrices are measured, for feedback loses less on what
    its statistics saw; the same where a text has no more."""

    seen: list[Sequence[int]]
    unseen: list[Sequence[int]]


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

    def windows(self, model: Path, text: str | Sequence[int], conversations: Sequence[int] = ()) -> Windows:
        """Of the text, or of its tokens, as read_windows() gives and raises, from all of what calibrates; half of them
        of conversations, tokens as well, where there are any that fill a window."""
        size = WINDOW if self.quick else BACKWARD_WINDOW
        plain = read_windows(model, text, self.reach, size)
        longest = max(map(len, plain))
        chat = [window for window in _windows_of(model, conversations, size) if len(window) == longest]
        n = -(-self.tokens // longest)
        n_chat = min(n // 2, self._most(chat))
        seen, unseen = _divided(plain, min(n - n_chat, self._most(plain)))
        seen_chat, unseen_chat = _divided(chat, n_chat)
        return Windows(seen + seen_chat, unseen + unseen_chat or seen)

    def _most(self, windows: Sequence[Sequence[int]]) -> int:
        """How many of them may be calibrated on."""
        return len(windows) - (len(windows) // KEPT_BACK if self.checked else 0)

    @property
    def reach(self) -> int:
        """Tokens of the text behind which nothing calibrates."""
        return max(self.tokens, N_TOKENS)

    @property
    def settings(self) -> str:
        """What the statistics of a text depend on besides the text."""
        window = WINDOW if self.quick else BACKWARD_WINDOW
        return (
            f"{self.damping} {self.tokens} {window} {MAX_PASS_TOKENS} {self.quick} begun, half chat, {self.checked > 0}"
        )


def _windows_of(model: Path, tokens: Sequence[int], size: int) -> list[Sequence[int]]:
    return read_windows(model, tokens, len(tokens), size) if len(tokens) >= max(size, MIN_TOKENS) else []


def _divided(windows: list[Sequence[int]], n: int) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """n of them, from all over, and the others."""
    chosen = {number * len(windows) // n for number in range(n)}
    numbered = list(enumerate(windows))
    return [w for number, w in numbered if number in chosen], [w for number, w in numbered if number not in chosen]


EFFORTS: Mapping[str, Effort] = {
    effort.name: effort
    for effort in (
        Effort("quick", 2048, quick=True, damping=0.5),
        Effort("normal", 8192, quick=False, checked=4, scored_tokens=1536, scored_bytes=256 << 20),
        Effort("best", 65536, quick=False, checked=16, scored_tokens=8192, scored_bytes=1 << 30),
    )
}
