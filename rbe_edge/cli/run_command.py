"""`rbe run`: answers or continues one prompt."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from rbe_edge.cli.asked import prompt_of
from rbe_edge.cli.chosen_model import chosen_model
from rbe_edge.cli.model_arguments import (
    add_model_arguments,
    check_memory,
    choose_threads,
    generation_options,
    model_wanted,
    note_statistics,
    opened_model,
    session_options,
    statistics_json,
)
from rbe_edge.cli.output import ProgressBar, note, printable
from rbe_edge.cli.power_arguments import add_power_arguments, energy_note, governed, limited_session
from rbe_edge.cli.word_wrap import WordWrap
from rbe_edge.errors import OptionError
from rbe_edge.progress import Progress
from rbe_edge.runtime.options import SamplingOptions

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model
    from rbe_edge.runtime.options import GenerationOptions

_CONTINUING = SamplingOptions(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)  # llama.cpp's

_EXAMPLE = """\
example:
  rbe run smol.rbe "Explain what a battery is." -n 100
  cat notes.txt | rbe run smol.rbe -p "Summarise this:"
  rbe run smol.rbe --raw -p "Once upon a time" -n 100 --temp 0.8 --seed 7
  echo "The capital of France is" | rbe run -m smol.rbe --raw -n 8 --temp 0
  rbe run smol.rbe -p "Tell me a story." --power saver -v
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "run",
        help="answer or continue one prompt",
        description="Asks a model that has a chat template, and has others continue the prompt. Only what the model "
        "adds is written to standard output.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_arguments(
        parser, max_tokens=256, temperature="0.7, or as the model's file says; 0.8 for text that is continued"
    )
    parser.add_argument("text", metavar="PROMPT", nargs="?", help="the prompt, with what is piped in behind it")
    parser.add_argument(
        "-p", "--prompt", metavar="TEXT", help="the same as PROMPT; `-` or neither: standard input alone"
    )
    parser.add_argument("--raw", action="store_true", help="continue the text, also by a model that is made to answer")
    parser.add_argument("--json", action="store_true", help="write one JSON object when done")
    parser.add_argument("-v", "--verbose", action="store_true", help="times and seed, on standard error")
    add_power_arguments(parser, follows=False)
    parser.set_defaults(run=run)


def _as_asked(
    model: Model, prompt: str, options: GenerationOptions, arguments: argparse.Namespace
) -> tuple[str | list[int], GenerationOptions]:
    """What the session is given. A model that was trained to answer is asked through its chat template, where its own
    defaults hold; others, and all with --raw, continue the text."""
    from rbe_edge.runtime.chat_defaults import answer_sampling, chat_defaults
    from rbe_edge.runtime.chat_template import Message, template_of
    from rbe_edge.runtime.conversation import prompt_tokens

    if model.encoder_decoder is not None:  # it answers in any case, with the likeliest words unless its file says more
        return prompt, generation_options(arguments, answer_sampling(model.metadata))
    if arguments.raw:
        return prompt, options
    if not model.metadata.get("chat_template"):
        note("this model has no chat template, so the text is continued; --raw does that without this line")
        return prompt, options
    if arguments.verbose:
        note("asked through the chat template of the model; --raw continues the text instead")
    tokens = prompt_tokens(model, template_of(model).render_marked([Message("user", prompt)]))
    return tokens, generation_options(arguments, chat_defaults(model).sampling)


def _prompt(arguments: argparse.Namespace) -> str:
    if arguments.text is not None and arguments.prompt is not None:
        raise OptionError("the prompt is given twice, as PROMPT and with -p; give it once")
    prompt = prompt_of(arguments.prompt if arguments.text is None else arguments.text)
    if not prompt:
        raise OptionError("the prompt is empty; give some text to continue, with -p or on standard input")
    return prompt


def run(arguments: argparse.Namespace) -> int:
    wanted = model_wanted(arguments)
    if wanted is None:
        raise OptionError("there is no model; give one, such as demo: rbe run demo -p TEXT")
    session_choice = session_options(arguments)
    options = generation_options(arguments, _CONTINUING)
    arguments.seed = options.sampling.seed
    prompt = _prompt(arguments)
    path = chosen_model(wanted)
    if arguments.verbose:
        note(f"seed {options.sampling.seed}")

    from rbe_edge.runtime.encoder_kinds import check_writes
    from rbe_edge.runtime.fit import Wish
    from rbe_edge.runtime.session import Session

    check_memory(arguments, path, Wish(session_choice, max_memory=arguments.max_memory))
    log = note if arguments.verbose else None
    pieces: list[str] = []
    shown = WordWrap(sys.stdout)
    with (
        opened_model(arguments, path, check_writes) as model,
        governed(arguments, model, log) as governor,
        Session(model, limited_session(arguments, session_choice, model, governor, log)) as session,
        ProgressBar() as bar,
    ):
        choose_threads(session, arguments)
        if governor is not None:
            governor.govern(session)
        asked, options = _as_asked(model, prompt, options, arguments)
        generation = session.generate(asked, options, progress=Progress(bar.show, "reading the prompt"))
        try:
            for piece in generation:
                bar.close()
                pieces.append(piece)
                if not arguments.json:
                    shown.write(printable(piece))
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
