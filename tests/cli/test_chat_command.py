"""`rbe chat`: piped lines, a terminal, Ctrl-C and Ctrl-D."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import signal
import sys
import time
from pathlib import Path

import pytest
from command_line import Rbe, one_line

from rbe_edge import Model
from rbe_edge.cli.main import main
from rbe_edge.runtime.engine_generation import EngineGeneration, Event
from rbe_edge.runtime.model import demo_path

FREE = ("--temp", 1.0, "-s", 3, "-n", 12)


def test_piped_lines_are_answered_in_turn(rbe: Rbe, tiny_model: Path) -> None:
    done = rbe("chat", tiny_model, *FREE, "--json", input="one\n\n  two  \n")
    assert done.returncode == 0 and done.stderr == ""
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == 2 and all(answer["role"] == "assistant" for answer in answers)
    assert answers[1]["prompt_tokens"] < answers[0]["prompt_tokens"] + 40  # the first turn is not computed again
    plain = rbe("chat", tiny_model, *FREE, "--plain", input="one\ntwo\n")
    assert plain.returncode == 0 and plain.stdout.count("\n") >= 2
    assert rbe("chat", tiny_model, *FREE, input="one\ntwo\n").stdout == plain.stdout


def test_commands(rbe: Rbe, tiny_model: Path) -> None:
    done = rbe("chat", tiny_model, *FREE, "--json", input="one\n/help\n/reset\n/frobnicate\none\n/bye\nnever\n")
    answers = [json.loads(line)["content"] for line in done.stdout.splitlines()]
    assert len(answers) == 2 and answers[0] == answers[1]
    assert "/quit" in done.stderr and "forgotten" in done.stderr and "no command /frobnicate" in done.stderr


def test_flags_change_the_answer(rbe: Rbe, tiny_model: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages[-1].content }} is what")
    plain = rbe("chat", tiny_model, *FREE, input="one\n").stdout
    assert rbe("chat", tiny_model, *FREE, "--system", "be brief", input="one\n").stdout != plain
    assert rbe("chat", tiny_model, *FREE, "--chat-template-file", template, input="one\n").stdout != plain
    template.write_text("{{ raise_exception('not today') }}")
    line = one_line(
        rbe(
            "chat",
            tiny_model,
            "--chat-template-file",
            template,
            input="one\n",
            stdout=-3,
            stderr=-1,
            capture_output=False,
        ),
        1,
    )
    assert "not today" in line


def test_penalties_and_biases(rbe: Rbe, tiny_model: Path) -> None:
    def tokens(*flags: object) -> list[int]:
        found: list[int] = json.loads(rbe("run", tiny_model, "-p", "one", *FREE, "--json", *flags).stdout)["tokens"]
        return found

    plain = tokens()
    assert plain[0] not in tokens("-l", f"{plain[0]}-inf")
    assert tokens("--logit-bias", f"{plain[0]}+100") == plain[:1] * 12
    assert len(set(tokens("--presence-penalty", 100))) == 12 != len(set(tokens("--presence-penalty", -100)))


def test_forgotten_turns_are_told(rbe: Rbe, tiny_model: Path) -> None:
    done = rbe("chat", tiny_model, *FREE, "-c", 128, "--json", input="word word word\n" * 8)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    dropped = sum(answer["dropped_turns"] for answer in answers)
    assert len(answers) == 8 and dropped > 0 and "had to be forgotten" in done.stderr


def test_message_longer_than_the_context(rbe: Rbe, tiny_model: Path) -> None:
    done = rbe("chat", tiny_model, "-c", 64, input="word " * 100 + "\n")
    assert done.returncode == 1 and "context holds 64" in done.stderr


class Terminal:
    """`rbe chat --plain` on a pseudo-terminal."""

    def __init__(self, *arguments: object) -> None:
        pty = pytest.importorskip("pty", reason="pseudo-terminals are of POSIX systems")
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir("/")
            os.execv(sys.executable, [sys.executable, "-m", "rbe_edge", "chat", "--plain", *map(str, arguments)])
        self.seen = b""

    def wait_for(self, text: bytes, times: int = 1) -> None:
        deadline = time.monotonic() + 60
        while self.seen.count(text) < times:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 4096)

    def wait_for_prompt(self, times: int = 1) -> None:
        """Until the line editor listens: it has taken the terminal from the line mode, and then a little longer."""
        import termios

        readline_exists = importlib.util.find_spec("readline") is not None
        self.wait_for(b"> ", times)
        deadline = time.monotonic() + 60
        while readline_exists and termios.tcgetattr(self.fd)[3] & termios.ICANON:
            assert time.monotonic() < deadline, "the line editor never came"
            time.sleep(0.01)
        time.sleep(0.3)

    def type(self, data: bytes) -> None:
        os.write(self.fd, data)

    def exit_code(self) -> int:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.fd, 4096)
                except OSError:  # Linux: the other end is gone
                    pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError(f"rbe chat did not end: {self.seen!r}")


def test_a_terminal_conversation(tiny_model: Path) -> None:
    terminal = Terminal(tiny_model, *FREE)
    terminal.wait_for(b"> ")
    terminal.type(b"one\n")
    terminal.wait_for(b"> ", times=2)
    terminal.type(b"/help\n")
    terminal.wait_for(b"/reset", times=2)
    terminal.wait_for(b"> ", times=3)
    terminal.type(b"\x04")
    assert terminal.exit_code() == 0


@pytest.mark.parametrize("word", ["/quit", "/exit", "exit", "quit"])
def test_leaving_on_a_terminal(tiny_model: Path, word: str) -> None:
    terminal = Terminal(tiny_model, *FREE)
    terminal.wait_for(b"> ")
    terminal.type(word.encode() + b"\n")
    assert terminal.exit_code() == 0


def test_two_ctrl_c_leave(tiny_model: Path) -> None:
    terminal = Terminal(tiny_model, *FREE)
    terminal.wait_for_prompt()
    terminal.type(b"\x03")
    terminal.wait_for(b"again")
    terminal.wait_for_prompt(times=2)
    terminal.type(b"\x03")
    assert terminal.exit_code() == 130


@pytest.fixture
def press_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presses Ctrl-C during the fourth token of every answer."""
    original = EngineGeneration.step

    def step(self: EngineGeneration) -> Event:
        if self.session.position % 4 == 0:
            signal.raise_signal(signal.SIGINT)
        return original(self)

    monkeypatch.setattr(EngineGeneration, "step", step)


@pytest.mark.usefixtures("press_ctrl_c")
def test_ctrl_c_stops_the_answer_and_the_next_leaves(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(["one", "two", KeyboardInterrupt])

    def type_line(prompt: str) -> str:
        line = next(typed)
        if isinstance(line, type):
            raise line
        return line

    monkeypatch.setattr("builtins.input", type_line)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["chat", str(tiny_model), "--temp", "9", "--top-k", "0", "-n", "100", "-s", "2"]) == 130
    assert (
        capsys.readouterr().err.count("stopped; press Ctrl-C again") == 2
    )  # the second question was asked and stopped too


@pytest.mark.usefixtures("press_ctrl_c")
def test_ctrl_c_ends_a_run(tiny_model: Path) -> None:
    assert main(["run", str(tiny_model), "-p", "the thing", "--temp", "9", "--top-k", "0", "-s", "2"]) == 130


def test_demo_model_answers(rbe: Rbe) -> None:
    done = rbe("chat", "--plain", input="Hello!\n")
    assert done.returncode == 0 and len(done.stdout.split()) >= 2
    with Model.open(demo_path()) as model:
        assert model.info.file_bytes <= 4_000_000
