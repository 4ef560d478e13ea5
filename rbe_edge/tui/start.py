"""How the client is started, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbe_edge.runtime.governor import PowerChoice
from rbe_edge.runtime.options import GenerationOptions, SessionOptions


@dataclass(frozen=True)
class Start:
    """What the command line says. model None: the demo. settings: those given there, by name; they hold for this run
    and go before the stored ones. new: whether the latest conversation is left alone. session, generation: what the
    client's own settings do not set. power: the policy, and what is held between tokens; the mode is a setting."""

    model: Path | None
    models_directory: Path
    settings: dict[str, Any]
    system: str | None = None
    new: bool = False
    session: SessionOptions = field(default_factory=lambda: SessionOptions(kv="auto"))
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    power: PowerChoice = field(default_factory=PowerChoice)
