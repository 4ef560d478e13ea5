"""The scheduler: whose turn it is, and what happens when it fails."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from server_tools import running

from rbe_edge.errors import OptionError
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SamplingOptions, SessionOptions
from rbe_edge.server.job import Finish, Job
from rbe_edge.server.metrics import Metrics
from rbe_edge.server.scheduler import Scheduler


def test_requests_take_turns(model: Model) -> None:
    """The second request's answer begins when the first slot is free, before the other choices of the first."""
    ended: list[str] = []
    done = threading.Event()

    def job(name: str, request: object, prompt: list[int]) -> Job:
        def tell(event: Any) -> None:
            if isinstance(event, Finish):
                ended.append(name)
                done.set() if len(ended) == 6 else None

        return Job(prompt, SamplingOptions(temperature=1.0, seed=3), tell, max_tokens=8, request=request)

    scheduler = Scheduler(model, SessionOptions(threads=1), 2, 1, Metrics())
    try:
        prompt, first = model.tokenize("Once upon a time"), object()
        with scheduler._changed:  # both are there before a slot is given
            scheduler.submit(*(job("first", first, prompt) for _ in range(5)))
            scheduler.submit(job("second", object(), model.tokenize("A dog")))
        assert done.wait(60)
    finally:
        scheduler.stop()
    assert "second" in ended[:2]


def test_a_long_prompt_lets_others_go_on(model: Model) -> None:
    """While 960 tokens are read, in pieces of 64, another answer gets a token for each piece."""
    scheduler = Scheduler(model, SessionOptions(threads=1), 2, 4, Metrics())
    events: list[tuple[str, Any]] = []
    done = threading.Event()
    talk = Job(
        prompt=model.tokenize("Once upon a time"), sampling=SamplingOptions(temperature=1.0, seed=3), stop=(),
        tell=lambda event: events.append(("talk", event)), top_logprobs=0,
    )  # fmt: skip

    def tell(event: Any) -> None:
        events.append(("long", event))
        if isinstance(event, (Finish, BaseException)):
            done.set()

    long = Job(
        prompt=[50 + i % 900 for i in range(960)], sampling=SamplingOptions(), tell=tell, max_tokens=1, top_logprobs=0
    )
    try:
        scheduler.submit(talk)
        scheduler.submit(long)
        assert done.wait(60)
        before = events[: [who for who, _ in events].index("long")]
        ended = any(isinstance(event, Finish) for _, event in before)
        assert len(before) >= 12 or ended
    finally:
        talk.cancel()
        scheduler.stop()
        scheduler.stop()


def test_whether_it_is_alive(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn that does not end tells, an idle scheduler is alive, one that was stopped is not."""
    held, working = threading.Event(), threading.Event()

    def step(slots: object) -> None:
        working.set()
        held.wait(60)

    scheduler = Scheduler(model, SessionOptions(threads=1), 1, 4, Metrics())
    job = Job(model.tokenize("Once"), SamplingOptions(), lambda event: None, max_tokens=1)
    try:
        assert scheduler.is_alive(0.0)
        monkeypatch.setattr(scheduler, "_step", step)
        scheduler.submit(job)
        assert working.wait(60)
        assert scheduler.is_alive(60.0) and not scheduler.is_alive(0.0)
    finally:
        job.cancel()
        held.set()
        scheduler.stop()
    assert not scheduler.is_alive(60.0)


def test_what_is_no_prompt_ends_its_own_job(model: Model) -> None:
    told: list[Any] = []
    done = threading.Event()

    def tell(event: Any) -> None:
        told.append(event)
        done.set() if isinstance(event, Finish) else None

    scheduler = Scheduler(model, SessionOptions(threads=1), 1, 4, Metrics())
    try:
        scheduler.submit(Job([10**9], SamplingOptions(), tell, max_tokens=1))
        scheduler.submit(Job(model.tokenize("Once"), SamplingOptions(), tell, max_tokens=1))
        assert done.wait(60)
    finally:
        scheduler.stop()
    assert isinstance(told[0], OptionError) and isinstance(told[-1], Finish)


def test_a_scheduler_that_fails_says_so(
    model: Model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no answer's own failure: those who wait are told, and so is whoever asks for the server's health. The log
    says where it failed, without a word of a request."""
    httpx, openai = pytest.importorskip("httpx"), pytest.importorskip("openai")

    def fail(slots: object) -> None:
        raise ValueError("WORDS of a request")

    with running(model, slots=1) as server, caplog.at_level("ERROR", "rbe_edge.server"):
        assert httpx.get(server.url + "/health").status_code == 200
        monkeypatch.setattr(server.service.scheduler, "_step", fail)
        with pytest.raises(openai.InternalServerError, match="stopping"):
            server.client().completions.create(model="demo", prompt="Once", max_tokens=4)
        server.wait_for(lambda: httpx.get(server.url + "/health").status_code == 503)
    (line,) = (record.getMessage() for record in caplog.records)
    assert "ValueError at test_scheduler.py" in line and "WORDS" not in line
