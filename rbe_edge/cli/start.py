"""Starts `rbe`: Ctrl-C ends it without a word of Python's while modules are imported, and while Python ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

STOPPED = 130


def start() -> None:
    """The program: exits with the code of the command. Where a shell made it deaf to Ctrl-C it stays so."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if heard:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rbe_edge.cli.main import main

    try:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main()
    except KeyboardInterrupt:  # before main() hears it, or behind
        code = STOPPED
    finally:
        if heard:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    if code == STOPPED:  # main() has ended all that was begun; taking Python down in order would take as long again
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
