"""`rbe run`: continues one prompt."""

from __future__ import annotations

import argparse
import json
import sys

from rbe_edge.cli.model_arguments import (
    add_model_arguments,
    check_memory,
    choose_threads,
    generation_options,
    model_path,
    note_statistics,
    session_options,
    statistics_json,
)
from rbe_edge.cli.output import ProgressBar, note, printable
from rbe_edge.cli.power_arguments import add_power_arguments, energy_note, governed, limited_session
from rbe_edge.errors import OptionError
from rbe_edge.progress import Progress

_TEMPERATURE = 0.8  # the default of llama.cpp

_EXAMPLE = """\
example:
  rbe run smol.rbe -p "Once upon a time" -n 100 --temp 0.8 --seed 7
  echo "The capital of France is" | rbe run -m smol.rbe -n 8 --temp 0
  rbe run smol.rbe -p "Once upon a time" --power saver -v
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "run",
        help="continue a prompt",
        description="Continues a prompt. Only what the model adds is written to standard output.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(parser, max_tokens=256, temperature=f"{_TEMPERATURE}")
    parser.add_argument("-p", "--prompt", metavar="TEXT", help="the prompt; `-` or nothing: standard input")
    parser.add_argument("--json", action="store_true", help="write one JSON object when done")
    parser.add_argument("-v", "--verbose", action="store_true", help="times and seed, on standard error")
    add_power_arguments(parser, follows=False)
    parser.set_defaults(run=run)


def _prompt(given: str | None) -> str:
    if given is not None and given != "-":
        return given
    if given is None and sys.stdin.isatty():
        raise OptionError("there is no prompt; give one with -p or on standard input")
    text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    return text.removesuffix("\n")


def run(arguments: argparse.Namespace) -> int:
    path = model_path(arguments)
    if path is None:
        raise OptionError("there is no model; give a .rbe file: rbe run FILE -p TEXT")
    session_choice = session_options(arguments)
    options = generation_options(arguments, _TEMPERATURE)
    prompt = _prompt(arguments.prompt)
    if not prompt:
        raise OptionError("the prompt is empty; give some text to continue, with -p or on standard input")
    if arguments.verbose:
        note(f"seed {options.sampling.seed}")

    from rbe_edge.runtime.fit import Wish
    from rbe_edge.runtime.model import Model
    from rbe_edge.runtime.session import Session

    check_memory(arguments, path, Wish(session_choice, max_memory=arguments.max_memory))
    verify = not arguments.no_verify
    log = note if arguments.verbose else None
    pieces: list[str] = []
    with (
        Model.open(path, verify=verify, max_memory=arguments.max_memory) as model,
        governed(arguments, model, log) as governor,
        Session(model, limited_session(arguments, session_choice, model, governor, log)) as session,
        ProgressBar() as bar,
    ):
        choose_threads(session, arguments)
        if governor is not None:
            governor.govern(session)
        generation = session.generate(prompt, options, progress=Progress(bar.show, "reading the prompt"))
        try:
            for piece in generation:
                bar.close()
                pieces.append(piece)
                if not arguments.json:
                    print(printable(piece), end="", flush=True)
        finally:
            if pieces and not arguments.json:
                print(flush=True)
        statistics = generation.statistics
        if arguments.json:
            result = {
                "text": "".join(pieces),
                "tokens": generation.tokens,
                "seed": options.sampling.seed,
                **statistics_json(statistics),
            }
            print(json.dumps(result))
        if statistics.finish == "context":
            note(f"the context of {session.context} tokens is full, so the text was cut; -c makes it larger")
        if arguments.verbose:
            note_statistics(statistics)
            if governor is not None:
                note(energy_note(governor))
    return 0
