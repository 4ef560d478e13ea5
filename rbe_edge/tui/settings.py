"""What a person sets in the client, as a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rbe_edge.errors import OptionError
from rbe_edge.machine.power import Mode
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions, SessionOptions, require

DARK, LIGHT = "rbe-dark", "rbe-light"
AUTO = "auto"
MODE_LABELS = tuple(mode.label for mode in Mode)


@dataclass(frozen=True)
class Settings:
    """None: as the model likes it best (temperature), another each time (seed), until the text ends (max_tokens).
    context, threads: 0 is the library's choice. system: what a new conversation's model is told first. power: the mode,
    or AUTO: by battery and heat. sidebar: whether the conversations are listed beside the open one."""

    temperature: float | None = None
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 512
    context: int = 0
    threads: int = 0
    system: str = ""
    theme: str = DARK
    power: str = AUTO
    sidebar: bool = True

    def __post_init__(self) -> None:
        """Raises OptionError for what the engine would refuse."""
        require(len(self.system) <= 100_000, "the system prompt is longer than 100,000 characters; shorten it")
        require(self.power == AUTO or self.power in MODE_LABELS, f"there is no power mode {self.power}")
        self.session(SessionOptions())
        self.generation(GenerationOptions(), SamplingOptions())

    @property
    def mode(self) -> Mode | None:
        """The power mode that always holds; None: the policy decides."""
        return None if self.power == AUTO else Mode.named(self.power)

    def session(self, base: SessionOptions) -> SessionOptions:
        """base: what the client does not set."""
        return replace(base, context=self.context, threads=self.threads)

    def generation(self, base: GenerationOptions, defaults: SamplingOptions, *, new_seed: int = 0) -> GenerationOptions:
        """defaults: of the model; what was not changed here gives way to them. new_seed: where none is set."""

        def chosen(name: str) -> Any:
            mine = getattr(self, name)
            return getattr(defaults, name) if mine == getattr(Settings, name) else mine

        return replace(
            base,
            max_tokens=self.max_tokens,
            sampling=replace(
                base.sampling,  # which has what there is no setting for
                temperature=chosen("temperature"),
                top_k=chosen("top_k"),
                top_p=chosen("top_p"),
                min_p=chosen("min_p"),
                repeat_penalty=chosen("repeat_penalty"),
                seed=new_seed if self.seed is None else self.seed,
            ),
        )

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def updated(self, stored: Mapping[str, Any]) -> Settings:
        """With the stored values that are of the right kind and range; a damaged one is passed over."""
        settings = self
        for field in dataclasses.fields(Settings):
            if field.name in stored and _fits(stored[field.name], field.name):
                try:
                    settings = replace(settings, **{field.name: stored[field.name]})
                except OptionError:
                    continue
        return settings


def _fits(value: object, name: str) -> bool:
    if name in ("temperature", "seed", "max_tokens") and value is None:
        return True
    if name == "sidebar":
        return isinstance(value, bool)
    if name in ("system", "theme", "power"):
        return isinstance(value, str)
    if name in ("temperature", "top_p", "min_p", "repeat_penalty"):
        return isinstance(value, float | int) and not isinstance(value, bool)
    return isinstance(value, int) and not isinstance(value, bool)
