"""Ctrl-C while the library runs: never lost, never printed, whatever moment it comes at."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from rbe_edge import Model, _native

# Each press comes at a moment of its own, while the work is repeated; only the press ends it.
PRESSED = """
import json, os, random, signal, sys, threading, time
import numpy as np
from rbe_edge import GenerationOptions, Model
from rbe_edge.codes import trellis

ENDLESS = GenerationOptions(ignore_end=True)
what, path, presses = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = Model.open(path)
session = model.session(context=256, pass_tokens=1, threads=1)
hidden = np.zeros((64, model.info.width), np.float32)
gradients = model.gradients(tokens=64, threads=1)
sums = {name: np.zeros((tensor.rows, tensor.cols), np.float32) for name, tensor in model.tensors.items()}
weights = np.random.default_rng(1).standard_normal((16, 64)).astype(np.float32)

def add(gradient):
    gradients.add(gradient, sums[gradient.name])

works = {
    "prefill": lambda: (session.rewind(), session.prefill([1, 2, 3] * 80)),
    "score": lambda: (session.rewind(), session.score([1, 2, 3] * 80)),
    "layers": lambda: session.run_layers(0, model.info.layers, hidden.copy(), lambda layer, point, x: None),
    "gradients": lambda: gradients.layer(0, hidden, hidden.copy(), add),
    "text": lambda: (session.rewind(), list(session.generate([1, 2, 3], ENDLESS))),
    "open": lambda: Model.open(path).close(),
    "encode": lambda: trellis.encode(weights, (2,), 5, 1, lambda done, total: None),
}
source = random.Random(7)

def press():
    time.sleep(source.random() * 0.01)
    os.kill(os.getpid(), signal.SIGINT)

caught = 0
for _ in range(presses):
    thread = threading.Thread(target=press)
    try:
        thread.start()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            works[what]()
    except KeyboardInterrupt:
        caught += 1
    thread.join()
print(json.dumps([caught, signal.getsignal(signal.SIGINT) is signal.default_int_handler]))
"""


@pytest.mark.parametrize("what", ["prefill", "score", "layers", "gradients", "text", "open", "encode"])
def test_many_presses_at_any_moment(tiny_model: Path, what: str) -> None:
    command = [sys.executable, "-c", PRESSED, what, str(tiny_model), "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tiny_model.parent)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert json.loads(done.stdout) == [60, True]


# One press while a call that looks at nothing but the cancel flag is under way.
CANCELLED = """
import os, signal, sys, threading
import numpy as np
from rbe_edge import Model, _native
from rbe_edge.errors import Cancelled

model = Model.open(sys.argv[1])
runner = model.session(context=64) if sys.argv[2] == "session" else model.gradients(tokens=8)
entered = threading.Event()

def wait(handle):
    entered.set()
    while not forgotten.wait(0.001):
        pass
    return 7

forgotten = threading.Event()
cancel = runner._native.cancel
runner._native.cancel = lambda: (cancel(), forgotten.set())
press = threading.Thread(target=lambda: (entered.wait(), os.kill(os.getpid(), signal.SIGINT)))
press.start()
caught = False
try:
    with runner.run() as handle:
        _native.call(wait, handle)
except KeyboardInterrupt:
    caught = True
if sys.argv[2] == "session":
    runner.prefill([1, 2, 3])
else:
    runner.head(np.zeros((3, model.info.width), np.float32))
print(caught)
"""


@pytest.mark.parametrize("what", ["session", "gradients"])
def test_a_call_is_cancelled_while_it_runs(tiny_model: Path, what: str) -> None:
    """And what it did not obey is not held against the next call."""
    command = [sys.executable, "-c", CANCELLED, str(tiny_model), what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tiny_model.parent)
    assert (done.stdout, done.stderr) == ("True\n", "")


@contextmanager
def handler(handle: Callable[..., object] | int) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
        assert signal.getsignal(signal.SIGINT) is handle
    finally:
        signal.signal(signal.SIGINT, before)


def press(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


def test_a_handler_of_the_program_runs_while_the_work_goes_on(model: Model) -> None:
    seen: list[int] = []
    with handler(lambda number, frame: seen.append(number)), model.session(context=64) as session:
        session.prefill([1, 2, 3], progress=lambda done, total: (press(), seen.append(0)))
        assert session.tokens == (1, 2, 3)
    assert seen.count(signal.SIGINT) == seen.count(0) > 0
    if len(seen) > 2:
        assert seen[:3] == [0, signal.SIGINT, 0], "in each callback, not at the end"


def test_what_a_handler_raises_comes_out(model: Model) -> None:
    def fail(number: int, frame: object) -> None:
        raise ZeroDivisionError

    with handler(fail), model.session(context=64, pass_tokens=1) as session:
        with pytest.raises(ZeroDivisionError):
            session.prefill([1, 2, 3], progress=press)
        assert session.position == 0
        session.prefill([1, 2, 3])


def test_a_signal_that_is_ignored_stays_ignored(model: Model) -> None:
    with handler(signal.SIG_IGN), model.session(context=64) as session:
        session.prefill([1, 2, 3], progress=press)
        assert session.position == 3


def test_a_press_after_the_last_callback() -> None:
    """It is raised behind the call, and not by the next one."""

    def work() -> int:
        press()
        return _native.OK

    with handler(signal.default_int_handler):
        with pytest.raises(KeyboardInterrupt):
            _native.call(work)
        assert _native.call(lambda: 7) == 7


def test_a_call_from_a_callback(model: Model) -> None:
    """The inner call is stopped, and what it raises stops the outer one."""
    stopped: list[int] = []

    def within(layer: int, point: int, x: object) -> None:
        try:
            inner.prefill([4, 5, 6], progress=press)
        except KeyboardInterrupt:
            stopped.append(inner.position)
            raise

    hidden = np.zeros((4, model.info.width), np.float32)
    with (
        handler(signal.default_int_handler),
        model.session(context=64, pass_tokens=1) as inner,
        model.session(context=64) as outer,
    ):
        with pytest.raises(KeyboardInterrupt):
            outer.run_layers(0, 1, hidden, within)
        assert stopped == [0]
        outer.prefill([1])


def test_another_thread_is_left_alone(model: Model) -> None:
    """The signal is the main thread's, at once, while the library runs on another."""
    with handler(signal.default_int_handler), model.session(context=64) as session:
        inside, go_on = threading.Event(), threading.Event()

        def wait(done: int, total: int) -> None:
            inside.set()
            go_on.wait(30)

        thread = threading.Thread(target=lambda: session.prefill([1, 2, 3], progress=wait))
        thread.start()
        assert inside.wait(30)
        with pytest.raises(KeyboardInterrupt):
            press()
        go_on.set()
        thread.join()
        assert session.tokens == (1, 2, 3)


def test_a_handler_that_a_callback_sets_stays(model: Model) -> None:
    def other(number: int, frame: object) -> None: ...

    before = signal.getsignal(signal.SIGINT)
    try:
        with model.session(context=64) as session:
            session.prefill([1, 2, 3], progress=lambda done, total: signal.signal(signal.SIGINT, other))
        assert signal.getsignal(signal.SIGINT) is other
    finally:
        signal.signal(signal.SIGINT, before)


# `rbe pack` that is pressed some time after its third call of the encoder, or never; the number says when.
PACKED = """
import os, random, signal, sys, threading
from rbe_edge import _native
from rbe_edge.cli.main import main

moment = sys.stdin.read()
if moment:
    calls, plain, delay = [], _native.call, random.Random(int(moment)).random() * 0.005

    def counted(function, *arguments):
        calls.append(function)
        if len(calls) == 3:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
        return plain(function, *arguments)

    _native.call = counted
sys.exit(main(["pack", *sys.argv[1:], "--bits", "3", "--calibrate", "none"]))
"""


def test_packing_goes_on_where_it_was_pressed(tmp_path: Path) -> None:
    """At many moments: the command ends with 130 and one line, or has its file; the file is that of a run in peace."""
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")

    def packed(out: str, moment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PACKED, str(source), "-o", str(tmp_path / out)]
        settings = {"input": moment, "capture_output": True, "text": True, "timeout": 300, "cwd": tmp_path}
        return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload,no-any-return]

    for moment in range(100):
        done = packed("m.rbe", str(moment))
        if (tmp_path / "m.rbe").exists():  # a press may still come, when all is done but the end of the process
            assert done.returncode in (0, 130), done.stderr
            break
        assert done.returncode == 130, done.stderr
        assert done.stderr.endswith("goes on from what is finished\n") and done.stderr.count("\n") == 1, done.stderr
    assert moment > 3 and packed("whole.rbe", "").returncode == 0
    assert (tmp_path / "m.rbe").read_bytes() == (tmp_path / "whole.rbe").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.rbe", "tiny", "whole.rbe"]


def test_a_press_that_became_another_exception(tmp_path: Path) -> None:
    """As numpy makes of one that comes while its modules in C are imported."""
    code = """
import sys
from rbe_edge.cli import main, start

def broken(arguments):
    import signal
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("PyCapsule_Import could not import module") from None

main.main = lambda: broken(None)
start.start()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    done = subprocess.run(
        [sys.executable, "-c", code.replace("signal.raise_signal(signal.SIGINT)", "raise KeyboardInterrupt")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1 and "PyCapsule_Import" in done.stderr  # without a press it is what it says


def test_a_press_that_python_swallows_comes_again(tmp_path: Path) -> None:
    """As the callbacks do that free the locks of modules that are imported."""
    code = """
import signal, time
from rbe_edge.cli import main, start

class Freed:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def work():
    freed = Freed()
    del freed
    time.sleep(60)

main.main = work
start.start()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=50
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    other = code.replace("signal.raise_signal(signal.SIGINT)", "1 / 0").replace("time.sleep(60)", "return 0")
    done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0 and "ZeroDivisionError" in done.stderr


def test_a_press_waits_until_what_is_in_use_is_given_back(model: Model) -> None:
    reached: list[bool] = []
    with handler(signal.default_int_handler), model.session(context=64) as session:
        with pytest.raises(KeyboardInterrupt), session.use():
            press()
            reached.append(True)
        assert reached == [True]
        session.prefill([1, 2, 3])
        assert session.position == 3
