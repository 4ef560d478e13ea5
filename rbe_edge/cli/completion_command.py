"""`rbe completion`: prints a script that completes commands, options and their choices in a shell.

The scripts are made from the argument parsers themselves, so they know what the program knows.
"""

from __future__ import annotations

import argparse
import functools
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_EXAMPLE = """\
example:
  rbe completion bash   > ~/.local/share/bash-completion/completions/rbe
  rbe completion zsh    > ~/.zfunc/_rbe   # ~/.zfunc in fpath before compinit
  rbe completion fish   > ~/.config/fish/completions/rbe.fish
"""

SHELLS = ("bash", "zsh", "fish")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "completion",
        help="print a script that completes rbe's commands in a shell",
        description="Prints a script that completes commands, options and their choices, and files.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell it is for")
    parser.set_defaults(run=functools.partial(run, commands))


def run(commands: argparse._SubParsersAction[argparse.ArgumentParser], arguments: argparse.Namespace) -> int:
    print(script(arguments.shell, commands.choices), end="")
    return 0


@dataclass(frozen=True)
class Option:
    """names: as written, `-n` and `--predict`. values: what it can be given, None where it takes none; empty where that
    is free, such as a file. help: one line."""

    names: tuple[str, ...]
    values: tuple[str, ...] | None
    help: str


def options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:  # argparse has no public list
        if action.option_strings and action.help != argparse.SUPPRESS:
            values = None if action.nargs == 0 else tuple(map(str, action.choices or ()))
            help_line = (action.help or "") % {**vars(action), "prog": parser.prog}
            yield Option(tuple(action.option_strings), values, " ".join(help_line.split()))


def positional_choices(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    return tuple(
        str(choice) for action in parser._actions if not action.option_strings for choice in action.choices or ()
    )


def script(shell: str, commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script for one of SHELLS."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands)


def _words(words: Iterator[str] | tuple[str, ...]) -> str:
    return shlex.quote(" ".join(words))


def _cases(commands: Mapping[str, argparse.ArgumentParser], choose: str, files: str) -> list[str]:
    """`case` branches that bash and zsh share: on "command option" first, then on the command alone."""
    values, names = [], []
    for name, parser in commands.items():
        for option in options(parser):
            if option.values is not None:
                patterns = "|".join(f'"{name} {option_name}"' for option_name in option.names)
                what = choose % _words(option.values) if option.values else files
                values.append(f"        {patterns}) {what}; return ;;")
        dashes = tuple(option_name for option in options(parser) for option_name in option.names)
        names.append(f'        "{name} -"*) {choose % _words(dashes)}; return ;;')
        choices = positional_choices(parser)
        names.append(f'        "{name} "*) {choose % _words(choices) if choices else files}; return ;;')
    return [
        '    case "$command $previous" in',
        *values,
        "    esac",
        '    case "$command $current" in',
        *names,
        "    esac",
    ]


def _bash(commands: Mapping[str, argparse.ArgumentParser]) -> str:
    choose = 'COMPREPLY=($(compgen -W %s -- "$current"))'
    return "\n".join(
        [
            "# bash completion of rbe; made by `rbe completion bash`",
            "_rbe() {",
            "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}",
            "    COMPREPLY=()  # empty: files, by `-o default`",
            '    if [ "$COMP_CWORD" -eq 1 ]; then',
            f"        {choose % _words((*commands, '--help', '--version'))}",
            "        return",
            "    fi",
            *_cases(commands, choose, ":"),
            "}",
            "complete -o default -F _rbe rbe",
            "",
        ]
    )


def _zsh(commands: Mapping[str, argparse.ArgumentParser]) -> str:
    choose = "compadd -- ${(s: :)${:-%s}}"
    first = choose % " ".join((*commands, "--help", "--version"))
    cases = [line.replace("'", "") for line in _cases(commands, choose, "_files")]  # no word of ours needs quotes
    return "\n".join(
        [
            "#compdef rbe",
            "# zsh completion of rbe; made by `rbe completion zsh`",
            "_rbe() {",
            "    local current=$PREFIX previous=$words[CURRENT-1] command=$words[2]",
            "    if (( CURRENT == 2 )); then",
            f"        {first}",
            "        return",
            "    fi",
            *cases,
            "}",
            'if [ "$funcstack[1]" = "_rbe" ]; then _rbe "$@"; else compdef _rbe rbe; fi',
            "",
        ]
    )


def _fish(commands: Mapping[str, argparse.ArgumentParser]) -> str:
    lines = [
        "# fish completion of rbe; made by `rbe completion fish`",
        "complete -c rbe -n __fish_use_subcommand -l help -d 'show help'",
        "complete -c rbe -n __fish_use_subcommand -l version -d 'show the version'",
    ]
    for name, parser in commands.items():
        summary = (parser.description or "").split(". ")[0]
        lines.append(f"complete -c rbe -f -n __fish_use_subcommand -a {name} -d {_fish_quoted(summary)}")
        seen = f"complete -c rbe -n '__fish_seen_subcommand_from {name}'"
        if choices := positional_choices(parser):
            lines.append(f"{seen} -f -a '{' '.join(choices)}'")
        for option in options(parser):
            parts = [seen]
            parts += [f"-l {text[2:]}" if text.startswith("--") else f"-s {text[1:]}" for text in option.names]
            if option.values is not None:
                parts.append(f"-x -a '{' '.join(option.values)}'" if option.values else "-r")
            lines.append(" ".join([*parts, f"-d {_fish_quoted(option.help)}"]))
    return "\n".join([*lines, ""])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
