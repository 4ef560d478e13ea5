"""What lies in service/ and .github/: systemd reads the unit, and every command in the files exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rbe_edge.cli.main import COMMANDS, _parser

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "service" / "rbe-serve.service"
CONTAINER = ROOT / "service" / "Containerfile"
WORKFLOW = ROOT / ".github" / "workflows" / "build.yml"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/rbe/bin/rbe", "/bin/true"))  # it looks for the program
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_limits_what_the_server_may_do() -> None:
    lines = UNIT.read_text().splitlines()
    for wanted in ("Type=notify", "DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict"):
        assert wanted in lines
    assert {line.split("=")[0] for line in lines} >= {"WatchdogSec", "MemoryMax", "MemoryHigh", "TimeoutStopSec"}
    wait = next(int(line.split("=")[1]) for line in lines if line.startswith("TimeoutStopSec"))
    assert wait > 30 + 5  # as long as running answers may take, and are ended


def test_commands_are_those_of_the_program() -> None:
    start = next(line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart="))
    words = [start.split("=", 1)[1].split()[1:-1]]  # without the program and $RBE_OPTIONS
    words += [
        re.findall(r'"([^"]+)"', line)[1:] for line in CONTAINER.read_text().splitlines() if line.startswith("CMD")
    ]
    for arguments in words:
        assert arguments[0] in COMMANDS
        assert _parser((arguments[0],)).parse_args(arguments).file is not None


def test_the_workflow() -> None:
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    assert set(jobs["release"]["needs"]) == set(jobs) - {"release"}
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert any(".ci/run" in each for each in runs) and (ROOT / ".ci" / "run").exists()
    assert all("timeout-minutes" in job for name, job in jobs.items() if name != "release")


def test_tools_of_ci_are_pinned_by_hash() -> None:
    """tools/ci.txt was made of tools/ci.in: every package with a version and hashes, the linters with theirs."""
    pinned = (ROOT / "tools" / "ci.txt").read_text().replace("\\\n", " ")
    lines = [line for line in pinned.splitlines() if line and not line.lstrip().startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+ .*?( +--hash=sha256:[0-9a-f]{64})+ *", line) for line in lines)
    names = {line.split("==")[0] for line in lines}
    wanted = [line.split("#")[0].strip() for line in (ROOT / "tools" / "ci.in").read_text().splitlines()]
    assert {name for name in wanted if name and not name.startswith("-")} <= names
    for line in (ROOT / "tools" / "lint.txt").read_text().splitlines():
        assert line.startswith("#") or any(one.startswith(f"{line} ") for one in lines), line
    assert "pip install --require-hashes --only-binary :all: -r tools/ci.txt" in (ROOT / ".ci" / "run").read_text()
