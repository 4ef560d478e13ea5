"""Starts `rbe`: Ctrl-C ends it without a word of Python's while modules are imported, and Python ends at once."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # `signal` takes milliseconds to import, in which Ctrl-C would be told of
import sys

STOPPED = 130


def start() -> None:
    """The program: exits with the code of the command. Where a shell made it deaf to Ctrl-C it stays so."""
    heard = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if heard:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from rbe_edge import interrupts
    from rbe_edge.cli.main import main

    try:
        if heard:
            sys.unraisablehook = interrupts.heed_swallowed
            _signal.signal(_signal.SIGINT, interrupts.press)
        code = main()
    except KeyboardInterrupt:  # before main() hears it, or behind
        code = STOPPED
    except Exception:
        if not interrupts.was_pressed():
            raise
        code = STOPPED  # a module in C that was being imported makes an ImportError of it
    finally:
        if heard:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _end(code)


def _end(code: int) -> None:
    """At once: main() has ended all that was begun, and taking Python down in order would take some 50 ms more."""
    import contextlib
    import os

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
