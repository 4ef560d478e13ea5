"""What acts on power modes: effort, threads and waits between tokens, on machines that are trees of files."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from fake_machine import AT_ONCE, FakeMachine, write
from fixed_planes import fixed_planes

from rbe_edge import Model
from rbe_edge.errors import Cancelled, OptionError, RbeError
from rbe_edge.format import modes
from rbe_edge.format.replacing import replace_parts
from rbe_edge.machine.power import Feed, Mode, Policy, Power
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.effort import SKIP, Effort
from rbe_edge.runtime.governor import Goals, Governor, mode_limits

TOKENS = [5, 250, 17, 17, 99, 3, 201, 64]
TABLE = modes.ModeTable(
    2,
    (
        modes.Mode(),
        modes.Mode(attention=(1, 0)),
        modes.Mode(attention=(1, 1), feed_forward=(0, SKIP)),
        modes.Mode(attention=(1, SKIP), feed_forward=(1, SKIP), lm_head=1),
    ),
)
BATTERY = {"type": "Battery", "present": "1", "status": "Discharging", "capacity": "80"}

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sensors are files of POSIX systems")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("governor")
    source = tiny_models.write(tiny_models.MODELS["llama"], directory / "source")
    with fixed_planes((2, 2)):
        pack(source, directory / "model.rbe", PackOptions(bits=2, calibrate="none"))
    replace_parts(directory / "model.rbe", [TABLE.part()])
    return directory / "model.rbe"


@pytest.fixture
def model(path: Path) -> Iterator[Model]:
    with Model.open(path) as opened:
        yield opened


def test_modes_follow_the_battery(model: Model, tmp_path: Path) -> None:
    """From one token to the next; what was read before stays as it is."""
    battery = write(tmp_path, "power_supply/BAT0", BATTERY)
    lines: list[str] = []
    with (
        Power(str(tmp_path)) as power,
        Governor(model, power, AT_ONCE, log=lines.append) as governor,
        model.session(threads=4) as session,
        model.session(threads=1) as expected,
    ):
        governor.govern(session)
        for level, mode, threads in (
            (80, Mode.PERFORMANCE, 4),
            (40, Mode.BALANCED, 2),
            (15, Mode.SAVER, 2),
            (3, Mode.EMERGENCY, 1),
        ):
            (battery / "capacity").write_text(f"{level}\n")
            if mode != Mode.PERFORMANCE:
                time.sleep(1.01)  # sensors are read once a second
            expected.set_effort(Effort.of_mode(TABLE.modes[mode]))
            for token in TOKENS[:2]:
                session.prefill([token])
                expected.prefill([token])
                np.testing.assert_array_equal(session.logits, expected.logits)
            info = governor.info
            assert (info.mode, info.reason.split(",")[0], info.threads) == (mode, f"{level} %", threads)
            assert session.info.threads == threads
        assert lines == ["balanced: 40 %", "saver: 15 %", "emergency: 3 %"]
        assert governor.info.tokens == 8 and governor.info.switches == 3
        assert list(session.tokens) == TOKENS[:2] * 4
        governor.override(Mode.PERFORMANCE)  # at the next token, without a second's wait
        expected.set_effort(None)
        for one in (session, expected):
            one.prefill(TOKENS[:1])
        np.testing.assert_array_equal(session.logits, expected.logits)
        assert session.info.threads == 4 and lines[-1] == "performance: override, 3 %"
        governor.override(None)
        session.prefill(TOKENS[:1])
        assert governor.info.mode == Mode.EMERGENCY


def test_a_batch(model: Model) -> None:
    """Its sessions are stepped in the mode, those that come later too, and so are generations."""
    policy = Policy(override=Mode.SAVER)
    with (
        Governor(model, policy=policy) as governor,
        model.batch(max_sessions=2, threads=3) as batch,
        model.session() as one,
        model.session() as other,
        model.session() as expected,
    ):
        governor.govern(batch)
        one.prefill(TOKENS[:3])
        other.prefill(TOKENS[:4])
        expected.copy_from(one, 3)
        expected.set_effort(Effort.of_mode(TABLE.modes[Mode.SAVER]))
        batch.step([one, other], [7, 8])
        expected.prefill([7])
        np.testing.assert_array_equal(one.logits, expected.logits)
        assert governor.info.mode == Mode.SAVER and governor.info.threads == 2 and governor.info.tokens == 2
        governor.release(batch)
        batch.step([one], [9])  # stays in the mode
        expected.prefill([9])
        np.testing.assert_array_equal(one.logits, expected.logits)


def test_without_sensors_it_is_performance(model: Model) -> None:
    with Governor(model) as governor, model.session(threads=2) as session, model.session() as expected:
        governor.govern(session)
        for one in (session, expected):
            one.prefill(TOKENS)
            one.prefill(TOKENS[:1])
        np.testing.assert_array_equal(session.logits, expected.logits)
        info = governor.info
        assert (info.mode, info.threads, info.joules, info.waited_s) == (Mode.PERFORMANCE, 2, None, 0)
        assert info.reason  # says that nothing is known


@pytest.mark.parametrize(
    ("goals", "match"),
    [
        (Goals(watts=5), "no sensor measures power here"),
        (Goals(celsius=70), "no sensor says how hot the processor is"),
        (Goals(celsius=20), "20 C cannot be held; give 30 to 120"),
        (Goals(watts=-1), "are from 0 on"),
        (Goals(tokens_per_s=float("nan")), "are from 0 on"),
    ],
)
def test_goals_that_cannot_be_held(model: Model, tmp_path: Path, goals: Goals, match: str) -> None:
    with Power(str(tmp_path)) as power, pytest.raises(OptionError, match=match):
        Governor(model, power, goals=goals)


def test_energy_and_watts(model: Model, tmp_path: Path) -> None:
    """A counter that grows by 10 W: under 100 W nothing waits, under 2 W tokens do, and waiting can be cancelled."""
    with FakeMachine(tmp_path).takes(10):
        with Power(str(tmp_path)) as power, model.session() as session:
            with Governor(model, power, goals=Goals(watts=100)) as governor:
                governor.govern(session)
                for _ in range(20):
                    session.prefill(TOKENS[:1])
                assert governor.info.waited_s == 0
            with Governor(model, power, goals=Goals(watts=2)) as governor:
                governor.govern(session)
                for _ in range(200):
                    session.prefill(TOKENS[:1])
                    session.rewind(0)
                    if governor.info.waited_s > 0:
                        break
                    time.sleep(0.01)
                assert governor.info.waited_s > 0
                joules, seconds = governor.info.joules, governor.info.joule_seconds
                assert joules is not None and joules == pytest.approx(10 * seconds, rel=0.1)
                over = threading.Event()

                def cancel() -> None:
                    while not over.wait(0.05):  # until it falls into a call
                        session.cancel()

                canceller = threading.Thread(target=cancel)
                canceller.start()
                try:
                    with pytest.raises(Cancelled):
                        for _ in range(10000):
                            session.prefill(TOKENS[:1])
                            session.rewind(0)
                finally:
                    over.set()
                    canceller.join()


def test_joules_are_those_until_they_are_asked_for(model: Model, tmp_path: Path) -> None:
    with Power(str(tmp_path)) as power:
        power.feed(Feed.ENERGY_J, 100)
        with Governor(model, power) as governor, model.session() as session:
            assert governor.info.joules == 0
            power.feed(Feed.ENERGY_J, 103)
            assert governor.info.joules == 3  # no token yet
            governor.govern(session)
            session.prefill(TOKENS[:1])
            power.feed(Feed.ENERGY_J, 104.5)
            info = governor.info
            assert info.joules == 4.5 and info.tokens == 1
            assert info.resolution_j == power.energy().resolution_j


def test_the_slowest_rate_takes_the_fewest_threads(model: Model) -> None:
    with Governor(model, goals=Goals(tokens_per_s=40)) as governor, model.session(threads=4) as session:
        governor.govern(session)
        for _ in range(12):
            session.prefill(TOKENS[:1])
        assert governor.info.threads == 1 and session.info.threads == 1
        assert 0 < governor.info.waited_s < 12 / 40 + 1


def test_life(model: Model, path: Path) -> None:
    """A governor that is closed lets go of its sessions; one of another model is refused."""
    session = model.session()
    governor = Governor(model)
    governor.govern(session)
    governor.close()
    governor.close()
    session.prefill(TOKENS)
    with pytest.raises(RbeError, match="closed"):
        governor.info  # noqa: B018
    with Model.open(path) as other, Governor(other) as stranger, pytest.raises(OptionError, match="another model"):
        stranger.govern(session)
    with Governor(model) as last:
        last.govern(session)
        session.close()


def test_limits_fall_with_the_mode() -> None:
    limits = [mode_limits(mode) for mode in Mode]
    assert limits[0].context == limits[0].sessions == 0 and limits[0].cache_divisor == 1
    assert limits[3].context == 2048 and limits[3].sessions == 1 and limits[3].cache_divisor == 0
