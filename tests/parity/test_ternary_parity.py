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
    for binary in (False, True):
        source = written(tmp_path / f"tiny{binary}", 128, binary=binary)
        expected = reference.logits(reference.load(source), TOKENS)
        found = scored(pack(source, tmp_path / f"m{binary}.rbe", dataclasses.replace(UNCALIBRATED, bits=8)).path)
        assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
        assert divergence(expected, found) < 2e-4
