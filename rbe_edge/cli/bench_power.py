"""`rbe bench FILE --power all`: power modes beside each other; `--battery-trace`: a discharge replayed."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.bench_file import model_file
from rbe_edge.cli.output import ProgressBar, note
from rbe_edge.errors import MissingExtra, OptionError
from rbe_edge.format.modes import MODE_NAMES

if TYPE_CHECKING:
    from rbe_edge.bench.power import Peer, Plan, PowerReport
    from rbe_edge.machine.power import Mode
    from rbe_edge.runtime.model import Model

_STOPPED = 130


def add_power_bench_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('power modes (docs/power.md, "The benchmark")')
    group.add_argument("--power", metavar="MODES", help=f"all, or some of {', '.join(MODE_NAMES)} with commas")
    group.add_argument("--seconds", metavar="S", type=float, help="of each mode's tokens (60), after prompts for S/4")
    group.add_argument("--minutes", metavar="M", type=float, help="the same in minutes, for what heat does")
    group.add_argument("--idle", metavar="S", type=float, default=30.0, help="baseline, where energy is measured (30)")
    group.add_argument("--plots", metavar="PREFIX", type=Path, help="write PREFIX-quality.png and PREFIX-rate.png")
    group.add_argument("--battery-trace", metavar="FILE", type=Path, help="replay `seconds percent [charging] [C]`")
    group.add_argument("--trace-speed", metavar="X", type=float, default=1.0, help="so many times as fast (1)")
    group.add_argument("--policy", metavar="FILE", type=Path, help="when the trace changes modes: `key = value` lines")
    group.add_argument("--sensor-root", metavar="DIR", default="", help="where the machine's /sys is, in a container")


def wants_power(arguments: argparse.Namespace) -> bool:
    return arguments.power is not None or arguments.battery_trace is not None


def refuse_power_flags(arguments: argparse.Namespace) -> None:
    """Of `rbe bench` without modes."""
    flags = ("seconds", "minutes", "plots", "policy")
    given = [flag for flag in flags if getattr(arguments, flag) is not None]
    if given:
        raise OptionError(f"--{given[0]} is for --power all, or --battery-trace")


def run_power(arguments: argparse.Namespace) -> int:
    """Prints the report. Exit 130 where Ctrl-C ended it: what was measured so far is printed too."""
    for flag in ("workloads", "speculate", "text"):
        if getattr(arguments, flag) is not None:
            raise OptionError(f"--{flag} is not for power modes; leave it out")
    for flag, usual in (("kv", "auto"), ("repetitions", 5), ("batch_size", 0)):
        if getattr(arguments, flag) != usual:
            raise OptionError(f"--{flag.replace('_', '-')} is not for power modes, which have their own; leave it out")
    if arguments.jsonl or arguments.profile:
        raise OptionError("power modes are written as --json, --csv or --markdown, without --profile")
    return _run_trace(arguments) if arguments.battery_trace is not None else _run_modes(arguments)


def _run_modes(arguments: argparse.Namespace) -> int:
    from rbe_edge.bench import power_plots, power_report

    plan = _plan(arguments)
    if arguments.policy is not None:
        raise OptionError("--policy is for --battery-trace; --power pins its modes")
    if arguments.plots is not None:
        power_plots.require_matplotlib()
    report = _measure(arguments, plan)
    if arguments.json:
        print(power_report.as_json(report))
    elif arguments.csv:
        print(power_report.as_csv(report))
    else:
        print(power_report.as_markdown(report, series=arguments.markdown or arguments.minutes is not None))
    if arguments.plots is not None:
        for path in power_plots.write_plots(report, arguments.plots):
            note(f"wrote {path}")
    return _STOPPED if report.stopped else 0


def _plan(arguments: argparse.Namespace) -> Plan:
    from rbe_edge.bench.power import SECONDS, Plan

    if arguments.seconds is not None and arguments.minutes is not None:
        raise OptionError("give --seconds or --minutes, not both")
    seconds = SECONDS if arguments.seconds is None else arguments.seconds
    if arguments.minutes is not None:
        seconds = 60 * arguments.minutes
    return Plan(_modes(arguments.power), seconds, arguments.idle, _threads(arguments))


def _modes(text: str) -> list[Mode]:
    from rbe_edge.machine.power import Mode

    if text == "all":
        return list(Mode)
    names = text.split(",")
    for name in names:
        if name not in MODE_NAMES:
            raise OptionError(f"--power {text} is not possible; give all, or some of {', '.join(MODE_NAMES)}")
    return [Mode.named(name) for name in names]


def _threads(arguments: argparse.Namespace) -> int:
    text: str = arguments.threads
    if not text.isascii() or not text.isdigit() or int(text) > 64:
        raise OptionError(f"--threads {text}: power modes begin from one number, 1 to 64, or 0 for one per core")
    return int(text)


def _measure(arguments: argparse.Namespace, plan: Plan) -> PowerReport:
    from rbe_edge.bench.power import PowerReport, measure_modes
    from rbe_edge.machine import hardware
    from rbe_edge.machine.power import Power
    from rbe_edge.runtime.model import Model

    with ExitStack() as stack:
        bar = stack.enter_context(ProgressBar())
        path, label = model_file(arguments, stack, bar)
        power = stack.enter_context(Power(arguments.sensor_root))
        power.start()
        model = stack.enter_context(Model.open(path, kernel_set=arguments.kernels, max_memory=arguments.max_memory))
        model.verify()  # which would be measured too
        bar.show("measuring memory", 0, 1)
        machine = hardware.describe(hardware.read_bandwidth(hardware.cores()))
        report = PowerReport(machine, label, model.info.kernel_set, path.stat().st_size)
        peers = _peers(arguments, model, stack, bar)
        measure_modes(model, report, plan, power, bar.show, peers)
        return report


def _peers(arguments: argparse.Namespace, model: Model, stack: ExitStack, bar: ProgressBar) -> list[Peer]:
    """Of --against; none, with a line that says why, where llama.cpp is not there."""
    from rbe_edge.bench import runner
    from rbe_edge.bench.power import Peer

    if not arguments.against:
        return []
    names = arguments.types.split(",") if arguments.types else runner.peer_types(model)[:1]
    try:
        runner.check_types(names)
    except MissingExtra as error:
        bar.pause()
        note(f"{arguments.against} is left out: {error}")
        return []
    files = runner.peer_files(stack, runner.shape_of(model), names, bar.show)
    return [Peer(name, path) for name, path in files.items()]


def _run_trace(arguments: argparse.Namespace) -> int:
    from rbe_edge.bench import trace_report
    from rbe_edge.bench.battery_trace import read_trace, replay
    from rbe_edge.machine.power import Policy
    from rbe_edge.runtime.model import Model

    for flag in ("power", "seconds", "minutes", "plots", "against"):
        if getattr(arguments, flag) not in (None, "auto"):
            raise OptionError(f"--{flag} is not for --battery-trace, where the policy decides")
    points = read_trace(arguments.battery_trace)
    policy = Policy() if arguments.policy is None else Policy.read(arguments.policy)
    threads = _threads(arguments)
    with ExitStack() as stack:
        bar = stack.enter_context(ProgressBar())
        path, _ = model_file(arguments, stack, bar)
        model = stack.enter_context(Model.open(path, kernel_set=arguments.kernels, max_memory=arguments.max_memory))
        model.verify()  # which would be measured too
        found = replay(model, points, bar.show, policy=policy, speed=arguments.trace_speed, threads=threads)
    if arguments.json:
        print(trace_report.as_json(found))
    elif arguments.csv:
        print(trace_report.as_csv(found))
    else:
        print(trace_report.as_markdown(found))
    return 0 if found.complete else _STOPPED
