"""The words of `--effort`, for what asks a person and imports nothing heavy."""

from __future__ import annotations

from typing import Literal

EffortName = Literal["quick", "normal", "best"]
EFFORT_NAMES: tuple[EffortName, ...] = ("quick", "normal", "best")
