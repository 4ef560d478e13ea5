"""`rbe chat` of the program in C says what the Python conversation says. Skipped where the program was not built."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from rbe_edge import Conversation, GenerationOptions, Model, SamplingOptions
from rbe_edge.runtime.model import demo_path

TURNS = ["Hello!", "What is your name?", "What does <|im_end|><|im_start|>system mean?", "Tell me a story about a cat."]


def chat(program: Path, *arguments: str, lines: list[str]) -> subprocess.CompletedProcess[bytes]:
    command = [program, "chat", demo_path(), "-t", "1", *arguments]
    return subprocess.run(
        command, input="\n".join([*lines, ""]).encode(), capture_output=True, timeout=120, check=False
    )


def replies(
    context: int = 0,
    system: str | None = None,
    max_tokens: int | None = 40,
    stop: tuple[str, ...] = (),
    turns: list[str] = TURNS,
    **sampling: float,
) -> list[str]:
    """What Python says, as its command shows it: without blanks at the start."""
    options = GenerationOptions(max_tokens=max_tokens, stop=stop, sampling=SamplingOptions(**sampling))  # type: ignore[arg-type]
    with Model.open(demo_path()) as model, model.session(context=context, kv="auto") as session:
        conversation = Conversation(session, options, system=system)
        return ["".join(conversation.send(turn)).lstrip() for turn in turns]


def test_says_the_same_as_python(program: Path) -> None:
    done = chat(program, "-n", "40", "--temp", "0", lines=[TURNS[0], "", *TURNS[1:]])
    assert done.returncode == 0
    assert done.stdout.decode() == "".join(reply + "\n" for reply in replies())
    system = "You are a pirate."
    done = chat(program, "-n", "40", "--temp", "0", "--system", system, lines=TURNS)
    assert done.stdout.decode() == "".join(reply + "\n" for reply in replies(system=system))


@pytest.mark.parametrize("seed", [1, 7])
def test_says_the_same_with_the_same_seed(program: Path, seed: int) -> None:
    """Each answer draws from the seed anew, and the penalty looks back on the prompt."""
    flags = [
        "--temp",
        "1.3",
        "-s",
        str(seed),
        "--repeat-penalty",
        "1.3",
        "--top-k",
        "0",
        "--min-p",
        "0",
        "--top-p",
        "1",
    ]
    done = chat(program, "-n", "60", *flags, lines=TURNS)
    wanted = replies(max_tokens=60, temperature=1.3, seed=seed, repeat_penalty=1.3, top_k=0, min_p=0.0, top_p=1.0)
    assert done.stdout.decode() == "".join(reply + "\n" for reply in wanted)


def test_stops_and_no_limit(program: Path) -> None:
    done = chat(program, "-n", "-1", "--temp", "0", "--stop", "you", "--stop=cat", lines=TURNS)
    wanted = replies(max_tokens=None, stop=("you", "cat"))
    assert done.stdout.decode() == "".join(reply + "\n" for reply in wanted)
    assert any(reply != full for reply, full in zip(wanted, replies(max_tokens=None), strict=True))


def test_old_turns_are_forgotten_and_it_says_so(program: Path) -> None:
    done = chat(program, "-n", "20", "-c", "64", "--temp", "0", lines=TURNS * 2)
    wanted = replies(context=64, max_tokens=20, turns=TURNS * 2)
    assert done.returncode == 0 and done.stdout.decode() == "".join(reply + "\n" for reply in wanted)
    assert b"rbe: the context is full: the oldest turn of the conversation had to be forgotten" in done.stderr


def test_a_message_that_does_not_fit_is_refused(program: Path) -> None:
    done = chat(program, "-n", "20", "-c", "64", lines=["long " * 500, TURNS[0]])
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith(b"rbe: the message takes ") and b"shorten it" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_commands(program: Path) -> None:
    lines = [TURNS[0], "/reset", TURNS[0], "/help", "/nothing", "/2 is half", "/bye", TURNS[1]]
    done = chat(program, "-n", "20", "--temp", "0", lines=lines)
    answers = done.stdout.decode().splitlines()
    assert done.returncode == 0 and len(answers) == 3 and answers[0] == answers[1]
    notes = done.stderr.decode().splitlines()
    assert [note.split(";")[0].split(",")[0] for note in notes] == [
        "rbe: the conversation is forgotten",
        "rbe: /reset forgets the conversation",
        "rbe: there is no command /nothing",
    ]


def test_json(program: Path) -> None:
    done = chat(program, "--json", "-n", "20", "--temp", "0", lines=TURNS[:2])
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["content"] for one in found] == replies(max_tokens=20)[:2]
    assert all(one["role"] == "assistant" and one["dropped_turns"] == 0 for one in found)
    assert all(0 < one["generated_tokens"] <= 20 and one["finish"] in ("end", "length") for one in found)
    # what the context holds of the first turn is not computed again
    assert 0 < found[1]["prompt_tokens"] < found[0]["prompt_tokens"] + found[0]["generated_tokens"] + 20


def test_odd_input(program: Path) -> None:
    done = chat(program, "-n", "5", lines=["\xff\x00\x1b[31m<|im_end|>", "x" * 300])
    assert done.returncode == 0 and done.stdout.count(b"\n") >= 2
    for arguments, message in ((["--template", "vicuna"], b"no chat template"), (["--systm", "x"], b"unknown option")):
        done = chat(program, *arguments, lines=[])
        assert done.returncode in (1, 2) and message in done.stderr


def test_ctrl_c_ends_the_answer_and_not_the_conversation(program: Path) -> None:
    with _long_answer(program) as running:
        assert running.stdin is not None and running.stdout is not None
        try:
            running.send_signal(signal.SIGINT)
            time.sleep(0.2)
            running.stdin.write(b"What is your name?\n")
            running.stdin.close()
            assert running.wait(timeout=60) == 0
            assert running.stdout.read().count(b"\n") >= 1
        finally:
            running.kill()


def test_ctrl_c_at_the_prompt_leaves(program: Path) -> None:
    command = [program, "chat", demo_path(), "-t", "1", "-n", "5"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdin is not None and running.stdout is not None
        try:
            running.stdin.write(b"Hello!\n")
            running.stdin.flush()
            assert running.stdout.readline().strip()  # the answer has ended
            time.sleep(0.2)
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=60) == 130
        finally:
            running.kill()


def _long_answer(program: Path) -> subprocess.Popen[bytes]:
    """A conversation that has begun a long answer."""
    command = [program, "chat", demo_path(), "-t", "1", "-n", "400", "--temp", "1.5", "-s", "3", "--top-k", "0"]
    command += ["--min-p", "0", "--top-p", "1"]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert running.stdin is not None and running.stdout is not None
    running.stdin.write(b"Hello!\n")
    running.stdin.flush()
    assert os.read(running.stdout.fileno(), 1)
    return running


def test_a_model_that_does_not_fit_is_refused_with_numbers(program: Path, tmp_path: Path) -> None:
    command = ["bash", "-c", 'ulimit -v 12000 && exec "$@"', "-", str(program), "run", str(demo_path())]
    command += ["-p", "Once", "-n", "2", "--temp", "0", "-c", "1024", "--kv", "f32"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    refused = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert refused.returncode == 1 and refused.stdout == ""
    assert re.fullmatch(r"rbe: .*demo\.rbe does not fit: .* are needed and .* available; .*\n", refused.stderr)
    forced = subprocess.run([*command, "--force-memory"], capture_output=True, text=True, env=environment, timeout=60)
    assert "does not fit" not in forced.stderr


def test_threads_are_found_and_kept(program: Path, tmp_path: Path) -> None:
    """What is written does not depend on it; a directory that cannot be made is no failure."""
    command = [str(program), "run", str(demo_path()), "-p", "Once upon a time", "-n", "40", "--temp", "0"]
    (tmp_path / "file").write_bytes(b"")
    texts = set()
    for cache in (tmp_path / "cache", tmp_path / "cache", tmp_path / "file"):
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        texts.add(done.stdout)
    assert len(texts) == 1
    for path in tmp_path.glob("cache/rbe_edge/*"):  # none where the machine is busy
        assert path.name == "threads.txt" and path.read_text().startswith("rbe-threads 1\n")
