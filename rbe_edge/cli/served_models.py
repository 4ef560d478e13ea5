"""The models that `rbe serve` opens when a request asks for them: the files of a directory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.models.folder import name_of
from rbe_edge.runtime.options import SessionOptions

if TYPE_CHECKING:
    from rbe_edge.runtime.governor import Governor
    from rbe_edge.runtime.model import Model
    from rbe_edge.server.metrics import Metrics
    from rbe_edge.server.service import Service, ServiceOptions

_SHARE = 0.75  # of the memory that is free at the start, for all models


@dataclass(frozen=True)
class HowToServe:
    """What all models are opened with. governed: makes the governor of a model. kept_threads: that answers on this
    machine found for a model, 0: none."""

    session: SessionOptions
    service: ServiceOptions
    verify: bool
    governed: Callable[[Model], Governor]
    kept_threads: Callable[[Model], int]


class ServedModels:
    """A Stock of the server (server/shelf.py). Any thread."""

    def __init__(self, directory: Path, how: HowToServe, metrics: Metrics) -> None:
        """metrics: of the whole server."""
        self._directory, self._how, self._metrics = directory, how, metrics

    def paths(self) -> Mapping[str, Path]:
        """The `.rbe` files of the directory by their names: x-4bit.rbe is x:4bit. None where it cannot be read."""
        try:
            found = sorted(path for path in self._directory.iterdir() if path.suffix == ".rbe" and path.is_file())
        except OSError:
            return {}
        return {name_of(path): path for path in found}

    def opened(self, name: str, path: Path) -> AbstractContextManager[Service]:
        return self._open(name, path)

    @contextlib.contextmanager
    def _open(self, name: str, path: Path) -> Iterator[Service]:
        from rbe_edge.runtime.model import Model
        from rbe_edge.server.service import Service

        how = self._how
        with Model.open(path, verify=how.verify) as model, how.governed(model) as governor:
            context = min(how.session.context, model.info.context)
            threads = how.session.threads or how.kept_threads(model)
            session = replace(how.session, context=context, threads=threads)
            options = replace(how.service, model_id=name, template=None)
            with contextlib.closing(Service(model, session, options, governor, self._metrics)) as service:
                model.verify()
                yield service

    def bytes_of(self, path: Path) -> int:
        """With its sessions, at full speed."""
        return needed_bytes(path, self._how.session, self._how.service.slots)


def needed_bytes(path: Path, session: SessionOptions, slots: int) -> int:
    """What a model takes with so many sessions, whose context is at most its own. Raises ModelError for what is no
    model."""
    from rbe_edge.runtime import fit

    found = fit.estimate(path, fit.Wish(replace(session, context=0), slots, slots))
    if 0 < session.context < found.context:
        found = fit.estimate(path, fit.Wish(session, slots, slots))
    return found.total


def memory_for_models() -> int:
    """Bytes that all models may take where nobody says how many; 0: unknown, and no limit."""
    from rbe_edge.runtime import fit

    free = fit.available().bytes
    return 0 if free is None else int(free * _SHARE)
