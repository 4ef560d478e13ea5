"""A tiny model, dense and coded, and a text for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tiny_models

from rbe_edge.packing.pack import PackOptions, pack


@dataclasses.dataclass(frozen=True)
class Pair:
    source: Path
    dense: Path
    packed: Path
    text: str


def make_pair(directory: Path, name: str, **changes: object) -> Pair:
    """Wider than the other tiny models, so that its matrices are coded."""
    model = tiny_models.MODELS[name]
    model = dataclasses.replace(model, config={**model.config, **changes})
    source = tiny_models.write(model, directory / name)
    pack(source, directory / "dense.rbe", PackOptions(bits=32))
    pack(source, directory / "packed.rbe", PackOptions(bits=3, calibrate="none"))
    words = ["the ", "and ", "ring ", "over ", "then ", "in a ", "thing ", "re-read ", "on ", "an "]
    text = "".join(words[(i * i + 3 * i // 7 + i // 11) % len(words)] for i in range(700))
    return Pair(source, directory / "dense.rbe", directory / "packed.rbe", text)
