"""`rbe deploy` over a real sshd on loopback whose sessions say aarch64 and run aarch64 programs under qemu."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_in_device import CuttingProxy, Deploy, StandInDevice, ssh_options

from rbe_edge.runtime.model import demo_path


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _error(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The last line of standard error, where the command failed as it should."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert not done.stdout and "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines and all(line.startswith("rbe: ") for line in lines), done.stderr
    return lines[-1]


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_first_copy_is_proven_and_the_second_sends_nothing(
    device: StandInDevice, deploy: Deploy, arm_program: Path
) -> None:
    first = deploy("--json")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    total = demo_path().stat().st_size + arm_program.stat().st_size
    assert found["sent_bytes"] == total and found["copied"] == ["rbe", "demo.rbe"] and not found["unchanged"]
    assert (found["device"]["machine"], found["target"]) == ("aarch64", "linux-arm64")
    assert found["proof"]["kernel_sets"] == ["scalar", "neon", "neon_crc"], "as a Cortex-A72 has it"
    assert found["proof"]["equal_tokens"] >= 16 and found["proof"]["tokens_per_second"] > 0
    there = device.home / "rbe"
    assert _names(there) == {"rbe", "demo.rbe"} and _digest(there / "demo.rbe") == _digest(demo_path())
    assert (there / "rbe").stat().st_mode & 0o111
    (there / "rbe").chmod(0o644)

    second = deploy("--json", "--no-self-test")
    assert second.returncode == 0, second.stderr
    found = json.loads(second.stdout)
    assert found["sent_bytes"] == 0 and found["unchanged"] == ["rbe", "demo.rbe"]
    assert (there / "rbe").stat().st_mode & 0o111, "a program that lost its rights gets them again"


def test_only_what_changed_is_copied(device: StandInDevice, deploy: Deploy, arm_program: Path) -> None:
    there = device.home / "rbe"
    there.mkdir()
    damaged = bytearray(demo_path().read_bytes())
    damaged[1_000_000] ^= 1
    (there / "demo.rbe").write_bytes(damaged)
    shutil.copy(arm_program, there / "rbe")
    found = json.loads(deploy("--json", "--no-self-test").stdout)
    assert found["copied"] == ["demo.rbe"] and found["sent_bytes"] == demo_path().stat().st_size
    assert _digest(there / "demo.rbe") == _digest(demo_path())


def test_a_copy_that_is_cut_goes_on(device: StandInDevice, deploy: Deploy) -> None:
    proxy = CuttingProxy(device.port, after=900_000, cuts=2)
    done = deploy("--json", "--no-self-test", port=proxy.port)
    assert done.returncode == 0, done.stderr
    assert proxy.n_cut == 2 and done.stderr.count("trying again") == 2
    assert _digest(device.home / "rbe" / "demo.rbe") == _digest(demo_path())
    assert _names(device.home / "rbe") == {"rbe", "demo.rbe"}


def test_what_an_earlier_try_left_is_not_sent_again(device: StandInDevice, deploy: Deploy, arm_program: Path) -> None:
    there = device.home / "rbe"
    there.mkdir()
    shutil.copy(arm_program, there / "rbe")
    content, digest = demo_path().read_bytes(), _digest(demo_path())
    part = there / f".demo.rbe.{digest[:8]}.part"
    part.write_bytes(content[:1_500_000])
    (there / ".demo.rbe.00000000.part").write_bytes(b"of another version")
    found = json.loads(deploy("--json", "--no-self-test").stdout)
    assert found["resumed_bytes"] == 1_500_000 and found["sent_bytes"] == len(content) - 1_500_000
    assert _digest(there / "demo.rbe") == digest and _names(there) == {"rbe", "demo.rbe"}

    (there / "demo.rbe").unlink()
    part.write_bytes(content[:1_499_999] + bytes([content[1_499_999] ^ 1]))
    found = json.loads(deploy("--json", "--no-self-test").stdout)
    assert found["resumed_bytes"] == 0 and found["sent_bytes"] == len(content)
    assert _digest(there / "demo.rbe") == digest


def test_gives_up_after_tries_without_progress(
    device: StandInDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks always: the words say how often, and what to type."""

    from rbe_edge.deployment.channel import Answer, Channel, ConnectionLost, Link
    from rbe_edge.errors import DeployError

    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)

    class Broken:
        name = "pi@x"

        def open(self) -> None:
            raise ConnectionLost("the connection broke")

        def run(self, script: str, arguments: object = ()) -> Answer:
            raise ConnectionLost("the connection broke")

        def append(self, *arguments: object) -> None:
            raise ConnectionLost("the connection broke")

        def close(self) -> None:
            pass

    typed: Channel = Broken()
    lines: list[str] = []
    with pytest.raises(DeployError, match=r"5 tries more brought nothing; go on with: rbe deploy pi@x m\.rbe$"):
        Link(typed, "rbe deploy pi@x m.rbe", lines.append).run("true")
    assert waits == [1, 2, 4, 8, 16] and len(lines) == 5


def test_ctrl_c_keeps_what_was_copied(device: StandInDevice, deploy: Deploy, arm_program: Path, tmp_path: Path) -> None:
    there = device.home / "rbe"
    there.mkdir()
    shutil.copy(arm_program, there / "rbe")
    # The stand-in writes slowly, so that the copy is in the middle when Ctrl-C comes.
    slow = tmp_path / "bin" / "cat"
    slow.write_text('#!/bin/sh\n[ $# = 0 ] || exec /bin/cat "$@"\nhead -c 500000; sleep 30; exec /bin/cat\n', "utf-8")
    slow.chmod(0o755)
    words = ["deploy", device.address, demo_path(), "-p", device.port, *device.options, "--no-self-test"]
    words += ["--program", arm_program]
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "rbe_edge", *map(str, words)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=pipe, stdout=pipe, text=True)
    part = there / f".demo.rbe.{_digest(demo_path())[:8]}.part"
    _await(lambda: part.exists() and part.stat().st_size >= 500_000)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "the same line goes on from there" in said
    assert part.stat().st_size >= 500_000 and not (there / "demo.rbe").exists()
    slow.unlink()
    found = json.loads(deploy("--json", "--no-self-test").stdout)
    assert found["resumed_bytes"] >= 500_000 and _digest(there / "demo.rbe") == _digest(demo_path())


def test_without_a_tool_for_checksums_it_says_so(device: StandInDevice, deploy: Deploy) -> None:
    for name in ("sha256sum", "busybox", "toybox", "shasum"):
        tool = device.folder / "bin" / name
        tool.write_text("#!/bin/sh\nexit 1\n", "utf-8")
        tool.chmod(0o755)
    done = deploy("--no-self-test")
    assert done.returncode == 0 and "no tool for SHA-256" in done.stderr
    assert _digest(device.home / "rbe" / "demo.rbe") == _digest(demo_path())


def test_a_program_that_answers_otherwise_is_found_out(device: StandInDevice, deploy: Deploy, tmp_path: Path) -> None:
    """The file on the device is right by its checksum, and yet what runs there says something else."""
    device.set_commands(f"export PATH={tmp_path}/liar:$PATH\n")
    (tmp_path / "liar").mkdir()
    liar = tmp_path / "liar" / "sh"
    change = '/bin/sed -e \'s/"tokens": \\[\\([0-9]*\\), [0-9]*/"tokens": [\\1, 7/\''
    liar.write_text(f'#!/bin/sh\n/bin/sh "$@" | {change}\n', "utf-8")
    liar.chmod(0o755)
    line = _error(deploy())
    assert "with kernels scalar token 2 of 8 differs from this machine's" in line


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (
            {"RBE_MACHINE": "mips64"},
            "no target is for its processor, mips64; there are aarch64, armv7l, x86_64, riscv64",
        ),
        ({"RBE_MACHINE": "armv6l"}, "Armv6 has no NEON"),
        ({"RBE_MACHINE": "armv7l"}, "has no NEON"),
        ({"RBE_SYSTEM": "Darwin"}, "runs Darwin, and `rbe deploy` knows Linux and Android"),
        ({"RBE_MACHINE": "x86_64"}, "is no program for x86_64, which the device is"),
    ],
)
def test_processors_that_are_refused(
    device: StandInDevice, deploy: Deploy, settings: dict[str, str], wanted: str
) -> None:
    device.set(**settings)
    assert wanted in _error(deploy())
    assert not (device.home / "rbe").exists()


def test_too_little_memory(device: StandInDevice, deploy: Deploy) -> None:
    device.set_memory(5000)
    line = _error(deploy())
    assert "demo.rbe takes " in line and "4.9 MiB are free there; " in line
    assert "--bits" in line or "give -c" in line
    assert not (device.home / "rbe").exists()


def test_too_little_disk(device: StandInDevice, deploy: Deploy) -> None:
    device.set_free_disk(9000)
    line = _error(deploy())
    assert "1.7 MiB are to be copied" in line and "has 8.8 MiB of disk free, of which 8.0 MiB stay" in line
    assert not (device.home / "rbe").exists()


def test_a_disk_that_fills_up(device: StandInDevice, deploy: Deploy) -> None:
    device.set_commands("trap '' XFSZ\nulimit -f 1000\n")
    assert "cannot be written: cat: write error: File too large" in _error(deploy())


def test_a_directory_that_cannot_be_written(device: StandInDevice, deploy: Deploy) -> None:
    device.set(RBE_READ_ONLY=str(device.home))
    assert f"{device.home} cannot be written (Read-only file system)" in _error(deploy())
    device.set(RBE_NO_PROGRAMS=str(device.home))
    assert "programs may not run in" in _error(deploy())
    device.set()
    (device.home / "file").write_text("", "utf-8")
    assert "is no directory" in _error(deploy(to=f"{device.address}:~/file/below"))


def test_another_directory(device: StandInDevice, deploy: Deploy) -> None:
    done = deploy("--no-self-test", to=f"{device.address}:models with blanks/rbe")
    assert done.returncode == 0, done.stderr
    assert _names(device.home / "models with blanks" / "rbe") == {"rbe", "demo.rbe"}


def test_keys(device: StandInDevice, deploy: Deploy, tmp_path: Path) -> None:
    host, port = device.address, device.port
    line = _error(deploy(reach=ssh_options(tmp_path, key="other_key")))
    assert f"ssh-copy-id -p {port} {host}" in line
    line = _error(deploy(reach=ssh_options(tmp_path, known="none")))
    assert f"its host key is not known here yet; connect once by hand and look at it: ssh -p {port} {host}" in line
    key = (tmp_path / "other_key.pub").read_text("ascii").split()
    (tmp_path / "wrong_hosts").write_text(f"device {key[0]} {key[1]}\n", "ascii")
    assert "its host key is not the one of last time" in _error(
        deploy(reach=ssh_options(tmp_path, known="wrong_hosts"))
    )


def test_no_server(device: StandInDevice, deploy: Deploy) -> None:
    assert "no ssh server answers" in _error(deploy(port=1))
    assert "there is no machine named no-such-board.invalid" in _error(deploy(to="pi@no-such-board.invalid"))
    line = _error(deploy("--ssh-option", "NoSuchOption=1"), 2)
    assert "ssh does not take --ssh-option" in line and "nosuchoption" in line


def test_serve_says_what_is_missing(device: StandInDevice, deploy: Deploy) -> None:
    python = device.folder / "bin" / "python3"
    python.write_text("#!/bin/sh\necho 3.9.2\n", "utf-8")
    python.chmod(0o755)
    assert "--serve needs Python 3.10 there, and it has 3.9.2" in _error(deploy("--no-self-test", "--serve"))
    python.write_text("#!/bin/sh\nexit 127\n", "utf-8")
    assert "--serve needs Python 3.10 there; install it" in _error(deploy("--no-self-test", "--serve"))
    assert (device.home / "rbe" / "demo.rbe").exists()


def test_a_login_shell_that_ends_at_once(device: StandInDevice, deploy: Deploy) -> None:
    device.set_commands("echo This account is not available. >&2\nexit 1\n")
    assert "its login shell ends at once" in _error(deploy())


def test_the_connection_ends_with_a_process_that_is_killed(
    device: StandInDevice, arm_program: Path, tmp_path: Path
) -> None:
    """The signal that nothing can be done about: the socket's owner, ssh, must end all the same."""
    slow = tmp_path / "bin" / "uname"
    slow.write_text("#!/bin/sh\ntouch $RBE_DEVICE/asked\nsleep 3\n", "utf-8")
    words = ["deploy", device.address, demo_path(), "-p", device.port, *device.options, "--program", arm_program]
    command = [sys.executable, "-m", "rbe_edge", *map(str, words)]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    _await(lambda: (tmp_path / "asked").exists())
    process.kill()
    process.wait()
    known = f"UserKnownHostsFile={tmp_path}/known_hosts"
    _await(lambda: not [line for line in _processes() if known in line])


def _processes() -> list[str]:
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("ssh ")]


def _await(is_so: Callable[[], bool]) -> None:
    for _ in range(600):
        if is_so():
            return
        time.sleep(0.05)
    pytest.fail("it does not come")
