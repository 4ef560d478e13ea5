"""A terminal for the tests of this folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed (Debian: tmux)")
    made = Terminal(tmp_path)
    yield made
    subprocess.run(["tmux", "-S", str(made.socket), "kill-server"], check=False, capture_output=True)
