"""What the server writes for its operator."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from server_tools import Running, running

from rbe_edge.errors import ModelError
from rbe_edge.runtime.model import Model
from rbe_edge.server import log as server_log
from rbe_edge.server.log import RepeatedLines, cause_of


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(server_log, "time", clock)
    return clock


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(stream: io.StringIO, clock: Clock) -> Iterator[logging.Logger]:
    found = logging.getLogger("rbe_edge.test_log")
    handler = RepeatedLines(stream)
    found.addHandler(handler)
    yield found
    found.removeHandler(handler)
    handler.close()


def test_a_repeated_event_has_one_line_a_minute(log: logging.Logger, stream: io.StringIO, clock: Clock) -> None:
    for _ in range(100):
        log.warning("no room for %d", 5)
    log.warning("another event")
    assert stream.getvalue() == "rbe: no room for 5\nrbe: another event\n"
    clock.now += 59
    log.handlers[0].flush()
    assert stream.getvalue().count("\n") == 2
    clock.now += 1
    log.handlers[0].flush()
    assert stream.getvalue().splitlines()[2:] == ["rbe: no room for 5 (99 more times)"]
    clock.now += 30
    log.warning("no room for %d", 17)  # the same event: only its number differs
    clock.now += 30
    log.handlers[0].flush()
    assert stream.getvalue().splitlines()[3:] == ["rbe: no room for 5 (1 more time)"]
    clock.now += 61
    log.handlers[0].flush()
    log.warning("no room for %d", 18)  # after a quiet minute it is news
    assert stream.getvalue().splitlines()[4:] == ["rbe: no room for 18"]


def test_what_was_not_told_is_told_at_the_end(log: logging.Logger, stream: io.StringIO) -> None:
    for _ in range(4):
        log.warning("x")
    log.handlers[0].close()
    assert stream.getvalue() == "rbe: x\nrbe: x (3 more times)\n"


def test_kinds_are_bounded(log: logging.Logger, stream: io.StringIO) -> None:
    for index in range(5000):
        log.warning("event %s", "".join(chr(97 + int(digit)) for digit in str(index)))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 101 and lines[-1] == "rbe: further events of other kinds"


def test_lines_are_lines(log: logging.Logger, stream: io.StringIO) -> None:
    log.error("a\n\x1b[31mb %s", "c" * 10_000)
    assert stream.getvalue().count("\n") == 1 and "\x1b" not in stream.getvalue() and len(stream.getvalue()) < 400


def test_nobody_reads_it_any_more(log: logging.Logger, stream: io.StringIO) -> None:
    stream.close()
    log.error("x")


def test_causes() -> None:
    def failed(error: BaseException) -> BaseException:
        try:
            raise error
        except BaseException as caught:
            return caught

    assert cause_of(failed(ModelError("the file is gone"))) == "the file is gone"
    said = cause_of(failed(ValueError("WORDS of a request")))
    assert said.startswith("ValueError at test_log.py, line ") and "WORDS" not in said
    assert "No space left" in cause_of(failed(OSError(28, "No space left on device", "WORDS")))
    assert "WORDS" not in cause_of(failed(OSError(28, "No space left on device", "WORDS")))
    outer = failed(RuntimeError("outer"))
    outer.__cause__ = failed(KeyError("WORDS"))
    assert cause_of(outer).startswith("KeyError at ")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", ["read", "turn"])
def test_a_failure_says_nothing_of_the_request(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, stream: bool, where: str
) -> None:
    httpx = pytest.importorskip("httpx")
    words = "WORDS of a person"

    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError(f"cannot read {words!r}")

    with running(model, slots=1) as server, caplog.at_level(logging.DEBUG):
        target = server.service if where == "read" else server.service.scheduler
        monkeypatch.setattr(target, "chat_jobs" if where == "read" else "_take", fail)
        body = {"model": "demo", "stream": stream, "messages": [{"role": "user", "content": words}], "max_tokens": 4}
        response = httpx.post(server.url + "/v1/chat/completions", json=body)
        assert "the server's log says why" in response.text and "WORDS" not in response.text
        assert response.status_code == (200 if stream and where == "turn" else 500)
    lines = [record.getMessage() for record in caplog.records if record.name == "rbe_edge.server"]
    assert len(lines) == 1 and "ValueError at test_log.py" in lines[0]
    assert not any("WORDS" in record.getMessage() or record.exc_info for record in caplog.records)


def test_a_failure_of_the_event_loop_is_one_line(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("WORDS")

    def leave() -> None:
        raise ConnectionResetError("a client")

    with caplog.at_level(logging.INFO):
        loop = server.server.loop
        loop.call_soon_threadsafe(leave)
        loop.call_soon_threadsafe(fail)
        server.wait_for(lambda: len(caplog.records) > 0)
    (record,) = [record for record in caplog.records if record.name != "httpx"]
    assert "ValueError at test_log.py" in record.getMessage() and "WORDS" not in record.getMessage()
    assert json.dumps(record.getMessage()).count("\\n") == 0
