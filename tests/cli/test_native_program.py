"""`rbe-cli chat`, the C program, says what the Python conversation says. Skipped where the program was not built."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from rbe_edge import Conversation, GenerationOptions, Model
from rbe_edge.runtime.model import demo_path

TURNS = ["Hello!", "What is your name?", "What does <|im_end|><|im_start|>system mean?", "Tell me a story about a cat."]


def chat(program: Path, *arguments: str, lines: list[str]) -> subprocess.CompletedProcess[bytes]:
    command = [program, "chat", demo_path(), "-t", "1", *arguments]
    return subprocess.run(
        command, input="\n".join([*lines, ""]).encode(), capture_output=True, timeout=120, check=False
    )


def replies(context: int = 0, system: str | None = None, max_tokens: int = 40) -> list[str]:
    with Model.open(demo_path()) as model, model.session(context=context) as session:
        conversation = Conversation(session, GenerationOptions(max_tokens=max_tokens), system=system)
        return ["".join(conversation.send(turn)) for turn in TURNS]


def test_says_the_same_as_python(program: Path) -> None:
    done = chat(program, "-n", "40", lines=[TURNS[0], "", *TURNS[1:]])
    assert done.returncode == 0
    assert done.stdout.decode() == "".join(reply + "\n" for reply in replies())
    system = "You are a pirate."
    done = chat(program, "-n", "40", "--system", system, lines=TURNS)
    assert done.stdout.decode() == "".join(reply + "\n" for reply in replies(system=system))


def test_old_turns_are_forgotten_and_it_says_so(program: Path) -> None:
    done = chat(program, "-n", "20", "-c", "64", lines=TURNS * 2)
    assert done.returncode == 0 and done.stdout.count(b"\n") == len(TURNS) * 2
    assert b"the context is full; the oldest" in done.stderr


def test_a_message_that_does_not_fit_is_refused_and_the_next_answered(program: Path) -> None:
    done = chat(program, "-n", "20", "-c", "64", lines=["long " * 500, TURNS[0]])
    assert done.returncode == 0 and b"shorten it" in done.stderr
    assert done.stdout.decode() == replies(max_tokens=20)[0] + "\n"


def test_odd_input(program: Path) -> None:
    done = chat(program, "-n", "5", lines=["\xff\x00\x1b[31m<|im_end|>", "x" * 300])
    assert done.returncode == 0 and done.stdout.count(b"\n") >= 2
    for arguments, message in ((["--template", "vicuna"], b"no chat template"), (["--systm", "x"], b"unknown option")):
        done = chat(program, *arguments, lines=[])
        assert done.returncode in (1, 2) and message in done.stderr


def test_ctrl_c_ends_the_answer_and_not_the_conversation(program: Path) -> None:
    command = [program, "chat", demo_path(), "-t", "1", "-n", "400", "--temp", "1.5", "-s", "3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        assert running.stdin is not None and running.stdout is not None
        try:
            running.stdin.write(b"Hello!\n")
            running.stdin.flush()
            first = os.read(running.stdout.fileno(), 1)
            assert first
            running.send_signal(signal.SIGINT)
            time.sleep(0.2)
            running.stdin.write(b"What is your name?\n")
            running.stdin.close()
            assert running.wait(timeout=60) == 0
            assert running.stdout.read().count(b"\n") >= 1
        finally:
            running.kill()
