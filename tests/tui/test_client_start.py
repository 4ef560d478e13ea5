"""When `rbe chat` is the client and when it goes line by line, and what of the command line reaches the client."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbe_edge.cli.main import main
from rbe_edge.machine.power import Policy
from rbe_edge.runtime.governor import Goals, PowerChoice
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions
from rbe_edge.tui import run as running
from rbe_edge.tui.settings import Settings
from rbe_edge.tui.start import Start

Chat = Callable[..., "list[Start]"]


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Chat:
    """`rbe chat` with these words on a terminal where nobody types: the starts of the client, none for line by line."""
    started: list[Start] = []
    monkeypatch.setattr(running, "run_client", lambda start, **_: started.append(start) or 0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(EOFError()))

    def run(*words: str, terminal: bool = True) -> list[Start]:
        started.clear()
        for stream in (sys.stdin, sys.stdout):
            monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
        if not terminal:
            monkeypatch.setattr("rbe_edge.cli.chat_command._piped_lines", lambda: iter(()))
        assert main(["chat", *words]) == 0
        return list(started)

    return run


def test_when_it_is_the_client(chat: Chat, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(chat()) == 1
    assert chat("--plain") == chat("--json") == chat(terminal=False) == []
    assert "textual" not in capsys.readouterr().err
    monkeypatch.setenv("TERM", "dumb")
    assert chat() == []


def test_without_textual_it_goes_line_by_line(
    chat: Chat, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec

    def missing(wanted: str, *rest: Any) -> Any:
        return None if wanted == "textual" else found(wanted, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", missing)
    assert chat() == []
    line = capsys.readouterr().err.splitlines()[0]
    assert line == "rbe: line by line, because textual is missing; for the full client: pip install textual"


def test_only_flags_that_were_given_go_before_the_stored_settings(chat: Chat) -> None:
    (start,) = chat("--stop", "END", "--kv", "q8")
    assert start.settings == {} and start.model is None and not start.new
    assert start.generation.stop == ("END",) and start.session.kv == "q8"
    (start,) = chat("m.rbe", "--temp", "0.3", "-n", "-1", "-c", "256", "--new", "--system", "Be brief.")
    assert start.settings == {"temperature": 0.3, "max_tokens": None, "context": 256}
    assert (start.model, start.new, start.system) == (Path("m.rbe"), True, "Be brief.")


def test_power_flags(chat: Chat, tmp_path: Path) -> None:
    """The mode goes before the stored one; the policy and what is held are no settings."""
    policy = tmp_path / "my.policy"
    policy.write_text("hot = 70\ncool = 60\n", encoding="ascii")
    (start,) = chat("--power", "saver", "--policy", str(policy), "--pace", "4")
    assert start.settings == {"power": "saver"}
    assert start.power == PowerChoice(Policy(hot=70, cool=60), Goals(tokens_per_s=4))
    (start,) = chat("--power", "auto")
    assert start.settings == {} and start.power == PowerChoice()


def test_what_flags_say_and_no_setting_does() -> None:
    """Flags are in the base; settings come over them, and the model's defaults where nothing was changed."""
    flags = SamplingOptions(presence_penalty=1.5, repeat_last=7, logit_bias=((5, -1.0),))
    options = Settings(top_k=3).generation(GenerationOptions(sampling=flags), SamplingOptions(min_p=0.25), new_seed=9)
    sampling = options.sampling
    assert (sampling.presence_penalty, sampling.repeat_last, sampling.logit_bias) == (1.5, 7, ((5, -1.0),))
    assert (sampling.top_k, sampling.min_p, sampling.seed) == (3, 0.25, 9)
