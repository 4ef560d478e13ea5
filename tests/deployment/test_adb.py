"""`rbe deploy adb`: the real adb client and server, and a stand-in daemon that speaks their protocol."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stand_in_phone import StandInPhone, stand_in_phone

from rbe_edge.runtime.model import demo_path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of a private adb server with keys of its own."""
    (tmp_path / "adb-home").mkdir()
    found = {
        **os.environ,
        "HOME": str(tmp_path / "adb-home"),
        "TMPDIR": str(tmp_path / "adb-home"),
        "ANDROID_ADB_SERVER_PORT": str(_free_port()),
    }
    found.pop("ANDROID_SERIAL", None)
    yield found
    subprocess.run(["adb", "kill-server"], env=found, capture_output=True, check=False)


@pytest.fixture
def phone(tmp_path: Path, environment: dict[str, str]) -> Iterator[StandInPhone]:
    with stand_in_phone(tmp_path) as found:
        done = subprocess.run(
            ["adb", "connect", found.serial], env=environment, capture_output=True, text=True, check=True
        )
        assert "connected" in done.stdout, done.stdout
        yield found


def _deploy(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rbe_edge", "deploy", *map(str, arguments)]
    home = environment["HOME"]  # not the repository, whose sources hold no library
    return subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, input="", timeout=300, check=False
    )


def test_a_phone_is_proven_and_the_second_copy_sends_nothing(
    phone: StandInPhone, environment: dict[str, str], arm_program: Path
) -> None:
    words = ("adb", demo_path(), "--program", arm_program, "--serial", phone.serial, "--json")
    done = _deploy(environment, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["target"] == "android-arm64" and found["device"]["android"] == 34
    assert found["device"]["directory"] == "/data/local/tmp/rbe"
    assert found["sent_bytes"] == demo_path().stat().st_size + arm_program.stat().st_size
    assert found["proof"]["kernel_sets"] == ["scalar", "neon", "neon_crc", "neon_dotprod"], "as a Cortex-A76 has it"
    assert found["start"].startswith(f"adb -s {phone.serial} shell -t ")
    assert (phone.temporary / "rbe" / "demo.rbe").read_bytes() == demo_path().read_bytes()
    assert {path.name for path in (phone.temporary / "rbe").iterdir()} == {"rbe", "demo.rbe"}

    found = json.loads(_deploy(environment, *words, "--no-self-test").stdout)
    assert found["sent_bytes"] == 0 and found["unchanged"] == ["rbe", "demo.rbe"]


def test_a_cable_that_is_pulled(phone: StandInPhone, environment: dict[str, str], arm_program: Path) -> None:
    phone.cut_after = 2_000_000
    done = _deploy(environment, "adb", demo_path(), "--program", arm_program, "--no-self-test")
    assert done.returncode == 0, done.stderr
    assert phone.n_cut == 1 and "trying again" in done.stderr
    assert (phone.temporary / "rbe" / "demo.rbe").read_bytes() == demo_path().read_bytes()


def test_no_phone(environment: dict[str, str], tmp_path: Path) -> None:
    with stand_in_phone(tmp_path):  # skips where adb is missing; nothing is connected to it
        done = _deploy(environment, "adb", demo_path())
    assert done.returncode == 1 and "no device is there; switch on USB debugging" in done.stderr


def test_refusals(phone: StandInPhone, environment: dict[str, str]) -> None:
    (phone.temporary / "rbe").write_text("", encoding="utf-8")
    done = _deploy(environment, "adb", demo_path())
    assert done.returncode == 1 and "is no directory" in done.stderr
    done = _deploy(environment, "adb:relative", demo_path())
    assert done.returncode == 2 and "a phone has no home directory" in done.stderr
    done = _deploy(environment, "adb", demo_path(), "--serve")
    assert done.returncode == 2 and "--serve needs systemd" in done.stderr
