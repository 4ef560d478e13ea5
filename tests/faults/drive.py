"""Runs one operation of operations.py again and again, with a fault at each call in turn that changes something on the
disk. Started with fault_shim.c preloaded: python drive.py SHIM DIRECTORY OPERATION HOW,HOW MOST. Prints an Outcome as a
line of JSON for each fault.

Whatever is run is run in a child process, which a fault may kill, and which takes the threads of the engine with it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pickle
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from operations import OPERATIONS, Operation

from rbe_edge.errors import RbeError

KILL, SHORT = 1001, 1002  # as in fault_shim.c
HOW = {"full": errno.ENOSPC, "read-only": errno.EROFS, "broken once": -errno.EIO, "killed": KILL, "short": SHORT, "": 0}


@dataclass(frozen=True)
class Outcome:
    """how: a key of HOW. number: of the call that was hit; 0: none was, it was the run without a fault, of so many
    calls. raised: the name of the class of errors, "" where it succeeded, "killed". left, left_again: files beside what
    should be there, behind it and behind the next run. state, again: "old", "new" or what is wrong."""

    how: str
    number: int
    calls: int
    raised: str
    message: str
    is_ours: bool
    state: str
    left: list[str]
    again: str
    left_again: list[str]


class Shim:
    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.fault_calls.restype = ctypes.c_long

    def arm(self, directory: Path, number: int, how: int) -> None:
        self._library.fault_arm(str(directory).encode(), ctypes.c_long(number), how)

    def calls(self) -> int:
        return int(self._library.fault_calls())


def in_child(run: Callable[[], Any]) -> Any:
    """What it gives; None where it was killed."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(readable)
            with os.fdopen(writable, "wb") as out:
                pickle.dump(run(), out)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    os.close(writable)
    with os.fdopen(readable, "rb") as given:
        data = given.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, status
    return pickle.loads(data)


def attempt(shim: Shim, operation: Operation, directory: Path, number: int, how: int) -> tuple[str, str, bool, int]:
    """Class and text of the error, whether it is one of rbe, and the calls that there were."""

    def run() -> tuple[str, str, bool, int]:
        raised: tuple[str, str, bool] = ("", "", True)
        os.chdir(directory)
        shim.arm(operation.below(directory), number, how)
        try:
            operation.run(directory)
        except Exception as error:
            raised = (type(error).__name__, str(error), isinstance(error, RbeError))
        calls = shim.calls()
        shim.arm(Path(), 0, 0)
        return *raised, calls

    return in_child(run) or ("killed", "", True, number)


def left(operation: Operation, directory: Path) -> list[str]:
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}
    return sorted(path for path in found if not any(fnmatch(path, pattern) for pattern in operation.files))


def outcome(shim: Shim, operation: Operation, template: Path, number: int, how: str) -> Outcome:
    directory = template.with_name("run")
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(template, directory)
    raised, message, is_ours, calls = attempt(shim, operation, directory, number, HOW[how])
    stays = left(operation, directory)
    state = in_child(lambda: operation.state(directory))
    again_raised, again_message, _, _ = attempt(shim, operation, directory, 0, 0)
    again = (again_raised and f"{again_raised}: {again_message}") or in_child(lambda: operation.state(directory))
    return Outcome(how, number, calls, raised, message, is_ours, state, stays, again, left(operation, directory))


def numbers(calls: int, most: int) -> list[int]:
    """All, or the first and the last quarter of `most` and equal steps between."""
    if calls <= most:
        return list(range(1, calls + 1))
    edge = most // 4
    step = -(-(calls - 2 * edge) // (most - 2 * edge))
    return sorted({*range(1, edge + 1), *range(edge + 1, calls - edge, step), *range(calls - edge + 1, calls + 1)})


def main() -> None:
    path, directory, name, hows, most = sys.argv[1:]
    shim, operation = Shim(path), OPERATIONS[name]
    template = Path(directory) / "template"
    template.mkdir()
    in_child(lambda: operation.prepare(template))
    whole = outcome(shim, operation, template, 0, "")
    print(json.dumps(asdict(whole)))
    for how in hows.split(","):
        for number in numbers(whole.calls, int(most)):
            print(json.dumps(asdict(outcome(shim, operation, template, number, how))), flush=True)


if __name__ == "__main__":
    main()
