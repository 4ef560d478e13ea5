"""What is foreseen comes true, on machines that are not the one whose rates are known, and the bar never goes back."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rbe_edge.errors import Cancelled
from rbe_edge.packing.forecast import Forecast

RATES = {"reading": 2.0, "passing": 0.5, "encoding": 1.0}
WORK = {"reading": 20.0, "passing": 400.0, "encoding": 300.0}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def heard_of(truth: Mapping[str, float], pieces: int = 50) -> list[tuple[float, float, float]]:
    """Share that is shown, seconds that are foreseen, and seconds that it will take in truth, of every tell. Passing
    and encoding come in turn; truth: seconds for a unit."""
    clock = Clock()
    whole = sum(truth[kind] * units for kind, units in WORK.items())
    heard: list[tuple[float, float, float]] = []

    def listen(what: str, done: int, total: int) -> None:
        heard.append((done / total, (total - done) / 1000, 100 + whole - clock.now))

    forecast = Forecast(listen, RATES, clock)
    forecast.plan(WORK)
    steps = [("reading", WORK["reading"])]
    steps += [(kind, WORK[kind] / pieces) for _ in range(pieces) for kind in ("passing", "encoding")]
    for kind, units in steps:
        with forecast.doing(kind, kind, units) as report:
            for part in range(1, 5):
                clock.now += truth[kind] * units / 4
                report(part, 4)
    return heard


@pytest.mark.parametrize(
    "truth",
    [
        RATES,
        {kind: 7 * rate for kind, rate in RATES.items()},
        {kind: 0.2 * rate for kind, rate in RATES.items()},
        {"reading": 1.0, "passing": 0.9, "encoding": 1.3},
        {"reading": 2.6, "passing": 0.4, "encoding": 1.2},
    ],
)
def test_after_a_tenth_it_is_within_a_third(truth: Mapping[str, float]) -> None:
    heard = heard_of(truth)
    whole = heard[0][2]
    for _, foreseen, left in heard:
        if 0.9 * whole > left > 0.02 * whole:
            assert foreseen == pytest.approx(left, rel=1 / 3, abs=2), (foreseen, left)
    shares = [share for share, _, _ in heard]
    assert shares == pytest.approx(sorted(shares), abs=1e-4) and shares[0] == 0 and shares[-1] > 0.99


def test_it_never_goes_back() -> None:
    """Though more turns out to be left."""
    heard: list[float] = []
    clock = Clock()
    forecast = Forecast(lambda what, done, total: heard.append(done / total), RATES, clock)
    forecast.plan({"encoding": 10.0})
    with forecast.doing("encoding", "first", 8.0) as report:
        clock.now += 8
        report(1, 1)
    forecast.plan({"encoding": 1000.0})
    forecast.tell("second")
    assert heard == sorted(heard) and heard[-1] == pytest.approx(heard[-2], abs=1e-3) and heard[-1] > 0.7
    assert forecast.seconds_left() == pytest.approx(1000, rel=0.01)


def test_it_stops_the_work() -> None:
    forecast = Forecast(lambda what, done, total: done > 0, RATES)
    forecast.plan(WORK)
    with pytest.raises(Cancelled), forecast.doing("encoding", "first", 200.0) as report:
        report(1, 2)
        forecast.tell("more")


def test_work_that_was_not_foreseen() -> None:
    forecast = Forecast(None, RATES, Clock())
    with forecast.doing("reading", "more", 5.0) as report:
        report(0, 0)
    assert forecast.seconds_left() == 0
