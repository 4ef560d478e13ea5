"""What the tests of the command line share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Rbe = Callable[..., "subprocess.CompletedProcess[str]"]


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The error line of a command that failed as it should: one line, nothing else, that exit code."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.startswith("rbe: ") and done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), done.stderr
    return done.stderr
