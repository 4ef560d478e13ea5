"""What README, docs and --help show is what the command line takes, and what the README links to exists."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from rbe_edge.cli.main import _parser

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def _helps(parser: argparse.ArgumentParser, name: str) -> dict[str, str]:
    """What --help shows of a command and of those below it."""
    texts = {f"{name} --help": parser.format_help()}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below, command in action.choices.items():
                texts |= _helps(command, f"{name} {below}")
    return texts


def _commands() -> list[tuple[str, str]]:
    """Every `rbe ...` line of the README, the docs and the help of each command, and where it stands."""
    found = []
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")]
    }
    texts |= _helps(_parser(), "rbe")
    for where, text in texts.items():
        for line in re.sub(r"\\\n\s+", "", text).splitlines():
            command = re.match(r"(?:  |    )(?:[^|`]+ \| )?rbe ([a-z]+ .*|[a-z]+)$", line)
            if command and not line.startswith("     "):
                # a remark is set off by blanks
                found.append((where, re.split(r"\s{3,}|\s+#\s", command[1])[0]))
    return found


def test_there_are_examples() -> None:
    commands = _commands()
    assert {command.split()[0] for _, command in commands} >= {"pack", "inspect", "run", "chat", "eval"}
    assert "README.md" in {where for where, _ in commands}


@pytest.mark.parametrize(("where", "command"), _commands())
def test_examples_parse(where: str, command: str) -> None:
    _parser().parse_args(shlex.split(command))


def test_help_fits_into_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    texts = _helps(_parser(), "rbe")
    assert {"rbe --help", "rbe pack --help", "rbe report extremes --help"} <= set(texts)
    assert [(name, line) for name, text in texts.items() for line in text.splitlines() if len(line) > 80] == []


def test_readme_begins_with_the_two_lines() -> None:
    lines = [line.strip() for line in (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()[:25]]
    assert "pip install . && rbe chat" in lines
    assert "pip install '.[test]' && python -m pytest" in lines


def test_ci_runs_the_readme_line() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    function = re.search(r"^readme_test_line\(\) \{.*?^\}", script, re.MULTILINE | re.DOTALL)
    assert function is not None
    code = f"{function[0]}\nreadme_test_line"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout == "pip install '.[test]' && python -m pytest\n"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (REPOSITORY / name).read_text(encoding="utf-8")):
        assert (REPOSITORY / target).exists(), target
