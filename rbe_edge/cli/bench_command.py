"""`rbe bench`: how fast a model is on this machine, alone or beside llama.cpp."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.bench_file import model_file
from rbe_edge.cli.bench_power import add_power_bench_arguments, refuse_power_flags, run_power, wants_power
from rbe_edge.cli.chosen_model import WHAT, chosen_model
from rbe_edge.cli.model_arguments import add_kv_argument, add_memory_argument, pass_tokens
from rbe_edge.cli.output import ProgressBar
from rbe_edge.errors import OptionError
from rbe_edge.runtime.text_file import read_text

if TYPE_CHECKING:
    from rbe_edge.bench.report import Report
    from rbe_edge.bench.speculation import SpeculationSettings
    from rbe_edge.runtime.model import Model

_EXAMPLE = """\
example:
  rbe bench smol.rbe
  rbe bench smol.rbe --workloads pp512,tg64,tg64@4096 --threads 1,2 --csv
  rbe bench --shape 1B --planes 4 --against llama.cpp
  rbe bench smol.rbe --speculate lookup --text notes.txt --workloads tg128@256
  rbe bench --shape 135M --workloads tg64@1024,tg64@4096,tg64@16384 --kv f16
  rbe bench smol.rbe --power all --markdown      75 s for each power mode
  rbe bench smol.rbe --battery-trace day.txt --trace-speed 600

workloads: pp512 is a prompt of 512 tokens, tg64 generates 64, tg64@1024 does so
behind 1024 others (the first 512 are computed, and their keys and values
repeated). With several depths, how a token's time grows with them is printed.
With --speculate, 1024 tokens of the text are the prompt, which the likeliest
tokens continue. --against needs: pip install 'rbe-edge[compare]'
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "bench",
        help="measure the speed of a model on this machine",
        description="Measures prompt and generation rates, latencies, memory, and how much of this machine's memory "
        "bandwidth a generated token uses. One warm-up, then repetitions.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="MODEL", nargs="?", type=Path, help=WHAT)
    parser.add_argument("--shape", metavar="S", help="or a model of that shape, random bits in it (135M, 0.5B, 1B, 3B)")
    parser.add_argument("--planes", metavar="K", default="4", help="bits of its matrices, such as 3 or 2+2 (4)")
    parser.add_argument("--workloads", metavar="W", help="what to run (pp128,pp512,tg64,tg256,tg64@1024)")
    parser.add_argument("-t", "--threads", metavar="N", default="0", help="threads, such as 1,2 (one per core)")
    parser.add_argument("-r", "--repetitions", metavar="N", type=int, default=5, help="timed runs (%(default)s)")
    parser.add_argument("-b", "--batch-size", metavar="N", type=int, default=0, help="prompt tokens per pass")
    add_kv_argument(parser)
    parser.add_argument("--speculate", metavar="HOW", help="guess tokens too, by lookup, planes, or both with a comma")
    parser.add_argument("--draft", metavar="N", type=int, default=6, help="guess so many at most (%(default)s)")
    parser.add_argument("--text", metavar="FILE", type=Path, help="what --speculate continues, UTF-8")
    parser.add_argument("--kernels", metavar="SET", help="a kernel set, such as avx2 (the best)")
    parser.add_argument("--against", choices=("llama.cpp",), help="run it in alternation on the same shape")
    parser.add_argument("--types", metavar="T", help="its weight types, such as Q4_K,Q5_K (those of the same quality)")
    parser.add_argument("--profile", action="store_true", help="say where the time went, warm-ups and depth included")
    add_memory_argument(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write one JSON object")
    form.add_argument("--jsonl", action="store_true", help="write JSON Lines")
    form.add_argument("--csv", action="store_true", help="write CSV")
    form.add_argument("--markdown", action="store_true", help="write Markdown (what is written without any of these)")
    add_power_bench_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.bench import report as form

    if (arguments.file is None) == (arguments.shape is None):
        raise OptionError("give either a MODEL or --shape; see `rbe bench --help`")
    if arguments.file is not None:
        arguments.file = chosen_model(arguments.file)
    if wants_power(arguments):
        return run_power(arguments)
    refuse_power_flags(arguments)
    with ProgressBar() as bar:
        report = _measure(arguments, bar)
    if arguments.json:
        print(form.as_json(report))
    elif arguments.jsonl:
        print(form.as_json_lines(report))
    elif arguments.csv:
        print(form.as_csv(report))
    else:
        print(form.as_table(report))
    return 0


def _measure(arguments: argparse.Namespace, bar: ProgressBar) -> Report:
    from rbe_edge.bench import runner, shapes, workloads
    from rbe_edge.bench.report import Report
    from rbe_edge.bench.slope import slopes
    from rbe_edge.machine import hardware
    from rbe_edge.machine.process import peak_bytes
    from rbe_edge.runtime.model import Model

    threads = _threads(arguments.threads)
    wanted = workloads.parse_workloads(
        arguments.workloads or (workloads.DEFAULT_OF_SPECULATION if arguments.speculate else workloads.DEFAULT)
    )
    shapes.parse_planes(arguments.planes)
    shape = shapes.shape_named(arguments.shape) if arguments.shape else None
    with ExitStack() as stack:
        path, label = model_file(arguments, stack, bar)
        bar.show("measuring memory", 0, 1)
        read_gb_per_s = hardware.read_bandwidth(hardware.cores())
        began = time.perf_counter()
        model = stack.enter_context(Model.open(path, kernel_set=arguments.kernels, max_memory=arguments.max_memory))
        model.verify()  # which would be measured too
        open_ms = 1e3 * (time.perf_counter() - began)
        peers: list[str] = []
        if arguments.against:
            peers = arguments.types.split(",") if arguments.types else runner.peer_types(model)
            runner.check_types(peers)
        profile = runner.Profile() if arguments.profile else None
        settings = runner.Settings(
            wanted,
            threads,
            arguments.repetitions,
            pass_tokens(arguments),
            peers,
            profile,
            arguments.kv,
            _speculation(arguments, model),
        )
        rows = runner.run(model, label, shape or runner.shape_of(model), settings, bar.show)
        spent = profile.entries if profile is not None else ()
        return Report(hardware.describe(read_gb_per_s), tuple(rows), peak_bytes(), open_ms, spent, slopes(rows))


def _speculation(arguments: argparse.Namespace, model: Model) -> SpeculationSettings | None:
    from rbe_edge.bench.speculation import SpeculationSettings

    if arguments.speculate is None:
        return None
    methods = arguments.speculate.split(",")
    if not set(methods) <= {"lookup", "planes"}:
        raise OptionError(f"--speculate {arguments.speculate} is not possible; give lookup, planes or lookup,planes")
    if arguments.text is None:
        raise OptionError("--speculate continues a text that people wrote; give one with --text FILE")
    return SpeculationSettings(methods, model.tokenize(read_text(arguments.text)), arguments.draft)


def _threads(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"--threads {text} is not possible; give a number, or several with commas") from None
    if not all(0 <= count <= 64 for count in found):
        raise OptionError("--threads are from 1 to 64, or 0 for one per physical core")
    return found
