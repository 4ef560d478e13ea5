"""What a program says where the file of an open model can no longer be read (native/include/rbe/faults.h).

Nothing here happens unasked: `rbe` asks, and a program that uses the package may. Both are of the whole process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rbe_edge._native import check, library
from rbe_edge.errors import OptionError

_NO_TERMINAL = -1


def report_faults(program: str) -> None:
    """From now on a model's file that is cut short while it is open ends the process with one line,
    `PROGRAM: FILE: ...`, and exit code 1, where it would be ended by SIGBUS. `program`: 1 to 63 bytes."""
    check(library().rbe_faults_report(program.encode("utf-8", "surrogateescape")), OptionError)


@contextmanager
def restored_terminal(leave: bytes) -> Iterator[None]:
    """Within, report_faults' line comes after the terminal's settings of now and the escape sequences `leave`, at most
    255 bytes. Nothing where the process has no terminal."""
    terminal = next((fd for fd in (2, 1, 0) if os.isatty(fd)), _NO_TERMINAL)
    check(library().rbe_faults_restore(terminal, leave, len(leave)), OptionError)
    try:
        yield
    finally:
        library().rbe_faults_restore(_NO_TERMINAL, b"", 0)
