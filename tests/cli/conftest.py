"""Runs `rbe` as a person does, in a process of its own away from the repository."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Rbe

from rbe_edge.cli.main import main


@pytest.fixture
def rbe(tmp_path: Path) -> Rbe:
    """rbe(*arguments, input=..., ...) -> the finished process, its output as text."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        settings: dict[str, object] = {"input": "", "capture_output": True, "text": True, "encoding": "utf-8"}
        settings |= {"cwd": tmp_path, "timeout": 300} | options
        command = [sys.executable, "-m", "rbe_edge", *map(str, arguments)]
        return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture
def rbe_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Rbe:
    """The same in this process, which is quicker, for what fails before any model runs."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        words = list(map(str, arguments))
        try:
            code = main(words)
        except SystemExit as exit:
            code = int(exit.code or 0)
        captured = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, captured.out, captured.err)

    return run
