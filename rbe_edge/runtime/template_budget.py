"""What one compilation or rendering of a chat template may use: steps, time, memory, output."""

from __future__ import annotations

import time

# Far above what a chat needs (a full context of 128 Ki tokens has about 500,000 characters), far below what hurts.
MAX_WEIGHT = 1_000_000  # characters and items of one value, and characters of all output
MAX_STEPS = 300_000
MAX_SECONDS = 3.0  # of each; compiling stays far below it by the size of the template (template_tree)
MAX_MEMORY = 128 << 20  # bytes of all that a rendering holds at a time
MAX_BITS = 4096  # of a whole number
MAX_LEVELS = 500  # of lists in lists; Python hashes tuples in tuples on the C stack, without a limit
MAX_PRODUCT = 200_000_000  # characters compared where each of a text is compared with each of another: 0.2 s
MAX_SLOW = 20_000  # characters of a text for what is slow, or takes a time that grows with the square
_HELD = 256  # bytes; what is smaller is counted for good, not until it is gone: counting would take more than it does


class LimitError(Exception):
    """A template asked for too much."""


def fits(size: int) -> None:
    """LimitError for a value of more characters and items than a template may make. Asked before it is made."""
    if size > MAX_WEIGHT:
        raise LimitError(f"it makes a value of more than {MAX_WEIGHT} characters")


def compares(first: int, second: int) -> None:
    """LimitError where each of so many characters would be compared with each of so many others."""
    if first * second > MAX_PRODUCT:
        raise LimitError("it compares two long texts")


def works_slowly(size: int) -> None:
    """LimitError for more characters than what is slow may take."""
    if size > MAX_SLOW:
        raise LimitError(f"it does slow work on more than {MAX_SLOW} characters")


class Budget:
    """One thread's, but for held bytes: what is given back by another thread's garbage collection may be miscounted."""

    def __init__(self) -> None:
        self._steps = MAX_STEPS
        self._output = MAX_WEIGHT
        self._deadline = time.monotonic() + MAX_SECONDS
        self._memory = MAX_MEMORY

    def tick(self) -> None:
        """LimitError when the time is over."""
        if time.monotonic() > self._deadline:
            raise LimitError(f"it takes more than {MAX_SECONDS:g} seconds")

    def step(self) -> None:
        """Counts a step: of a loop, a call, a filter, an operation."""
        self._steps -= 1
        if self._steps < 0:
            raise LimitError(f"it takes more than {MAX_STEPS} steps")
        self.tick()

    def write(self, characters: int) -> None:
        """Counts output, of blocks and macros as well."""
        self._output -= characters
        if self._output < 0:
            raise LimitError(f"it writes more than {MAX_WEIGHT} characters")

    def hold(self, n_bytes: int) -> Hold | None:
        """Counts memory until the Hold is gone, or for good where there is none."""
        self._memory -= n_bytes
        if self._memory < 0:
            raise LimitError(f"it holds more than {MAX_MEMORY >> 20} MiB")
        return Hold(self, n_bytes) if n_bytes > _HELD else None

    def give_back(self, n_bytes: int) -> None:
        self._memory += n_bytes


class Hold:
    """Memory that a value takes, for as long as this lives; the value keeps it."""

    __slots__ = ("_budget", "_n_bytes")

    def __init__(self, budget: Budget, n_bytes: int) -> None:
        self._budget, self._n_bytes = budget, n_bytes

    def __del__(self) -> None:
        self._budget.give_back(self._n_bytes)
