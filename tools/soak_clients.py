"""Clients of tools/soak.py: some ask and check the answer, others stall, send nonsense, or go."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 120.0
"""An answer that has not come by then is a fault."""

MAX_TOKENS = 24
_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
_NONSENSE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n",
)
_WRONG_BODIES = (
    b"{", b"[" * 5000, b'{"model": NaN}', b'{"messages": 7}', b'{"model": "none", "messages": []}', b"\xff" * 100,
)  # fmt: skip


@dataclass
class Known:
    """What the library says beforehand. answers: by question. sure: models whose answers no power mode changes; the
    first one is always in memory. others: those of which only an answer is expected. vectors: of each question."""

    answers: Mapping[str, str]
    vectors: Mapping[str, list[float]]
    sure: tuple[str, ...]
    others: tuple[str, ...]


@dataclass
class Seen:
    """What all clients saw. latencies: when it was asked and how long a whole answer took, in seconds. busy: answers
    429, and 503 with Retry-After. Any thread."""

    kinds: Counter[str] = field(default_factory=Counter)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    busy: int = 0
    failures_5xx: int = 0
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, what: str) -> None:
        with self.lock:
            self.faults.append(what)


class _Busy(Exception):
    pass


class Client(threading.Thread):
    """Does one thing after the other until it is told to stop."""

    def __init__(self, port: int, known: Known, seen: Seen, stop: threading.Event, seed: int) -> None:
        super().__init__(daemon=True)
        self._port, self._known, self._seen, self._stop_event = port, known, seen, stop
        self._chance = random.Random(seed)

    def run(self) -> None:
        kinds: tuple[tuple[int, Callable[[], None]], ...] = (
            (6, self.whole), (3, self.stream), (1, self.schema), (1, self.vectors), (1, self.other), (2, self.leave),
            (1, self.stall), (2, self.nonsense), (2, self.wrong), (1, self.slow_reader),
        )  # fmt: skip
        weights, doings = zip(*kinds, strict=True)
        while not self._stop_event.is_set():
            (do,) = self._chance.choices(doings, weights)
            try:
                do()
                with self._seen.lock:
                    self._seen.kinds[do.__name__] += 1
            except _Busy:
                with self._seen.lock:
                    self._seen.busy += 1
                self._pause(0.2)
            except Exception as error:  # the clients go on, and the report says it
                self._seen.fault(f"{do.__name__}: {type(error).__name__}: {error}")
            self._pause(0.05)

    # ---- those that check their answers ----

    def whole(self) -> None:
        model, question = self._chance.choice(self._known.sure), self._question()
        began = time.monotonic()
        said = self._ask("/v1/chat/completions", _chat(model, question))
        with self._seen.lock:
            self._seen.latencies.append((began, time.monotonic() - began))
        self._compare(model, question, json.loads(said)["choices"][0]["message"]["content"])

    def stream(self) -> None:
        model, question = self._chance.choice(self._known.sure), self._question()
        said = self._ask("/v1/chat/completions", {**_chat(model, question), "stream": True})
        self._compare(model, question, _text_of(said))

    def schema(self) -> None:
        wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA}}
        asked = {**_chat(self._known.sure[0], "Count."), "max_tokens": 64, "response_format": wanted}
        choice = json.loads(self._ask("/v1/chat/completions", asked))["choices"][0]
        if choice["finish_reason"] == "stop" and not isinstance(json.loads(choice["message"]["content"])["n"], int):
            self._seen.fault(f"schema: {choice['message']['content']!r}")

    def vectors(self) -> None:
        question = self._question()
        asked = {"model": self._known.sure[0], "input": question, "pooling": "mean"}
        found = json.loads(self._ask("/v1/embeddings", asked))["data"][0]["embedding"]
        if found != self._known.vectors[question]:
            self._seen.fault(f"vectors: others than the library's for {question!r}")

    def other(self) -> None:
        said = self._ask("/v1/chat/completions", _chat(self._chance.choice(self._known.others), self._question()))
        if not json.loads(said)["choices"][0]["finish_reason"]:
            self._seen.fault("other: an answer without an end")

    def slow_reader(self) -> None:
        """Takes a stream in small pieces."""
        model, question = self._chance.choice(self._known.sure), self._question()
        with self._send(_post("/v1/chat/completions", {**_chat(model, question), "stream": True})) as connection:
            found = b""
            while not found.endswith(b"0\r\n\r\n") and (piece := connection.recv(97)):
                found += piece
                if found.startswith((b"HTTP/1.1 429", b"HTTP/1.1 503")):
                    raise _Busy
                time.sleep(0.002)
        self._compare(model, question, _text_of(_without_chunks(found)))

    # ---- those that do not behave ----

    def leave(self) -> None:
        asked = {**_chat(self._chance.choice(self._known.sure), self._question()), "max_tokens": 400, "stream": True}
        with self._send(_post("/v1/chat/completions", asked)) as connection:
            connection.recv(self._chance.choice((1, 100, 2000)))

    def stall(self) -> None:
        """Half of a request, and silence; some send the rest at last, which a server may have given up."""
        data = _post("/v1/chat/completions", _chat(self._known.sure[0], self._question()))
        cut = self._chance.randrange(1, len(data))
        with self._send(data[:cut]) as connection:
            self._pause(self._chance.uniform(0.2, 12.0))
            if self._chance.random() < 0.5:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(data[cut:])
                    self._check_status(connection.recv(4096), "stall")

    def nonsense(self) -> None:
        sent = self._chance.choice((*_NONSENSE, self._chance.randbytes(200)))
        with self._send(sent) as connection, contextlib.suppress(ConnectionError):
            connection.shutdown(socket.SHUT_WR)
            self._check_status(connection.recv(4096), "nonsense", refused=True)

    def wrong(self) -> None:
        body = self._chance.choice(_WRONG_BODIES)
        with self._send(_post("/v1/chat/completions", body)) as connection:
            self._check_status(connection.recv(4096), "wrong", refused=True)

    # ---- inside ----

    def _question(self) -> str:
        return self._chance.choice(tuple(self._known.answers))

    def _pause(self, seconds: float) -> None:
        self._stop_event.wait(seconds)

    def _compare(self, model: str, question: str, said: str) -> None:
        if said.strip() != self._known.answers[question]:
            self._seen.fault(f"{model}: {question!r} was answered {said!r}, not {self._known.answers[question]!r}")

    def _send(self, data: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE_S)
        connection.sendall(data)
        return connection

    def _check_status(self, said: bytes, what: str, *, refused: bool = False) -> None:
        """said: the beginning of an answer; none where the server closed."""
        status = int(said.split()[1]) if said.startswith(b"HTTP/1.1 ") else 0
        if status >= 500 and b"retry-after" not in said.lower():
            with self._seen.lock:
                self._seen.failures_5xx += 1
        if refused and status and not 400 <= status < 500:
            self._seen.fault(f"{what}: was answered {said[:100]!r}")

    def _ask(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The whole answer. Raises _Busy."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            said = response.read()
        if response.status == 429 or (response.status == 503 and response.getheader("Retry-After")):
            raise _Busy
        if response.status >= 500:
            with self._seen.lock:
                self._seen.failures_5xx += 1
        if response.status != 200:
            raise ValueError(f"status {response.status}: {said[:200]!r}")
        return said


def _chat(model: str, question: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS}


def _post(path: str, body: Mapping[str, Any] | bytes) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def _text_of(events: bytes) -> str:
    """Of a stream of server-sent events."""
    lines = [line[6:] for line in events.split(b"\n") if line.startswith(b"data: ")]
    if not lines or lines[-1].strip() != b"[DONE]":
        raise ValueError("a stream without its end")
    deltas = [choice["delta"] for line in lines[:-1] for choice in json.loads(line)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def _without_chunks(answer: bytes) -> bytes:
    """The body of an answer in chunks."""
    rest, found = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        found, rest = found + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return found
