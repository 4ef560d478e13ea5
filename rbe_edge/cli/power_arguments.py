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
from rbe_edge.runtime.options import DEFAULT_CONTEXT

if TYPE_CHECKING:
    from rbe_edge.machine.power import Mode, Power
    from rbe_edge.runtime.engine_model import EngineModel
    from rbe_edge.runtime.governor import Governor, GovernorInfo, PowerChoice
    from rbe_edge.runtime.options import SessionOptions

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
        policy = replace(policy, override=Mode.named(arguments.power))
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
    always: bool = False,
    root: str = "",
) -> Iterator[Governor | None]:
    """What acts on the flags, None where there is nothing to act on. log: a line for each switch. always: a governor
    even then, for who may override it later. root: of the files of sensors. Raises OptionError as power_choice(), and
    for goals that nothing here measures."""
    _check_goals(arguments)
    if arguments.power == MODE_NAMES[0] and not any((arguments.watts, arguments.max_temp, arguments.pace)):
        if arguments.policy is not None:
            raise OptionError("--policy is for --power auto")
        if not always:
            yield None
            return
    from rbe_edge.runtime.governor import Governor

    choice = power_choice(arguments)
    with measuring_sensors(root) as power, Governor(model, power, choice.policy, choice.goals, log) as governor:
        yield governor


def limited_session(
    arguments: argparse.Namespace,
    session: SessionOptions,
    model: EngineModel,
    governor: Governor | None,
    log: Callable[[str], None] | None = None,
) -> SessionOptions:
    """The same within the limits of the power mode that holds now. log: is told of them, where there are any."""
    if governor is None or arguments.power == MODE_NAMES[0]:
        return session
    decision = governor.first_decision()
    own_context = min(model.info.context, DEFAULT_CONTEXT)
    session, words = within_limits(arguments, session, decision.mode, own_context)
    if words and log is not None:
        log(f"power mode {decision.mode.label}: {decision.reason}; so {' '.join(words)}")
    return session


def within_limits(
    arguments: argparse.Namespace, session: SessionOptions, mode: Mode, own_context: int
) -> tuple[SessionOptions, list[str]]:
    """The same within the limits of a mode, where flags do not say otherwise, and the flags that would say it."""
    from rbe_edge.runtime.governor import mode_limits

    limits, words = mode_limits(mode), []
    if arguments.ctx_size == 0 and 0 < limits.context < own_context:
        session = replace(session, context=limits.context)
        words.append(f"-c {limits.context}")
    return session, words


def _check_goals(arguments: argparse.Namespace) -> None:
    for flag, value in (("--watts", arguments.watts), ("--pace", arguments.pace)):
        if value is not None and not 0 < value <= 1e6:
            raise OptionError(f"{flag} is a number above 0, not {value:g}")
    if arguments.max_temp is not None and not 30 <= arguments.max_temp <= 120:
        raise OptionError(f"--max-temp is from 30 to 120 C, not {arguments.max_temp:g}")


def energy_note(governor: Governor, before: GovernorInfo | None = None) -> str:
    """What it did, for a person: "saver: 18 %, 71 C; 2 threads, 3.12 J/token, waited 4.0 s". before: since then."""
    info = governor.info
    if not info.reason:
        return "the power mode is decided with the first token"
    words = [f"{info.threads} thread{'s' if info.threads != 1 else ''}"]
    joules = (info.joules or 0) - ((before and before.joules) or 0)
    tokens = info.tokens - (before.tokens if before else 0)
    if joules > 0 and joules >= 10 * info.resolution_j and tokens:
        words.append(f"{joules / tokens:.3g} J/token")
    waited = info.waited_s - (before.waited_s if before else 0)
    if waited >= 0.05:
        words.append(f"waited {waited:.1f} s")
    return f"{info.mode.label}: {info.reason}; {', '.join(words)}"
