"""Downloads a model of the hub while somebody waits: how far it is, and an end at once."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from rbe_edge.errors import Cancelled, PackError
from rbe_edge.progress import Listener
from rbe_edge.sources import hub
from rbe_edge.terminal_text import size

_LOOK_S = 0.25
_END_S = 10.0  # for what is being received when it is stopped


class _Download(threading.Thread):
    def __init__(self, repository: str, revision: str | None, offer: hub.Offer | None) -> None:
        super().__init__(name="rbe-download", daemon=True)
        self._repository, self._revision, self._offer = repository, revision, offer
        self.stop = threading.Event()
        self.done = threading.Event()
        self.path: Path | None = None
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.path = hub.download(self._repository, self._revision, self.stop.is_set, self._offer)
        except BaseException as error:
            self.failure = error
        finally:
            self.done.set()


def fetch(
    repository: str,
    revision: str | None = None,
    progress: Listener | None = None,
    offer: hub.Offer | None = None,
) -> Path:
    """The local directory, whose name is the commit. progress(what, done, total): in milliseconds, as a packing's.
    offer: what the hub has just said of it; None: it is asked. What came whole before it was stopped is kept. Raises as
    hub.download()."""
    if offer is None:
        with suppress(PackError):  # where the hub does not answer, what is in the cache may be enough
            offer = hub.inquire(repository, revision)
    total = 0 if offer is None else offer.download_bytes
    download = _Download(repository, revision if offer is None else offer.revision, offer)
    began, before = time.monotonic(), hub.cached_bytes(repository)
    download.start()
    try:
        while not download.done.wait(_LOOK_S):
            here = hub.cached_bytes(repository)
            passed = 1000 * (time.monotonic() - began)
            ahead = passed * max(0, total - here) / max(1, here - before)
            what = f"fetching {repository}: {size(here)} of {size(max(here, total))}"
            if progress is not None and progress(what, int(passed), int(passed + ahead)) is True:
                raise Cancelled("stopped by its progress function")
    except BaseException:
        download.stop.set()
        download.join(_END_S)
        raise
    if download.failure is not None:
        raise download.failure
    assert download.path is not None
    return download.path
