"""The shim that makes calls of the system fail (fault_shim.c), built once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from operations import Drive

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("the shim is for Linux, and needs a C compiler")
    path = tmp_path_factory.mktemp("shim") / "fault_shim.so"
    source = HERE / "fault_shim.c"
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", path, source, "-ldl"]
    subprocess.run(command, check=True)
    return path


@pytest.fixture
def drive(shim: Path, tmp_path: Path) -> Drive:
    """drive(OPERATION, HOWS, MOST) -> the outcomes of drive.py, that without a fault first."""

    def outcomes(operation: str, hows: Sequence[str], most: int) -> list[dict[str, Any]]:
        folder = tmp_path / "faults"
        folder.mkdir()
        paths = [*filter(None, sys.path), str(HERE), str(HERE.parent), str(HERE.parent / "search")]
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths), LD_PRELOAD=str(shim))
        command = [sys.executable, HERE / "drive.py", shim, folder, operation, ",".join(hows), str(most)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=500)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return outcomes
