"""`rbe serve` as a process: where it listens, how it stops, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from server_tools import LONG, one_answer, request

openai = pytest.importorskip("openai")
pytest.importorskip("uvicorn")
COMMAND = [sys.executable, "-m", "rbe_edge", "serve"]
MESSAGES = [{"role": "user", "content": "Hello!"}]


@pytest.fixture
def process() -> Iterator[Any]:
    environment = {**os.environ, "RBE_API_KEY": "key-of-the-test"}
    command = [
        *COMMAND,
        "--port",
        "0",
        "--json",
        "-t",
        "1",
        "--slots",
        "1",
        "--alias",
        "pebble",
        "--stop-timeout",
        "20",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=os.sep
    ) as running:  # elsewhere: the sources here hold no C library
        yield running
        running.kill()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_stops_when_its_answers_have_ended(process: Any, stop: signal.Signals) -> None:
    where = json.loads(process.stdout.readline())
    assert where["model"] == "pebble"
    client = openai.OpenAI(base_url=where["url"], api_key="key-of-the-test", max_retries=0, timeout=60)
    stream = client.chat.completions.create(model="pebble", messages=MESSAGES, stream=True, **LONG)
    chunks = [next(iter(stream))]
    process.send_signal(stop)
    chunks += stream
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(json.loads(text)) >= 800  # the whole answer
    assert process.wait(30) == 0
    assert process.stderr.read() == "rbe: stopped\n"
    with pytest.raises(openai.APIConnectionError):
        client.models.list()


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_wait(process: Any, second: signal.Signals) -> None:
    where = json.loads(process.stdout.readline())
    client = openai.OpenAI(base_url=where["url"], api_key="key-of-the-test", max_retries=0, timeout=60)
    stream = client.chat.completions.create(model="pebble", messages=MESSAGES, stream=True, **LONG)
    next(iter(stream))
    process.send_signal(signal.SIGTERM)
    threading.Timer(0.2, process.send_signal, [second]).start()
    assert process.wait(15) == 0  # of the 20 seconds that answers get


def test_a_stop_does_not_wait_for_requests(process: Any) -> None:
    where = json.loads(process.stdout.readline())
    port = int(where["url"].split(":")[2].split("/")[0])
    clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(4)]
    clients[0].sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Len")
    clients[1].sendall(request(b"{", length=1000, Authorization="Bearer key-of-the-test"))
    clients[2].sendall(request(b"{", length=1000, Authorization="Bearer wrong"))
    clients[3].sendall(request(b"{}", length=2, Authorization="Bearer key-of-the-test"))
    assert one_answer(clients[3])[0] == 400  # and idle since
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0  # of 20
    assert process.stderr.read() == "rbe: stopped\n"
    for client in clients:
        client.close()


def test_too_few_descriptors(process: Any) -> None:
    """Fewer than it was started with: connections wait, then are served, and the log has a line or two of it."""
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("only Linux limits other processes")
    where = json.loads(process.stdout.readline())
    port = int(where["url"].split(":")[2].split("/")[0])
    n_open = len(os.listdir(f"/proc/{process.pid}/fd"))
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (n_open + 3, n_open + 3))
    clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(40)]
    for client in clients:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: ")
    openai.OpenAI(base_url=where["url"], api_key="key-of-the-test", timeout=30).models.list()
    for client in clients:
        client.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    lines = process.stderr.read().splitlines()
    assert 2 <= len(lines) <= 4 and lines[-1] == "rbe: stopped"
    assert all(line.startswith("rbe: a connection was not accepted: ") for line in lines[:-1])


def test_control_tokens_can_be_left_unread() -> None:
    counts = []
    for arguments in ([], ["--no-control-tokens"]):
        with subprocess.Popen(
            [*COMMAND, "--port", "0", "--json", "-t", "1", *arguments], stdout=subprocess.PIPE, text=True, cwd=os.sep
        ) as running:
            assert running.stdout is not None
            where = json.loads(running.stdout.readline())
            client = openai.OpenAI(base_url=where["url"], api_key="any", max_retries=0, timeout=60)
            answer = client.completions.create(model="demo", prompt="<|im_start|>user\nhi<|im_end|>", max_tokens=1)
            counts.append(answer.usage.prompt_tokens)
            running.terminate()
    assert counts[0] + 10 < counts[1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--host", "0.0.0.0"], 2, "--api-key"), (["--port", "99999"], 2, "port"), (["--slots", "0"], 2, "slots"),
        (["--queue", "-1"], 2, "queue"), (["--max-body", "1"], 2, "max-body"), (["--api-key", ""], 2, "key"),
        (["--max-tokens", "0"], 2, "tokens"), (["no-such.rbe", "--port", "0"], 1, "no-such.rbe"),
        (["--host", "203.0.113.7", "--api-key", "k"], 1, "cannot listen"),
        (["--host", "no such host", "--api-key", "k"], 1, "cannot listen"),
    ],
)  # fmt: skip
def test_what_it_refuses(arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rbe_edge.cli.main import main

    assert main(["serve", *arguments]) == code
    error = capsys.readouterr().err
    assert said in error and error.startswith("rbe: ") and error.count("\n") == 1


def test_the_extra_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from rbe_edge.cli.main import main

    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", "--port", "0"]) == 1
    assert "rbe-edge[server]" in capsys.readouterr().err
