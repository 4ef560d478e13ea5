"""Fixtures of `rbe deploy`: a stand-in device, and a program for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stand_in_device import StandInDevice, stand_in_device

from rbe_edge.runtime.model import demo_path

Deploy = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[StandInDevice]:
    with stand_in_device(tmp_path) as found:
        yield found


@pytest.fixture
def deploy(device: StandInDevice, arm_program: Path, tmp_path: Path) -> Deploy:
    """deploy(*arguments, to=..., file=..., port=..., reach=...) -> the finished `rbe deploy`."""

    def run(
        *arguments: object,
        to: str | None = None,
        file: Path | None = None,
        port: int | None = None,
        reach: list[str] | None = None,
        program: Path | None = arm_program,
    ) -> subprocess.CompletedProcess[str]:
        words = ["deploy", to or device.address, file or demo_path(), "-p", port or device.port]
        words += device.options if reach is None else reach
        words += ["--program", program] if program is not None else []
        command = [sys.executable, "-m", "rbe_edge", *map(str, [*words, *arguments])]
        return subprocess.run(command, cwd=tmp_path, input="", capture_output=True, text=True, timeout=300, check=False)

    return run
