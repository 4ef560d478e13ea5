"""The model that several of the packing tests pack, for each file of tests its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models

from rbe_edge.packing.pack import PackOptions, PackReport, pack


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write(tiny_models.MODELS["llama"], tmp_path_factory.mktemp("source") / "model")


@pytest.fixture(scope="module")
def dense(source: Path, tmp_path_factory: pytest.TempPathFactory) -> PackReport:
    """`source` with fp32 weights; read only."""
    return pack(source, tmp_path_factory.mktemp("dense") / "dense.rbe", PackOptions(bits=32))
