"""Parts of `rbe deploy` that need no device: addresses, what ssh says, room, the unit of systemd, the probe."""

from __future__ import annotations

import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from rbe_edge.deployment.address import Address, parse
from rbe_edge.deployment.channel import Answer, ConnectionLost
from rbe_edge.deployment.device import Device, probe
from rbe_edge.deployment.program import target_for
from rbe_edge.deployment.room import Settings, bits_that_fit, check_memory, needs
from rbe_edge.deployment.service import unit_text
from rbe_edge.deployment.ssh_failures import failure
from rbe_edge.errors import DeployError, OptionError
from rbe_edge.runtime.model import demo_path


@pytest.mark.parametrize(
    ("text", "host", "directory"),
    [
        ("pi@raspberrypi.local", "pi@raspberrypi.local", "~/rbe"),
        ("board", "board", "~/rbe"),
        ("pi@board:/mnt/ssd/models/", "pi@board", "/mnt/ssd/models"),
        ("pi@board:two words", "pi@board", "two words"),
        ("pi@board:", "pi@board", "~/rbe"),
        ("pi@board:/", "pi@board", "/"),
        ("pi@[fe80::1%eth0]:x", "pi@fe80::1%eth0", "x"),
        ("adb", "", "/data/local/tmp/rbe"),
        ("adb:/data/local/tmp/x", "", "/data/local/tmp/x"),
        ("me@adb", "me@adb", "~/rbe"),
    ],
)
def test_addresses(text: str, host: str, directory: str) -> None:
    assert parse(text) == Address(host, directory)


@pytest.mark.parametrize(
    "text", ["", "@host", "-oProxyCommand=x", "a@-host", "a b", "a@b@c", "pi@x:a\nb", "fe80::1:x", "adb:x"]
)
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(OptionError):
        parse(text)


@pytest.mark.parametrize(
    ("said", "was_open", "kind", "wanted"),
    [
        ("pi@x: Permission denied (publickey,password).", False, DeployError, "ssh-copy-id -p 22 pi@x"),
        ("Host key verification failed.", False, DeployError, "host key is not known"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", False, DeployError, "ssh-keygen -R '[x]:22'"),
        ("ssh: Could not resolve hostname x: Name or service not known", False, DeployError, "x.local"),
        ("ssh: connect to host x port 22: No route to host", False, DeployError, "is it switched on"),
        ("ssh: connect to host x port 22: No route to host", True, ConnectionLost, "No route"),
        ("ssh: connect to host x port 22: Connection refused", True, ConnectionLost, "refused"),
        ("kex_exchange_identification: read: Connection reset by peer", False, ConnectionLost, "reset"),
        ("", False, ConnectionLost, "without a word"),
        ("something new", False, DeployError, "ssh says: something new"),
        ("command-line: line 0: Bad configuration option: x", False, OptionError, "--ssh-option"),
    ],
)
def test_what_ssh_says(said: str, was_open: bool, kind: type[Exception], wanted: str) -> None:
    found = failure("pi@x", 22, said, was_open=was_open)
    assert type(found) is kind and wanted in str(found) and "\n" not in str(found)


class _LocalLink:
    """Runs scripts in a shell of this machine."""

    name = "here"

    def __init__(self, *shell: str) -> None:
        self._shell = shell

    def run(self, script: str, arguments: list[str]) -> Answer:
        command = [*self._shell, "-s", "--", *arguments]
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
        return Answer(done.returncode, f"Welcome!\n{done.stdout}", done.stderr)


def _device(shell: tuple[str, ...], directory: str) -> Device:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    return probe(_LocalLink(*shell), directory)  # type: ignore[arg-type]


@pytest.mark.parametrize("shell", [("dash",), ("busybox", "sh"), ("bash", "--posix"), ("mksh",)])
def test_the_probing_script_is_for_any_shell(shell: tuple[str, ...], tmp_path: Path) -> None:
    there = tmp_path / "a b"
    there.mkdir()
    found = _device(shell, f"{there}/below/it")
    assert found.directory == f"{there}/below/it" and found.there == str(there) and not list(there.iterdir())
    assert found.machine and found.bits in (32, 64) and found.cores > 0 and found.hash and found.runs
    assert found.memory_bytes and found.available_bytes and found.free_bytes and not found.refused
    assert found.android == 0 and found.python_version >= (3, 10) and target_for(found).platform.system == "Linux"
    assert _device(shell, "~").directory == str(Path.home())


def test_the_probing_script_is_ascii_and_whole() -> None:
    assert files("rbe_edge.deployment").joinpath("probe.sh").read_text(encoding="ascii").startswith("# Says")


def test_a_shell_that_is_none() -> None:
    with pytest.raises(DeployError, match="ends at once, or is no POSIX sh; it says: Welcome! This account"):
        probe(_LocalLink("sh", "-c", "cat >/dev/null; echo This account is for sftp"), "~")  # type: ignore[arg-type]


def test_bits_that_fit() -> None:
    model = demo_path()
    needed = needs(model, Settings())
    assert 0 < needed.weights <= model.stat().st_size < needed.memory
    assert bits_that_fit(needed, 0) is None and bits_that_fit(needed, needed.weights // 10) is None
    most = bits_that_fit(needed, needed.weights)
    assert most is not None and most <= needed.bits_per_weight < most + 0.11


def test_memory_that_just_fits(tmp_path: Path) -> None:
    found = _device(("sh",), str(tmp_path))
    needed = needs(demo_path(), Settings())
    for missing in (0, 1):
        device = Device(**{**vars(found), "available_bytes": needed.memory - missing})
        if not missing:
            check_memory(device, demo_path(), Settings(), needed)
            continue
        with pytest.raises(DeployError, match=r"demo\.rbe takes .* are free there; give -c \d+") as raised:
            check_memory(device, demo_path(), Settings(), needed)
        context = int(str(raised.value).split("-c ")[1].split()[0])
        smaller = Settings(context)
        check_memory(device, demo_path(), smaller, needs(demo_path(), smaller))
    unknown = Device(**{**vars(found), "available_bytes": None})
    check_memory(unknown, demo_path(), Settings(), needed)


def test_the_program_chooses_the_cache_unless_told() -> None:
    assert Settings().flags() == Settings(kv="auto").flags() == []
    for kv in ("f16", "q8q4"):
        assert Settings(kv=kv).flags() == ["--kv", kv]
    assert needs(demo_path(), Settings()) == needs(demo_path(), Settings(kv="q8"))
    assert needs(demo_path(), Settings()).memory < needs(demo_path(), Settings(kv="f16")).memory


@pytest.mark.parametrize("is_root", [True, False])
def test_the_unit(is_root: bool, tmp_path: Path) -> None:
    found = _device(("sh",), str(tmp_path))
    device = Device(**{**vars(found), "directory": '/srv/50% "a" $b', "is_root": is_root})
    text = unit_text(device, "smol.rbe", Settings(1024), 8081)
    (start,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    place = '/srv/50%% \\"a\\" $$b'
    assert start == (
        f'ExecStart="{place}/venv/bin/python" "-m" "rbe_edge" "serve" "{place}/smol.rbe" "--port" "8081" "-c" "1024"'
    )
    assert f"WantedBy={'multi-user.target' if is_root else 'default.target'}" in text
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt install systemd")
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/true")
    device = Device(**{**vars(found), "directory": str(tmp_path), "is_root": is_root})
    (tmp_path / "rbe.service").write_text(unit_text(device, "smol.rbe", Settings(), 8080), encoding="utf-8")
    words = ["systemd-analyze", "verify", *([] if is_root else ["--user"]), str(tmp_path / "rbe.service")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "rbe.service" not in done.stderr, done.stderr
