"""`rbe deploy --serve`: its scripts on the stand-in device, with a real Python environment, a small package in the
place of ours and a stand-in for systemd's manager, which cannot run inside a test."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from stand_in_device import StandInDevice

from rbe_edge.deployment.channel import Link
from rbe_edge.deployment.device import probe
from rbe_edge.deployment.program import Maker, target_for
from rbe_edge.deployment.room import Settings
from rbe_edge.deployment.service import Service, install
from rbe_edge.deployment.ssh import SshChannel
from rbe_edge.errors import DeployError

# Obeys the one command that matters as systemd does: runs ExecStart, whose words stand in quotes.
_SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$RBE_DEVICE/asked"
[ "$2" = restart ] || exit 0
command=$(/bin/sed -n 's/^ExecStart=//p' "$HOME/.config/systemd/user/$3")
eval "setsid $command >/dev/null 2>&1 </dev/null &"
echo $! >"$RBE_DEVICE/pid"
"""
_MAIN = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v1/models" and sys.argv[1] == "serve" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


class _SmallMaker(Maker):
    """Its wheel needs nothing of the network."""

    def __init__(self, main: str) -> None:
        self.target_name = "linux-arm64"
        self._main = main

    def wheel(self, scratch: Path, *, musl: bool) -> Path:
        path = scratch / "rbe_edge-0.1.0-py3-none-any.whl"
        metadata = "Metadata-Version: 2.1\nName: rbe-edge\nVersion: 0.1.0\nProvides-Extra: server\n"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("rbe_edge/__init__.py", "")
            wheel.writestr("rbe_edge/__main__.py", self._main)
            wheel.writestr("rbe_edge-0.1.0.dist-info/METADATA", metadata)
            wheel.writestr(
                "rbe_edge-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr("rbe_edge-0.1.0.dist-info/RECORD", "")
        return path


@pytest.fixture
def link(device: StandInDevice) -> Iterator[Link]:
    for name, text in (
        ("systemctl", _SYSTEMCTL),
        ("loginctl", "#!/bin/sh\nexit 1\n"),
        ("journalctl", "#!/bin/sh\necho it broke\n"),
    ):
        program = device.folder / "bin" / name
        program.write_text(text, "utf-8")
        program.chmod(0o755)
    channel = SshChannel(device.address, device.port, device.options[1::2])
    channel.open()
    yield Link(channel, "", lambda line: None)
    channel.close()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.killpg(int((device.folder / "pid").read_text("ascii")), signal.SIGTERM)


def _install(link: Link, main: str) -> Service:
    found = replace(probe(link, "~/rbe"), has_systemd=True, is_root=False)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert target_for(found).name == "linux-arm64"
    return install(link, found, _SmallMaker(main), "demo.rbe", Settings(), port, None, lambda line: None)


def test_it_is_installed_started_and_answers(device: StandInDevice, link: Link) -> None:
    service = _install(link, _MAIN)
    assert service.unit == "rbe.service" and "enable-linger" in service.remark and service.sent_bytes > 0
    asked = (device.folder / "asked").read_text("utf-8").splitlines()
    assert asked == ["--user daemon-reload", "--user enable rbe.service", "--user restart rbe.service"]
    unit = (device.home / ".config" / "systemd" / "user" / "rbe.service").read_text("utf-8")
    assert f'"{device.home}/rbe/demo.rbe"' in unit and "WantedBy=default.target" in unit


def test_one_that_does_not_answer(device: StandInDevice, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbe_edge.deployment.service._START_S", 1)
    with pytest.raises(DeployError, match=r"is there and runs, but the service does not answer .*: it broke$"):
        _install(link, "raise SystemExit(1)")


def test_python_without_environments(device: StandInDevice, link: Link) -> None:
    python = device.folder / "bin" / "python3"
    python.write_text(
        '#!/bin/sh\n[ "$2" = venv ] || { echo 3.11.2; exit 0; }\necho no ensurepip >&2\nexit 1\n', "utf-8"
    )
    python.chmod(0o755)
    with pytest.raises(DeployError, match=r"makes no environment there .*python3-venv.*: no ensurepip$"):
        _install(link, _MAIN)
    assert not (device.home / "rbe" / "venv").exists()
