"""Flags of power modes, and the governor that acts on them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.errors import OptionError
from rbe_edge.format.modes import MODE_NAMES

if TYPE_CHECKING:
    from rbe_edge.machine.power import Power
    from rbe_edge.runtime.engine_model import EngineModel
    from rbe_edge.runtime.governor import Governor, PowerChoice

AUTO = "auto"


def add_power_arguments(parser: argparse.ArgumentParser, *, follows: bool) -> None:
    """follows: whether the policy decides unless told otherwise; else it is performance."""
    group = parser.add_argument_group("power (docs/power.md)")
    default = AUTO if follows else MODE_NAMES[0]
    group.add_argument(
        "--power",
        metavar="MODE",
        choices=(AUTO, *MODE_NAMES),
        default=default,
        help=f"{', '.join(MODE_NAMES)}, or auto: by battery and heat ({default})",
    )
    group.add_argument("--policy", metavar="FILE", type=Path, help="when auto changes modes: lines of `key = value`")
    group.add_argument("--watts", metavar="W", type=float, help="wait between tokens so that it takes W on average")
    group.add_argument("--max-temp", metavar="C", type=float, help="wait so that the processor stays below C")
    group.add_argument("--pace", metavar="R", type=float, help="R tokens/s are enough: fewer threads, no faster")


def power_choice(arguments: argparse.Namespace, *, with_mode: bool = True) -> PowerChoice:
    """What the flags say; with_mode: --power too. Raises OptionError for a policy that cannot be read, and for goals
    out of range."""
    from rbe_edge.machine.power import Mode, Policy
    from rbe_edge.runtime.governor import Goals, PowerChoice

    _check_goals(arguments)
    policy = Policy() if arguments.policy is None else Policy.read(arguments.policy)
    if with_mode and arguments.power != AUTO:
        policy = replace(policy, override=Mode(MODE_NAMES.index(arguments.power)))
    return PowerChoice(policy, Goals(arguments.watts, arguments.max_temp, arguments.pace))


@contextmanager
def measuring_sensors(root: str = "") -> Iterator[Power]:
    """The sensors of this machine, or of a tree of files, whose watts are read all the time."""
    from rbe_edge.machine.power import Power

    with Power(root) as power:
        power.start()
        yield power


@contextmanager
def governed(
    arguments: argparse.Namespace,
    model: EngineModel,
    log: Callable[[str], None] | None = None,
    *,
    root: str = "",
) -> Iterator[Governor | None]:
    """What acts on the flags, None where there is nothing to act on. log: a line for each switch, and one for the mode
    that it begins with, where that is not performance. root: of the files of sensors. Raises OptionError as
    power_choice(), and for goals that nothing here measures."""
    choice = power_choice(arguments)
    if arguments.power == MODE_NAMES[0] and not any((arguments.watts, arguments.max_temp, arguments.pace)):
        if arguments.policy is not None:
            raise OptionError("--policy is for --power auto")
        yield None
        return
    from rbe_edge.machine.power import Decider
    from rbe_edge.runtime.governor import Governor

    with measuring_sensors(root) as power, Governor(model, power, choice.policy, choice.goals, log) as governor:
        decision = Decider(choice.policy).decide(power.sample())
        if log is not None and decision.mode:
            log(f"{decision.mode.label}: {decision.reason}")
        yield governor


def _check_goals(arguments: argparse.Namespace) -> None:
    for flag, value in (("--watts", arguments.watts), ("--pace", arguments.pace)):
        if value is not None and not 0 < value <= 1e6:
            raise OptionError(f"{flag} is a number above 0, not {value:g}")
    if arguments.max_temp is not None and not 30 <= arguments.max_temp <= 120:
        raise OptionError(f"--max-temp is from 30 to 120 C, not {arguments.max_temp:g}")


def energy_note(governor: Governor) -> str:
    """What it did, for a person: "saver: 18 %, 71 C; 2 threads, 3.12 J/token, waited 4.0 s"."""
    info = governor.info
    words = [f"{info.threads} thread{'s' if info.threads != 1 else ''}"]
    if info.joules is not None and info.tokens:
        words.append(f"{info.joules / info.tokens:.3g} J/token")
    if info.waited_s >= 0.05:
        words.append(f"waited {info.waited_s:.1f} s")
    return f"{info.mode.label}: {info.reason}; {', '.join(words)}"
