"""Stands where the scheduler of answers does, for a model that writes none."""

from __future__ import annotations

from rbe_edge.server.job import Job
from rbe_edge.server.scheduler import Stopped


class WithoutAnswers:
    """context: the longest text, in tokens."""

    def __init__(self, context: int) -> None:
        self.context = context
        self.stopping = False

    def submit(self, *jobs: Job) -> None:
        """Raises Stopped: no jobs are made for such a model, unless it is stopping."""
        raise Stopped("this model writes no text")

    def is_alive(self, seconds: float) -> bool:
        return not self.stopping

    def stop(self) -> None:
        """Stopping twice is allowed."""
        self.stopping = True
