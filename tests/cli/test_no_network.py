"""Nobody is asked anything over a network unless that was wished: ordinary commands with sockets that are watched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models

from rbe_edge.runtime.model import demo_path

#: Python reads it at its start, in the child processes of a command too. What would leave is written down and refused;
#: a server may listen.
WATCH = """
import os, socket, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
                 "socket.getnameinfo", "socket.gethostbyaddr", "urllib.Request", "http.client.connect"):
        with open(os.environ["RBE_TEST_NETWORK"], "a") as file:
            file.write(f"{event} {arguments!r} by {sys.argv}\\n")
        raise OSError("the network was asked")

sys.addaudithook(watch)
"""

Watched = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    place = tmp_path / "watch"
    place.mkdir()
    (place / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    before = os.environ.get("PYTHONPATH", "")
    homes = {name: str(tmp_path / name) for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME", "HOME")}
    path = os.pathsep.join([str(place), *([before] if before else [])])
    return {**os.environ, **homes, "PYTHONPATH": path, "RBE_TEST_NETWORK": str(tmp_path / "asked.txt"), "TERM": "dumb"}


@pytest.fixture
def watched(environment: dict[str, str], tmp_path: Path) -> Watched:
    def run(*words: object, input: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rbe_edge", *map(str, words)]
        return subprocess.run(
            command, input=input, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300
        )

    return run


def asked(tmp_path: Path) -> str:
    path = tmp_path / "asked.txt"
    return path.read_text(encoding="utf-8") if path.exists() else ""


@pytest.mark.parametrize(
    "words",
    [
        ["help"], ["--help"], ["--version"], ["serve", "--help"], ["doctor"], ["list"], ["pull"],
        ["completion", "bash"],
        ["inspect", "DEMO"], ["show", "DEMO"], ["fit", "DEMO"], ["run", "DEMO", "Hello!", "-n", "4"],
        ["embed", "DEMO", "Hello!", "--pooling", "mean"], ["self", "--help"],
        ["bench", "DEMO", "--workloads", "pp8,tg4", "-r", "1", "-t", "1"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_ordinary_commands(watched: Watched, tmp_path: Path, words: list[str]) -> None:
    done = watched(*(str(demo_path()) if word == "DEMO" else word for word in words))
    assert asked(tmp_path) == ""
    assert done.returncode == 0, done.stderr


def test_a_chat(watched: Watched, tmp_path: Path) -> None:
    done = watched("chat", "--plain", demo_path(), input="Hello!\n")
    assert asked(tmp_path) == "" and done.returncode == 0 and done.stdout.strip(), done.stderr


def test_packing_and_running_a_local_directory(watched: Watched, tmp_path: Path) -> None:
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")
    packed = watched("pack", source, "-o", tmp_path / "tiny.rbe", "--bits", "4")
    assert packed.returncode == 0, packed.stderr
    done = watched("run", tmp_path / "tiny.rbe", "the", "-n", "4")
    assert done.returncode == 0 and asked(tmp_path) == "", done.stderr


def test_a_server_starts_answers_and_stops(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rbe_edge", "serve", str(demo_path()), "--port", "0", "--json", "--host"]
    for host, key in (("127.0.0.1", ""), ("0.0.0.0", "key-of-the-test")):
        given = {**environment, "RBE_API_KEY": key} if key else environment
        with subprocess.Popen(
            [*command, host], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=given, cwd=tmp_path
        ) as process:
            try:
                assert process.stdout is not None and process.stderr is not None
                url = json.loads(process.stdout.readline())["url"].replace("0.0.0.0", "127.0.0.1")
                body = json.dumps({"model": "demo", "prompt": "Hello", "max_tokens": 4}).encode()
                wanted = urllib.request.Request(f"{url}/completions", body, {"Authorization": f"Bearer {key}"})
                with urllib.request.urlopen(wanted, timeout=60) as answer:
                    assert json.load(answer)["choices"]
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
            finally:
                process.kill()
        assert asked(tmp_path) == ""


def test_the_watch_sees_what_is_wished(watched: Watched, tmp_path: Path) -> None:
    """A name of the hub asks the hub, and so the watch is no decoration."""
    pytest.importorskip("huggingface_hub")
    done = watched("pack", "someone/tiny", "-o", tmp_path / "tiny.rbe")
    assert done.returncode == 1 and done.stderr.startswith("rbe: someone/tiny: ")
    assert "huggingface.co" in asked(tmp_path)


def test_a_socket_in_a_child_is_seen(environment: dict[str, str], tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import socket; socket.getaddrinfo(\"x\", 1)'])"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True)
    assert asked(tmp_path).startswith("socket.getaddrinfo ('x', 1")
