"""A model folder of its own, and packings that take no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbe_edge.models import folder


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model folder, which does not exist yet; the current directory is empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder.directory()
