"""Runs `rbe` as a person does, in a process of its own away from the repository."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Rbe = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def rbe(tmp_path: Path) -> Rbe:
    """rbe(*arguments, input=..., ...) -> the finished process, its output as text."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        settings: dict[str, object] = {"input": "", "capture_output": True, "text": True, "encoding": "utf-8"}
        settings |= {"cwd": tmp_path, "timeout": 300} | options
        command = [sys.executable, "-m", "rbe_edge", *map(str, arguments)]
        return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload,no-any-return]

    return run


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The error line of a command that failed as it should: one line, nothing else, that exit code."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.startswith("rbe: ") and done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), done.stderr
    return done.stderr
