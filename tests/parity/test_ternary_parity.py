"""Binary and ternary matrices beside transformers, up to the rounding of activations to int8."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ternary_models import TOKENS, divergence, scored, written

from rbe_edge.packing.pack import PackOptions, pack

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
import reference  # noqa: E402  (needs both)

UNCALIBRATED = PackOptions(calibrate="none")


def test_logits_beside_transformers(tmp_path: Path) -> None:
    # squares of activations, and norms of them, double what rounding does
    for name, binary, largest, kl in (
        ("qwen3", False, 0.03, 2e-4),
        ("qwen3", True, 0.03, 2e-4),
        ("bitnet", False, 0.06, 1e-3),
    ):
        source = written(tmp_path / f"{name}{binary}", 0 if name == "bitnet" else 128, binary=binary, name=name)
        expected = reference.logits(reference.load(source), TOKENS)
        found = scored(pack(source, tmp_path / f"{name}{binary}.rbe", dataclasses.replace(UNCALIBRATED, bits=8)).path)
        assert np.abs(found - expected).max() < largest * np.abs(expected).max()
        assert divergence(expected, found) < kl
