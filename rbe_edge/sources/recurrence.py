"""The sizes of recurrent layers, gated delta nets and state spaces (docs/format.md, "Layers of several kinds")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rbe_edge.errors import PackError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.config import Config

MOST_TAPS = 32
_MOST_HEADS, _LARGEST_HEAD = 4096, 512


@dataclass(frozen=True)
class Recurrence:
    """key_heads, value_heads: of queries and keys, and of values. key_dim, value_dim: numbers of a head. taps: tokens
    that a convolution reads. epsilon: of the norm of what the values' heads give; 0: that of the other norms."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    taps: int
    epsilon: float = 0.0

    @property
    def sizes(self) -> dict[str, int]:
        """Under the names that rules use."""
        return {
            "recurrent_key": self.key_heads * self.key_dim, "recurrent_value": self.value_heads * self.value_dim,
            "value_heads": self.value_heads, "value_dim": self.value_dim, "recurrent_taps": self.taps,
            "key_dim": self.key_dim, "heads_of_key": self.value_heads // self.key_heads,
            "values_of_key": self.value_heads // self.key_heads * self.value_dim,
        }  # fmt: skip

    @property
    def metadata(self) -> dict[str, MetadataValue]:
        found: dict[str, MetadataValue] = {
            "recurrence.key_heads": self.key_heads, "recurrence.value_heads": self.value_heads,
            "recurrence.key_dim": self.key_dim, "recurrence.value_dim": self.value_dim, "recurrence.taps": self.taps,
        }  # fmt: skip
        return {**found, "recurrence.epsilon": self.epsilon} if self.epsilon else found


def recurrence(config: Config, keys: Mapping[str, str], epsilon: float = 0.0) -> Recurrence:
    """keys: of the configuration, by the fields of Recurrence. Raises PackError for sizes that are not computed."""
    found = Recurrence(**{name: config.integer(key) for name, key in keys.items()}, epsilon=epsilon)
    if found.value_heads % found.key_heads:
        raise PackError(
            f"{config.where}: {found.key_heads} ({keys['key_heads']}) do not divide {found.value_heads} "
            f"({keys['value_heads']}); correct the file"
        )
    limits = {"taps": MOST_TAPS, "key_dim": _LARGEST_HEAD, "value_dim": _LARGEST_HEAD, "value_heads": _MOST_HEADS}
    for name, most in limits.items():
        value = getattr(found, name)
        if value > most:
            raise PackError(f"{config.where}: {keys[name]} = {value} is not supported, only up to {most}")
    return found
