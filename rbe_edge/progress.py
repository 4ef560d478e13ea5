"""How far long work is: what is told about it from the C library up to the command line, and how it is stopped.

Two kinds of functions are told. A Report counts within one piece of work; the C library calls it. A Listener also
hears what is being done; people's programs give one to pack(), tune() and compare(). Progress stands between them: it
tells a Listener, and is itself a Report.

The rule for stopping is the same everywhere. A function that returns True stops the work, which then raises Cancelled.
What a function raises stops the work too, and comes out of the call.
"""

from __future__ import annotations

from collections.abc import Callable

from rbe_edge.errors import Cancelled

Report = Callable[[int, int], object]
"""report(done, total): between pieces of one call, in units that the call names."""

Listener = Callable[[str, int, int], object]
"""listener(what, done, total): what is being done now, and how much of all the work is done."""


class Progress:
    """How far some work is: `done` of `total` units, and in `what` the words for what is being done.

    The attributes may be changed at any time; the listener hears of it at the next tell(). For one thread.
    """

    def __init__(self, listener: Listener | None = None, what: str = "", total: int = 0) -> None:
        """listener: None where nobody listens."""
        self._listener = listener
        self.what = what
        self.done = 0
        self.total = total

    def tell(self, what: str | None = None, done: int | None = None, total: int | None = None) -> None:
        """Tells the listener; None: as before. Raises Cancelled where it returns True, and what it raises.

        This is a Listener too, so that work can be made of parts that have their own Progress.
        """
        self.what = self.what if what is None else what
        self.done = self.done if done is None else done
        self.total = self.total if total is None else total
        if self._listener is not None and self._listener(self.what, self.done, self.total) is True:
            raise Cancelled("stopped by its progress function")

    def step(self) -> None:
        """tell(), and one more unit is done by the next time."""
        self.tell()
        self.done += 1

    def __call__(self, done: int, total: int) -> None:
        """As a Report: tell() under the present words."""
        self.tell(None, done, total)

    def of(self, what: str) -> Progress:
        """For a part of the work that counts for itself, in its own units."""
        return Progress(self._listener, what)

    def share(self, what: str, units: int) -> Report:
        """A Report for a part that makes `units` of this work from here on, whatever the part itself counts in."""
        before = self.done
        return lambda done, total: self.tell(what, before + units * done // total)
