"""A model of random bits in a tiny shape, for tests of what is timed."""

from __future__ import annotations

from pathlib import Path

from rbe_edge.bench import shapes

TINY = shapes.Shape("tiny", "nothing", 2, 128, 4, 2, 32, 256, 300)


def write_tiny(directory: Path) -> Path:
    """With two planes of 2 bits."""
    path = directory / "tiny.rbe"
    shapes.write_model(TINY, (2, 2), path)
    return path
