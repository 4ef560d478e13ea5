"""Shared fixtures: where the evaluation data lies, which is no part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The evaluation data (real models, tokenizers, texts): RBE_TEST_DATA, else ../shared/data beside the repository."""
    path = Path(os.environ.get("RBE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"evaluation data not found at {path}; set RBE_TEST_DATA to run this test")
    return path
