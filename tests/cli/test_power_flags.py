"""Power modes on the command line: the same flags, words and exit codes in Python and in the program in C.

What sensors say is tested in a mount namespace, in which a tree of the test's stands at /sys.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tiny_models
from command_line import Rbe, one_line
from fake_machine import RaplCounter, write

from rbe_edge import Model
from rbe_edge.cli import completion_command
from rbe_edge.format.modes import MODE_NAMES
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.effort import Effort
from rbe_edge.runtime.model import demo_path
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions

WITH_MODES = Path(__file__).resolve().parent.parent / "golden" / "v3" / "parts.rbe"
FLAGS = ("--power", "--policy", "--watts", "--max-temp", "--pace")
BATTERY = {"type": "Battery", "present": "1", "status": "Discharging", "capacity": "18"}
RAPL = {"name": "package-0", "energy_uj": "1000", "max_energy_range_uj": "262143328850"}
ZONE = {"type": "x86_pkg_temp", "temp": "71000"}
GREEDY = ("--temp", "0", "-s", "1", "-t", "1")
Command = list[str]


@pytest.fixture(params=["python", "c"])
def command(request: pytest.FixtureRequest) -> Command:
    """What starts `rbe`: the Python command, or the program in C."""
    if request.param == "c":
        return [str(request.getfixturevalue("program"))]
    return [sys.executable, "-m", "rbe_edge"]


def run(command: Command, *arguments: object, input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd="/",  # where no sources of the package lie
        input=input,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What was said beside the text, without "rbe: "."""
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("rbe: ") for line in done.stderr.splitlines()]


@pytest.mark.parametrize(("subcommand", "default"), [("run", "performance"), ("chat", "auto")])
def test_help_names_flags_and_default(command: Command, subcommand: str, default: str) -> None:
    shown = " ".join(run(command, subcommand, "--help").stdout.split())
    for flag in FLAGS:
        assert f" {flag} " in shown
    assert "docs/power.md" in shown and f"auto: by battery and heat ({default})" in shown


@pytest.mark.parametrize("shell", completion_command.SHELLS)
def test_completion_knows_the_flags(rbe_here: Rbe, shell: str) -> None:
    script = rbe_here("completion", shell).stdout
    for flag in FLAGS:
        assert (f"-l {flag[2:]}" if shell == "fish" else flag) in script
    choices = "auto performance balanced saver emergency"
    assert (f"-l power -x -a '{choices}'" if shell == "fish" else choices) in script


REFUSED = [
    (["--watts", "0"], "--watts is a number above 0, not 0"),
    (["--watts", "1e7"], "--watts is a number above 0, not 1e+07"),
    (["--watts", "nan"], "--watts is a number above 0, not nan"),
    (["--pace=-3"], "--pace is a number above 0, not -3"),
    (["--max-temp", "20"], "--max-temp is from 30 to 120 C, not 20"),
    (["--policy", "nowhere"], "--policy is for --power auto"),
    (["--policy", "nowhere", "--power", "auto"], "nowhere: No such file or directory"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED)
def test_what_is_refused(command: Command, flags: list[str], message: str) -> None:
    assert one_line(run(command, "run", demo_path(), "-p", "x", *flags), 2) == f"rbe: {message}\n"


def test_unknown_modes_and_words_for_numbers_are_refused(command: Command) -> None:
    for flags in (["--power", "turbo"], ["--watts", "ten"], ["--pace", ""], ["--max-temp"]):
        line = one_line(run(command, "run", demo_path(), "-p", "x", *flags), 2)
        assert flags[0] in line and "see `rbe run --help`" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# mine\nhot = 300\n", "line 2: hot is 300; it must be 30 to 120"),
        ("saver_above = 5\n\nspeed = 1\n", "line 3: "),
        ("mode = turbo\n", "line 1: mode must be auto, performance, balanced, saver or emergency, not turbo"),
    ],
)
def test_a_policy_that_is_wrong_is_told_by_line(command: Command, tmp_path: Path, text: str, message: str) -> None:
    policy = tmp_path / "policy"
    policy.write_text(text)
    line = one_line(run(command, "run", demo_path(), "-p", "x", "--power", "auto", "--policy", policy), 2)
    assert line.startswith(f"rbe: {policy}, {message}")


def test_a_policy_may_name_the_mode(command: Command, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.write_text("mode = emergency\n")
    for given, mode in (("auto", "emergency"), ("saver", "saver")):
        said = lines(run(command, "run", demo_path(), "-p", "x", "-n", 4, "-v", "--power", given, "--policy", policy))
        assert any(line.startswith(f"{mode}: override") for line in said)


def test_a_pace_takes_one_thread_and_waits(command: Command) -> None:
    plain = run(command, "run", demo_path(), "-p", "Once", "-n", 8, "--temp", 0)
    paced = run(command, "run", demo_path(), "-p", "Once", "-n", 8, "--temp", 0, "-t", 2, "--pace", 25, "-v")
    assert paced.stdout == plain.stdout
    note = next(line for line in lines(paced) if line.startswith("performance: "))
    assert "; 1 thread, waited 0." in note


def test_the_text_of_a_mode_is_that_of_its_effort(command: Command) -> None:
    """Of a file with a table of modes; without the flag everything is read."""
    options = GenerationOptions(max_tokens=12, sampling=SamplingOptions(temperature=0.0, seed=1))
    arguments = ("run", WITH_MODES, "--raw", "-p", "The engine", "-n", 12, *GREEDY, "--kv", "f16", "--json")
    tokens = {}
    with Model.open(WITH_MODES) as model, model.session(threads=1) as session:
        table = model.modes
        assert table is not None
        for mode, row in zip(MODE_NAMES, table.modes, strict=True):
            session.set_effort(Effort.of_mode(row))
            session.rewind(0)
            expected = session.generate("The engine", options)
            text = "".join(expected)
            done = run(command, *arguments, "--power", mode, "-v")
            answer = json.loads(done.stdout)
            tokens[mode] = answer["tokens"]
            assert answer["tokens"] == expected.tokens and answer["text"] == text
            notes = [line for line in lines(done) if line.startswith(f"{mode}: override")]
            assert len(notes) == (mode != "performance")
    assert tokens["performance"] == json.loads(run(command, *arguments).stdout)["tokens"] != tokens["emergency"]


@pytest.fixture(scope="module")
def with_long_context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory, tiny = tmp_path_factory.mktemp("long"), tiny_models.MODELS["llama"]
    longer = dataclasses.replace(tiny, config={**tiny.config, "max_position_embeddings": 8192})
    return pack(tiny_models.write(longer, directory / "source"), directory / "m.rbe", PackOptions(bits=16)).path


def test_new_sessions_keep_to_the_limits_of_their_mode(command: Command, with_long_context: Path) -> None:
    """A smaller context, where flags do not ask for another; said with -v."""
    arguments = ("run", with_long_context, "--raw", "-n", 4, *GREEDY, "-v")
    prompt = ("-p", " a" * 2500)
    limited = run(command, *arguments, *prompt, "--power", "emergency")
    said = "power mode emergency: override, no battery; so -c 2048"
    assert limited.returncode == 1 and f"rbe: {said}\n" in limited.stderr
    assert "the prompt has 2500 tokens and the context holds 2048" in limited.stderr
    plain = run(command, *arguments, *prompt)
    own = run(command, *arguments, *prompt, "-c", 4096, "--power", "emergency")
    saver = run(command, *arguments, *prompt, "--power", "saver")  # its limit is what there is without one
    assert plain.returncode == own.returncode == saver.returncode == 0 and plain.stdout == own.stdout == saver.stdout
    assert "; so " not in plain.stderr + own.stderr + saver.stderr
    chat = run(command, "chat", with_long_context, "-n", 4, *GREEDY, "--power", "emergency", input="Hi\n")
    assert lines(chat)[0] == said


def test_the_cache_is_int8_unless_told_otherwise(command: Command) -> None:
    """The program and the Python interface give the same text for the same cache."""
    options = GenerationOptions(max_tokens=40, sampling=SamplingOptions(temperature=0.0, seed=1))
    arguments = ("run", demo_path(), "--raw", "-p", "A computer is", "-n", 40, *GREEDY)
    with Model.open(demo_path()) as model:
        text = {}
        for kv in ("f16", "q8"):
            with model.session(threads=1, kv=kv) as session:
                text[kv] = "".join(session.generate("A computer is", options)) + "\n"
    for flags, kv in ([], "q8"), (["--kv", "auto"], "q8"), (["--kv", "q8"], "q8"), (["--kv", "f16"], "f16"):
        assert run(command, *arguments, *flags).stdout == text[kv]


def test_chat_shows_and_overrides_the_mode(command: Command) -> None:
    said = lines(
        run(command, "chat", demo_path(), "-n", 4, *GREEDY, "-v", input="/power\nHi\n/power saver\nHi\n/power\n")
    )
    assert said[1] == "the power mode is decided with the first token"
    assert "power: saver from the next token on" in said
    switched = next(line for line in said if line.startswith("saver: override"))
    notes = [line for line in said if line.startswith(switched + "; 1 thread")]
    assert len(notes) == 2 and said.index(switched) < said.index(notes[0])
    wrong = lines(run(command, "chat", demo_path(), input="/power turbo\n/power auto\n/powerful\n"))
    assert wrong[0] == "there is no power mode turbo; give auto, performance, balanced, saver or emergency"
    assert wrong[1] == "power: auto from the next token on" and wrong[2].startswith("there is no command /powerful")


def test_what_is_said_to_the_model_is_no_command(command: Command) -> None:
    """A slash, /power and more words: a question."""
    done = run(command, "chat", demo_path(), "-n", 4, *GREEDY, input="/power to the people!\n")
    assert lines(done) == [] and done.stdout.strip()


def test_bench_pins_a_mode_and_says_so(program: Path) -> None:
    arguments = ("bench", demo_path(), "-r", 1, "-t", "1", "--workloads", "pp8,tg4")
    done = run([str(program)], *arguments, "--power", "saver", "--csv")
    said = lines(done)
    assert len(said) == 2 and said[0].startswith("pp8: saver: override") and said[1].startswith("tg4: saver: override")
    assert len(done.stdout.splitlines()) == 3 and lines(run([str(program)], *arguments)) == []
    assert one_line(run([str(program)], *arguments, "--pace", "0"), 2) == "rbe: --pace is a number above 0, not 0\n"


class Machine:
    """A tree that stands at /sys for the commands that are run in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        write(root, "power_supply/BAT0", BATTERY)
        write(root, "powercap/intel-rapl:0", RAPL)
        write(root, "thermal/thermal_zone0", ZONE)

    def within(self, command: Command) -> Command:
        return ["unshare", "-rm", "sh", "-c", 'mount --bind "$0" /sys && exec "$@"', str(self._root / "sys"), *command]

    def set_level(self, percent: int) -> None:
        write(self._root, "power_supply/BAT0", {"capacity": str(percent)})

    @contextmanager
    def drawing(self, watts: float) -> Iterator[None]:
        """The package's counter grows by so much."""
        with RaplCounter(self._root, watts, range_j=262143.32885, begin_j=0.001):
            yield


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path)
    if os.name != "posix" or shutil.which("unshare") is None or run(found.within(["true"])).returncode != 0:
        pytest.skip("no mount namespaces here")
    return found


def test_run_follows_the_battery_where_it_is_told_to(command: Command, machine: Machine, tmp_path: Path) -> None:
    inside = machine.within(command)
    arguments = ("run", demo_path(), "-p", "Once", "-n", 6, *GREEDY, "-v")
    for level, mode in ((18, "saver"), (40, "balanced"), (3, "emergency"), (80, "performance")):
        machine.set_level(level)
        said = lines(run(inside, *arguments, "--power", "auto"))
        assert any(line.startswith(f"{mode}: {level} %, 71 C; 1 thread") for line in said), said
    machine.set_level(3)
    assert not any("71 C" in line for line in lines(run(inside, *arguments)))  # pinned
    policy = tmp_path / "policy"
    policy.write_text("saver_above = 2\n")
    said = lines(run(inside, *arguments, "--power", "auto", "--policy", policy))
    assert any(line.startswith("saver: 3 %") for line in said)


def test_watts_and_heat_are_held_where_they_are_measured(command: Command, machine: Machine) -> None:
    inside = machine.within(command)
    arguments = ("run", demo_path(), "-p", "Once", "-n", 3, *GREEDY, "-v", "--pace", 10)
    with machine.drawing(watts=10):
        plain = run(inside, *arguments, "--watts", 1000)
        held = run(inside, *arguments, "--watts", 0.1)  # waiting takes 10 W here too: the longest waits
    waits = []
    for done in (plain, held):
        note = next(line for line in lines(done) if line.startswith("performance: override, 18 %, 71 C; 1 thread, "))
        joules, waited = (float(note.split(unit)[0].split()[-1]) for unit in (" J/token", " s"))
        passes = 3  # the prompt is one token, and the last one that is drawn is not computed
        assert 10 * (waited - 0.5) < passes * joules < 10 * (waited + 5)
        waits.append(waited)
    assert plain.stdout == held.stdout and waits[1] > waits[0] + 1
    hot = lines(run(inside, *arguments, "--max-temp", 60))
    assert any(", waited " in line for line in hot)


def test_chat_tells_a_switch_while_it_goes_on(command: Command, machine: Machine) -> None:
    machine.set_level(80)
    process = subprocess.Popen(
        machine.within([*command, "chat", str(demo_path()), "-n", "6", *GREEDY, "--json"]),
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin and process.stdout
        process.stdin.write("Hello\n")
        process.stdin.flush()
        assert '"role"' in process.stdout.readline()
        machine.set_level(3)
        time.sleep(1.1)  # sensors are read once a second
        answer, said = process.communicate("Hello\n", timeout=60)
    finally:
        process.kill()
    assert '"role"' in answer and process.returncode == 0
    assert said.splitlines() == ["rbe: emergency: 3 %, 71 C"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")
def test_ctrl_c_ends_a_wait(command: Command) -> None:
    """Between two tokens it waits two seconds, and twenty are to come."""
    arguments = ("run", demo_path(), "-p", "Once", "-n", 20, *GREEDY, "--pace", 0.01)
    words = [*command, *map(str, arguments)]
    process = subprocess.Popen(words, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout and process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130


def test_a_switch_on_a_terminal_has_its_own_line(command: Command, machine: Machine) -> None:
    """In the middle of an answer, which goes on behind it."""
    pty = pytest.importorskip("pty", reason="pseudo-terminals are of POSIX systems")
    machine.set_level(80)
    words = machine.within([*command, "chat", str(demo_path()), "--plain", *GREEDY, "--pace", "8"])
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir("/")
        os.execvp(words[0], words)
    seen = b""
    deadline = time.monotonic() + 60

    def read_until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            assert time.monotonic() < deadline, seen
            seen += os.read(fd, 4096)

    try:
        read_until(b"> ")
        os.write(fd, b"Who are you?\n")
        read_until(b"Who are you?\r\n")
        seen = b""
        read_until(b" ")
        machine.set_level(3)
        read_until(b"71 C\r\n")
        before, _, seen = seen.partition(b"rbe: emergency: 3 %, 71 C\r\n")
        assert before.endswith(b"\r\n") and before.strip()
        read_until(b"> ")
        assert seen.removesuffix(b"> ").strip()
    finally:
        os.close(fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
