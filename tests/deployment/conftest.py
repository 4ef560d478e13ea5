"""Fixtures of `rbe deploy`: a stand-in device, and a program for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in_device import Deploy, StandInDevice, stand_in_device

from rbe_edge.runtime.model import demo_path


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


@pytest.fixture(scope="session")
def arm_program(request: pytest.FixtureRequest) -> Path:
    """The static program for linux-arm64 as `rbe deploy` builds it, kept in pytest's cache by the hash of its sources.
    Skips where no compiler can make it."""
    from rbe_edge.building.compilers import plan
    from rbe_edge.building.targets import find
    from rbe_edge.deployment.program import Maker
    from rbe_edge.errors import BuildError

    target = find("linux-arm64")
    try:
        plan(target.platform)
    except BuildError as reason:
        pytest.skip(str(reason))
    cache = request.config.cache
    assert cache is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rbe_edge.deployment.program.cache_directory", lambda: Path(cache.mkdir("deploy")))
        return Maker(target, None, None, lambda line: None).program()
