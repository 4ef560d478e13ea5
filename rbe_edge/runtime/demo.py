"""Where the demo model is."""

from __future__ import annotations

from pathlib import Path

from rbe_edge.errors import ModelError


def demo_path() -> Path:
    """The demo model that comes with the package. Raises ModelError where this build has none."""
    path = Path(__file__).resolve().parent.parent / "demo" / "demo.rbe"
    if not path.is_file():
        raise ModelError("this build holds no demo model; give a file: rbe chat FILE")
    return path
