"""What systemd is told: rbe_edge/server/supervisor.py, by itself and from a server that runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rbe_edge.server.supervisor import Supervisor

pytest.importorskip("uvicorn")


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(30)
        yield made


def environment(listener: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": listener.getsockname(), **more}


def test_it_tells_only_who_asks(listener: socket.socket) -> None:
    for variables in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/no/such/socket", "WATCHDOG_USEC": "2000000"}):
        supervisor = Supervisor(lambda seconds: True, variables)
        supervisor.ready()
        supervisor.look()
        supervisor.stopping()
    Supervisor(lambda seconds: True, environment(listener)).look()  # asked for words, not for a watchdog
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.recv(100)


def test_a_watchdog_hears_of_those_that_are_alive(listener: socket.socket) -> None:
    alive, asked = False, []

    def is_alive(seconds: float) -> bool:
        asked.append(seconds)
        return alive

    supervisor = Supervisor(is_alive, environment(listener, WATCHDOG_USEC="60000000"))
    supervisor.look()
    alive = True
    supervisor.look()
    supervisor.look()  # half a minute has not passed
    supervisor.stopping()
    assert [listener.recv(100) for _ in range(2)] == [b"WATCHDOG=1", b"STOPPING=1"]
    assert asked == [60.0, 60.0]


@pytest.mark.parametrize("more", [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}])
def test_a_watchdog_of_others(listener: socket.socket, more: dict[str, str]) -> None:
    supervisor = Supervisor(lambda seconds: True, environment(listener, **{"WATCHDOG_USEC": "1000000", **more}))
    supervisor.look()
    supervisor.ready()
    assert listener.recv(100) == b"READY=1"


def test_a_server_that_runs(listener: socket.socket, tmp_path: Path) -> None:
    variables = {**os.environ, **environment(listener, WATCHDOG_USEC="2000000"), "RBE_API_KEY": "key"}
    variables.pop("WATCHDOG_PID", None)
    command = [sys.executable, "-m", "rbe_edge", "serve", "--port", "0", "-t", "1", "--slots", "1"]
    null = subprocess.DEVNULL
    with subprocess.Popen(command, env=variables, cwd=tmp_path, stdout=null, stderr=null) as process:
        try:
            assert [listener.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
            process.send_signal(signal.SIGTERM)
            said = listener.recv(100)
            assert (listener.recv(100) if said == b"WATCHDOG=1" else said) == b"STOPPING=1"
            assert process.wait(30) == 0
        finally:
            process.kill()
