"""What the publisher of a model says of sampling: generation_config.json of a Hugging Face directory."""

from __future__ import annotations

import math
from pathlib import Path

from rbe_edge.errors import PackError
from rbe_edge.sources.json_file import read_json

#: Key of the file, key of the metadata, the least and the largest value that means anything.
_KEYS = (
    ("temperature", "generation.temperature", 0.0, 10.0),
    ("top_p", "generation.top_p", 1e-6, 1.0),
    ("top_k", "generation.top_k", 0, 1 << 20),
    ("repetition_penalty", "generation.repeat_penalty", 0.01, 10.0),
)


def generation_metadata(directory: Path) -> dict[str, float]:
    """`generation.` keys of the metadata (docs/format.md). Nothing where the file is not there or no JSON, and of a
    value that is no number or out of range; the likeliest token always where it says not to sample."""
    path = directory / "generation_config.json"
    try:
        known = read_json(path, PackError) if path.is_file() else {}
    except PackError:
        known = {}
    found: dict[str, float] = {}
    if not isinstance(known, dict):
        return found
    for key, name, least, most in _KEYS:
        value = known.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            if least <= value <= most:
                found[name] = int(value) if key == "top_k" else float(value)
    if known.get("do_sample") is False:
        found["generation.temperature"] = 0.0
    return found
