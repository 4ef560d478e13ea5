"""`rbe chat`: the client on a terminal, else a conversation line by line."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbe_edge.cli.asked import standard_input, with_attachment
from rbe_edge.cli.chosen_model import check_converses_file, chosen_model, is_demo
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
from rbe_edge.cli.power_arguments import (
    AUTO,
    add_power_arguments,
    energy_note,
    governed,
    limited_session,
    power_choice,
)
from rbe_edge.cli.word_wrap import WordWrap
from rbe_edge.errors import ContextFull, OptionError
from rbe_edge.format.modes import MODE_NAMES
from rbe_edge.interrupts import forget_press
from rbe_edge.progress import Progress
from rbe_edge.runtime.chat_defaults import chat_defaults
from rbe_edge.runtime.chat_template import WITHOUT_TEMPLATE
from rbe_edge.runtime.conversation import Conversation
from rbe_edge.runtime.options import SamplingOptions, chat_temperature
from rbe_edge.runtime.text_file import read_text

if TYPE_CHECKING:
    from rbe_edge.runtime.governor import Governor

_EXAMPLE = """\
example:
  rbe chat                        talk to the demo model
  rbe chat ./model.gguf           to a model that is packed once, in minutes
  rbe chat smol.rbe "How does a battery age?"
  cat notes.txt | rbe chat smol.rbe -p "What is to be done by whom?"
  rbe chat smol.rbe --system "You answer in one sentence." -v
  printf 'Hello!\\nTell me a story.\\n' | rbe chat smol.rbe --temp 0

On a terminal a full-screen client (F1 shows its keys); with --plain, or in a
pipe, lines:
  /help    these lines
  /reset   forget the conversation
  /power   the power mode and why; /power saver (or another mode) overrides,
           /power auto follows the battery
  /quit    leave, as /bye and /exit; on a terminal exit and quit too
  Ctrl-C   stops the answer; a second Ctrl-C, or Ctrl-D, leaves
"""

_LEAVING = ("/quit", "/bye", "/exit")
_LEAVING_WORDS = ("exit", "quit")  # where a person types, as in a shell

_HELP = (
    "/reset forgets the conversation, /power shows or sets the power mode, /quit leaves. "
    "Ctrl-C stops an answer; a second Ctrl-C, or Ctrl-D, leaves."
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "chat",
        help="talk to a model",
        description="Talks to a model. Without MODEL: to the demo model that comes with rbe.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = f"{chat_temperature(demo=False)}; {chat_temperature(demo=True):g} with the demo model; or the file's"
    add_model_arguments(parser, max_tokens=512, temperature=default)
    parser.add_argument("question", metavar="QUESTION", nargs="?", help="answer this one, and leave")
    parser.add_argument(
        "-p", "--prompt", metavar="TEXT", help="the same as QUESTION; what is piped into the command stands behind it"
    )
    parser.add_argument("--system", metavar="TEXT", help="what the model is told before the conversation")
    parser.add_argument("--chat-template-file", metavar="FILE", type=Path, help="a Jinja template, not the model's")
    parser.add_argument(
        "--plain", action="store_true", help="line by line, for pipes and screen readers; always so without a terminal"
    )
    parser.add_argument("--new", action="store_true", help="a new conversation, not the latest one with this model")
    parser.add_argument("--json", action="store_true", help="write one JSON object per answer")
    parser.add_argument("-v", "--verbose", action="store_true", help="seed, times and speed, on standard error")
    add_power_arguments(parser, follows=True)
    parser.set_defaults(run=run, parser_default=parser.get_default)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.runtime.encoder_kinds import check_converses
    from rbe_edge.runtime.fit import Wish
    from rbe_edge.runtime.model import demo_path
    from rbe_edge.runtime.session import Session

    wanted = model_wanted(arguments)
    session_choice = session_options(arguments)
    # What is wrong with flags is said before anything is packed.
    options = generation_options(arguments, SamplingOptions())
    file = arguments.chat_template_file
    template = None if file is None else read_text(file, "chat template")
    question = _question(arguments)
    path = None if wanted is None else chosen_model(wanted)
    path = None if is_demo(path) else path
    if question is None and _wants_client(arguments):
        if path is not None:
            check_converses_file(path)
        return _run_client(arguments, path, template)
    arguments.seed = options.sampling.seed
    if arguments.verbose:
        note(f"seed {options.sampling.seed}")
    check_memory(arguments, path, Wish(session_choice, max_memory=arguments.max_memory))
    switches = _SwitchLines()
    with (
        opened_model(arguments, path or demo_path(), check_converses) as model,
        governed(arguments, model, switches, always=True) as governor,
        Session(model, limited_session(arguments, session_choice, model, governor, note)) as session,
    ):
        assert governor is not None
        choose_threads(session, arguments)
        governor.govern(session)
        options = generation_options(arguments, chat_defaults(model).sampling)
        conversation = Conversation(session, options, system=arguments.system, template=template)
        chat = _Chat(conversation, arguments, governor, switches)
        if template is None and not model.metadata.get("chat_template"):
            note(WITHOUT_TEMPLATE)
        if question is not None:
            _answer(chat, question)
            return 0
        if sys.stdin.isatty():
            return _on_terminal(chat)
        for line in _piped_lines():
            if not _obey(line, chat):
                _answer(chat, line)
            if line.strip() in _LEAVING:
                break
    return 0


def _question(arguments: argparse.Namespace) -> str | None:
    """The one that is to be answered, with what is piped into the command. Raises OptionError."""
    given = [text for text in (arguments.question, arguments.prompt) if text is not None]
    if len(given) > 1:
        raise OptionError("the question is given twice, as QUESTION and with -p; give it once")
    if not given:
        return None
    if not given[0].strip():
        raise OptionError("the question is empty; say something")
    return standard_input() if given[0] == "-" else with_attachment(given[0])


def _wants_client(arguments: argparse.Namespace) -> bool:
    """On a terminal that can show it; where Textual was left out of the install, a line says so."""
    if arguments.plain or arguments.json or os.environ.get("TERM", "dumb") == "dumb":
        return False
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    if importlib.util.find_spec("textual") is None:
        note("line by line, because textual is missing; for the full client: pip install textual")
        return False
    return True


def _run_client(arguments: argparse.Namespace, path: Path | None, template: str | None) -> int:
    from rbe_edge.store.places import models_directory
    from rbe_edge.tui.run import run_client
    from rbe_edge.tui.start import Start

    names = {
        "temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "repeat_penalty": "repeat_penalty",
        "seed": "seed", "predict": "max_tokens", "ctx_size": "context", "threads": "threads", "power": "power",
    }  # fmt: skip
    given: dict[str, Any] = {
        setting: getattr(arguments, flag)
        for flag, setting in names.items()
        if getattr(arguments, flag) != arguments.parser_default(flag)
    }
    if given.get("max_tokens", 0) < 0:
        given["max_tokens"] = None
    start = Start(
        model=path,
        models_directory=models_directory(),
        settings=given,
        system=arguments.system,
        new=arguments.new,
        session=session_options(arguments),
        generation=generation_options(arguments, SamplingOptions()),
        power=power_choice(arguments, with_mode=False),
    )
    return run_client(start, verify=not arguments.no_verify, template=template)


def _piped_lines() -> Iterator[str]:
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "surrogateescape").strip()
        if text:
            yield text


class _SwitchLines:
    """Writes lines beside an answer: on a terminal not behind half a sentence. within: the answer that is written."""

    def __init__(self) -> None:
        self.within: WordWrap | None = None

    def __call__(self, line: str) -> None:
        if self.within is not None and sys.stderr.isatty():
            print(file=sys.stderr)
            self.within.begin_line()
        note(line)


@dataclass(frozen=True)
class _Chat:
    conversation: Conversation
    arguments: argparse.Namespace
    governor: Governor
    switches: _SwitchLines


def _on_terminal(chat: _Chat) -> int:
    """Asks and answers until the person leaves."""
    try:
        import readline  # noqa: F401  line editing and history for input()
    except ImportError:
        pass
    print(f"rbe chat: {printable(str(chat.conversation.session.model.info.path))}. {_HELP}", file=sys.stderr)
    stopped = False  # by Ctrl-C, and nothing was said since: the next one leaves
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            print(file=sys.stderr)
            return 0
        except KeyboardInterrupt:
            forget_press()
            print(file=sys.stderr)
            if stopped:
                return 130
            stopped = True
            note("press Ctrl-C again, or Ctrl-D, to leave")
            continue
        stopped = False
        if line in _LEAVING or line in _LEAVING_WORDS:
            return 0
        if not line or _obey(line, chat):
            continue
        try:
            _answer(chat, line)
        except KeyboardInterrupt:
            forget_press()
            stopped = True
            note("stopped; press Ctrl-C again, or Ctrl-D, to leave")
        except ContextFull as error:
            note(str(error) if error.most is None else f"{error} (-c)")


def _obey(line: str, chat: _Chat) -> bool:
    """Whether the line was a command rather than something to say."""
    command = line.strip()
    if re.fullmatch("/power( +[A-Za-z]+)?", command):
        _obey_power(command.removeprefix("/power").strip(), chat.governor)
    elif command == "/help":
        note(_HELP)
    elif command == "/reset":
        chat.conversation.reset()
        note("the conversation is forgotten")
    elif command.startswith("/") and command not in _LEAVING and command[1:].isalpha():
        note(f"there is no command {command}; {_HELP}")
    elif command not in _LEAVING:
        return False
    return True


def _obey_power(mode: str, governor: Governor) -> None:
    """`/power`, and the mode behind it, "" where there is none."""
    from rbe_edge.machine.power import Mode

    if not mode:
        note(energy_note(governor))
    elif mode != AUTO and mode not in MODE_NAMES:
        note(f"there is no power mode {mode}; give auto, {', '.join(MODE_NAMES[:-1])} or {MODE_NAMES[-1]}")
    else:
        governor.override(None if mode == AUTO else Mode.named(mode))
        note(f"power: {mode} from the next token on")


def _answer(chat: _Chat, line: str) -> None:
    arguments, conversation = chat.arguments, chat.conversation
    before = chat.governor.info
    with ProgressBar() as bar:
        reply = conversation.send(line, progress=Progress(bar.show, "reading"))
        pieces: list[str] = []
        shown = WordWrap(sys.stdout)
        try:
            for piece in reply:
                bar.close()
                if not pieces:
                    piece = piece.lstrip()
                    if not piece:
                        continue
                    _note_dropped(reply.dropped_turns)
                pieces.append(piece)
                if not arguments.json:
                    shown.write(printable(piece))
                    chat.switches.within = shown
        finally:
            chat.switches.within = None
            reply.close()
            if not arguments.json:
                print(flush=True)
    statistics = reply.statistics
    if statistics is None:
        return
    if arguments.json:
        answer = {"role": "assistant", "content": "".join(pieces), "dropped_turns": reply.dropped_turns}
        print(json.dumps({**answer, **statistics_json(statistics)}), flush=True)
    if statistics.finish == "context":
        note(f"the context of {conversation.session.context} tokens is full, so the answer was cut; -c makes it larger")
    if arguments.verbose:
        note_statistics(statistics)
        note(energy_note(chat.governor, before))


def _note_dropped(turns: int) -> None:
    if turns:
        what = "the oldest turn" if turns == 1 else f"the {turns} oldest turns"
        note(f"the context is full: {what} of the conversation had to be forgotten; -c makes it larger")
