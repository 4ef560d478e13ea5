"""What the client knows of power: the mode, and what each mode loses, in words for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rbe_edge.machine.power import Mode

if TYPE_CHECKING:
    from rbe_edge.runtime.parts import ModeTable

#: What a mode does whatever the file is (native/src/governor/governor.c).
WORKERS = {
    Mode.PERFORMANCE: "all threads",
    Mode.BALANCED: "half the threads, which sleep while they wait",
    Mode.SAVER: "half the threads, on slow cores where there are two kinds",
    Mode.EMERGENCY: "one thread, on a slow core where there are two kinds",
}


@dataclass(frozen=True)
class PowerState:
    """mode, reason: of the last token, or before the first one of what the sensors said when the model was opened."""

    mode: Mode
    reason: str

    @property
    def is_override(self) -> bool:
        """Whether a person chose it."""
        return self.reason.startswith("override")

    def __str__(self) -> str:
        return f"{self.mode.label}: {self.reason}" if self.reason else self.mode.label


def losses(mode: Mode, table: ModeTable) -> str:
    """What a mode reads and what that costs, such as '78 % of the bytes, perplexity x 1.08, KL 0.061, top-1 90 %'."""
    first, own = table.modes[Mode.PERFORMANCE], table.modes[mode]
    if own.reads_all:
        return "reads everything" if own.found else "reads everything: nothing less keeps its bound"
    words = []
    if first.bytes_per_token:
        words.append(f"{100 * own.bytes_per_token / first.bytes_per_token:.0f} % of the bytes")
    if own.n_tokens and first.perplexity:
        words += [f"perplexity x {own.perplexity / first.perplexity:.2f}", f"KL {own.kl:.3f}"]
        words.append(f"top-1 {100 * own.top1:.0f} %")
    return ", ".join(words) or "reads less; what it costs was not measured"
