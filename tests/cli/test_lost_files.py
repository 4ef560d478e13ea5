"""A model's file that is cut short while a command runs: one line, exit code 1; the package installs nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from rbe_edge.runtime.model import demo_path

RBE = [sys.executable, "-m", "rbe_edge"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(demo_path(), tmp_path / "m\x1b[2J.rbe"))  # no terminal is to obey the name


def ends_with_a_line(process: subprocess.Popen[bytes], program: str, given: bytes | None = None) -> None:
    _, error = process.communicate(given, timeout=120)
    lines = error.decode().splitlines()
    assert process.returncode == 1, (process.returncode, lines)
    line = lines[-1]
    assert line.startswith(f"{program}: ") and "m?[2J.rbe: the file can no longer be read" in line
    assert b"Traceback" not in error and len(line) < 300


def chat(command: list[str | os.PathLike[str]], directory: Path) -> subprocess.Popen[bytes]:
    """A conversation that has had its first answer."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=directory, **pipes)  # type: ignore[call-overload]
    process.stdin.write(b"hello\n")
    process.stdin.flush()
    assert process.stdout.readline().strip()
    return process  # type: ignore[no-any-return]


@pytest.mark.parametrize("length", [0, 20000])
@pytest.mark.parametrize("threads", [1, 3])
def test_chat(model: Path, threads: int, length: int) -> None:
    process = chat([*RBE, "chat", "--plain", "-n", "8", "-t", str(threads), model], model.parent)
    os.truncate(model, length)
    ends_with_a_line(process, "rbe", b"and now?\n")


def test_the_c_program(program: Path, model: Path) -> None:
    process = chat([program, "chat", model, "-n", "8", "-t", "2"], model.parent)
    os.truncate(model, 20000)
    ends_with_a_line(process, "rbe", b"and now?\n")


def test_overwritten_in_place(model: Path) -> None:
    process = chat([*RBE, "chat", "--plain", "-n", "8", model], model.parent)
    with open(model, "wb") as file:  # as cp begins
        file.write(b"another model")
        file.flush()
        ends_with_a_line(process, "rbe", b"and now?\n")


def test_replaced_by_another_file_under_its_name(model: Path) -> None:
    process = chat([*RBE, "chat", "--plain", "-n", "8", model], model.parent)
    (model.parent / "new").write_bytes(b"another model")
    os.replace(model.parent / "new", model)
    answer, error = process.communicate(b"and now?\n", timeout=120)
    assert process.returncode == 0 and answer.strip() and not error


def test_serve(model: Path) -> None:
    pytest.importorskip("uvicorn")
    command = [*RBE, "serve", model, "--port", "0", "--json", "--alias", "m"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=model.parent) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        os.truncate(model, 20000)
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
        request = urllib.request.Request(f"{url}/chat/completions", body, {"Content-Type": "application/json"})
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(request, timeout=60)
        ends_with_a_line(process, "rbe")


def test_another_signal_handler_goes_on_working(model: Path) -> None:
    """faulthandler's, which Python installs before: it still sees what is no model's."""
    code = (
        "import faulthandler, os, signal\nfaulthandler.enable()\n"
        "from rbe_edge.runtime.faults import report_faults\nreport_faults('x')\nos.kill(os.getpid(), signal.SIGBUS)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=model.parent, timeout=60)
    assert done.returncode == -signal.SIGBUS and b"Fatal Python error: Bus error" in done.stderr


def test_the_package_installs_no_handler(model: Path) -> None:
    code = (
        "import os, sys\nfrom rbe_edge import Model\nmodel = Model.open(sys.argv[1])\nos.truncate(sys.argv[1], 0)\n"
        "with model.session(context=64) as session:\n    session.prefill([1, 2, 3])"
    )
    done = subprocess.run([sys.executable, "-c", code, model], capture_output=True, cwd=model.parent, timeout=60)
    assert done.returncode == -signal.SIGBUS and not done.stderr
