"""How fast each model answered on this machine the last time, as the store keeps it among the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: The name among the settings.
RATES = "rates"

_MOST = 100  # models


@dataclass(frozen=True)
class Rates:
    """tokens/s by the model's key, the latest last."""

    _rates: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: object) -> Rates:
        """What the store kept; what is no rate is left out."""
        if not isinstance(stored, Mapping):
            return cls()
        kept = {
            key: float(rate)
            for key, rate in stored.items()
            if isinstance(rate, float | int) and not isinstance(rate, bool) and 0 < rate < 1e6
        }
        return cls(kept)

    def of_model(self, key: str) -> float:
        """tokens/s, 0 where none is known."""
        return self._rates.get(key, 0.0)

    def with_rate(self, key: str, rate: float) -> Rates:
        kept = {**{other: known for other, known in self._rates.items() if other != key}, key: round(rate, 2)}
        return Rates(dict(list(kept.items())[-_MOST:]))

    def as_dict(self) -> dict[str, float]:
        return dict(self._rates)
