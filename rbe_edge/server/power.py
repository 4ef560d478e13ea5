"""What the server says of power: mode and joules of each answer, numbers for `/metrics`, the file's table of modes
(docs/power.md)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rbe_edge.machine.power import Energy, Mode, joules_between, measured

if TYPE_CHECKING:
    from rbe_edge.runtime.governor import Governor
    from rbe_edge.runtime.parts import ModeTable

_SETTLE_S = 0.25  # between readings of the energy while answers are made


@dataclass(frozen=True)
class PowerUse:
    """mode, reason: when the answer ended. joules: that the machine took while it worked on this answer, its share
    where it worked on several. token_joules: those of them behind the prompt. None: not measured, or too little for the
    sensor."""

    mode: Mode
    reason: str
    joules: float | None
    token_joules: float | None


@dataclass(eq=False)
class Spent:
    """What an answer has taken so far. joules None: nothing measures, or did not all the time."""

    joules: float | None = 0.0
    token_joules: float = 0.0


@dataclass(frozen=True)
class _Worked:
    spent: Spent
    seconds: float
    is_token: bool


class PowerMeter:
    """Shares the joules of the machine among answers, by the time that was worked on each. One thread."""

    def __init__(self, governor: Governor | None) -> None:
        """None: nothing is measured."""
        self._governor = governor
        self._power = governor.power if governor is not None else None
        self._before: Energy | None = None
        self._settled_at = 0.0
        self._worked: list[_Worked] = []

    def begin(self) -> None:
        """Work begins, or goes on."""
        if self._power is not None and self._before is None:
            self._before = self._power.energy()
            self._settled_at = time.monotonic()

    def rest(self) -> None:
        """There is no work: what the machine takes now is nobody's."""
        self._before = None
        self._worked.clear()

    @contextmanager
    def working(self, answers: Sequence[Spent], *, on_tokens: bool) -> Iterator[None]:
        """Around work for all of these. on_tokens: behind the prompt."""
        began = time.monotonic()
        try:
            yield
        finally:
            if self._before is not None:
                seconds = (time.monotonic() - began) / max(1, len(answers))
                self._worked += [_Worked(spent, seconds, on_tokens) for spent in answers]
                if time.monotonic() - self._settled_at >= _SETTLE_S:
                    self._settle()

    def use(self, spent: Spent) -> PowerUse | None:
        """Of an answer that ends; None without a governor."""
        if self._governor is None:
            return None
        info = self._governor.info
        if self._before is None or spent.joules is None:
            return PowerUse(info.mode, info.reason, None, None)
        after = self._settle()
        joules = None if spent.joules is None else measured(spent.joules, after.resolution_j)
        token_joules = measured(spent.token_joules, after.resolution_j) if joules is not None else None
        return PowerUse(info.mode, info.reason, joules, token_joules)

    def _settle(self) -> Energy:
        """Shares what was spent since the last time."""
        assert self._power is not None and self._before is not None
        before, self._before = self._before, self._power.energy()
        joules = joules_between(before, self._before)
        seconds = sum(one.seconds for one in self._worked)
        for one in self._worked:
            if joules is None or one.spent.joules is None:
                one.spent.joules = None
            elif seconds > 0:
                share = joules * one.seconds / seconds
                one.spent.joules += share
                one.spent.token_joules += share if one.is_token else 0.0
        self._worked.clear()
        self._settled_at = time.monotonic()
        return self._before


def usage_of_power(uses: Sequence[PowerUse], n_tokens: int) -> dict[str, Any]:
    """The field `power` of `usage`, of all answers to a request, which generated so many tokens. None becomes null."""
    joules = _sum([use.joules for use in uses])
    token_joules = _sum([use.token_joules for use in uses])
    return {
        "mode": uses[-1].mode.label,
        "reason": uses[-1].reason,
        "joules": None if joules is None else round(joules, 6),
        "joules_per_token": None if token_joules is None or not n_tokens else round(token_joules / n_tokens, 6),
    }


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def power_lines(governor: Governor) -> Iterator[str]:
    """For `/metrics`. Reads the sensors, which may take tens of milliseconds. What is unknown has no line."""
    info = governor.info
    now = info.mode if info.reason else governor.first_decision().mode
    modes = {f'mode="{mode.label}"': int(mode == now) for mode in Mode}
    yield from _metric("rbe_power_mode", "gauge", "Power mode of the last token, or of the first: 1, others 0", modes)
    yield from _metric("rbe_power_switches_total", "counter", "Switches of power modes", {"": info.switches})
    waited = round(info.waited_s, 6)
    yield from _metric("rbe_power_waited_seconds_total", "counter", "Waited between tokens, in all", {"": waited})
    if governor.power is None:
        return
    energy, sample = governor.power.energy(), governor.power.sample()
    if energy.joules is not None:
        labels = f'source="{_label(energy.source)}",covers="{_label(energy.covers)}"'
        yield from _metric("rbe_energy_joules_total", "counter", "Since the start", {labels: round(energy.joules, 6)})
    for name, meaning, value in (
        ("rbe_battery_ratio", "Charge of the battery, 0 to 1", sample.battery_level),
        ("rbe_battery_charging", "1: lives on mains or USB", None if sample.charging is None else +sample.charging),
        ("rbe_temperature_celsius", "Of the processor's hottest sensor", sample.temperature_c),
        ("rbe_throttled", "1: heat or the supply hold clocks down", sample.throttled),
    ):
        if value is not None:
            yield from _metric(name, "gauge", meaning, {"": value})


def _metric(name: str, kind: str, meaning: str, values: Mapping[str, float]) -> Iterator[str]:
    """values: by labels."""
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        yield f"{name}{{{labels}}} {value:.10g}" if labels else f"{name} {value:.10g}"


def _label(text: str) -> str:
    """A driver may have given the name."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def described_modes(table: ModeTable) -> dict[str, Any]:
    """For the list of models: what each mode reads and what was measured of it."""
    from rbe_edge.runtime.parts import MODE_NAMES

    return {
        "measured_on": table.text,
        "kl_against": table.against,
        "modes": [
            {
                "mode": name,
                "perplexity": mode.perplexity,
                "kl": mode.kl,
                "top1": mode.top1,
                "bytes_per_token": mode.bytes_per_token,
                "tokens_measured": mode.n_tokens,
                "reason": mode.reason or None,
            }
            for name, mode in zip(MODE_NAMES, table.modes, strict=True)
        ],
    }
