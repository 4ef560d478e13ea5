"""Tuning where PyTorch is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tuning_pair import Pair

from rbe_edge.errors import MissingExtra
from rbe_edge.tuning.tune import tune


def test_the_extra_is_named(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"rbe-edge\[tune\]"):
        tune(pair.packed, pair.dense, pair.text, tmp_path / "out.rbe")
    assert list(tmp_path.iterdir()) == []
