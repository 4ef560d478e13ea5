"""Brings an index up to date with the folders that it is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rbe_edge.errors import OptionError
from rbe_edge.progress import Progress, Report
from rbe_edge.search.documents import ENDINGS, Skipped, State, documents, read
from rbe_edge.search.index import Index, Known, NewFile
from rbe_edge.search.passages import Passage, passages

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

_AT_ONCE = 64  # passages that are embedded together and then kept: what a Ctrl-C may lose


class Embedder(Protocol):
    """What makes vectors of texts."""

    def count(self, text: str) -> int:
        """Tokens of a text, without those that stand around every text."""

    def vectors(self, texts: Sequence[str], progress: Report | None) -> Floats:
        """float32 [texts][width], each of length 1. progress: counts in units of its own."""


@dataclass
class Changes:
    """Files that are new in an index, have changed, are gone, are as they were; that were left out; and new
    passages."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    skipped: int = 0
    passages: int = 0


@dataclass
class _Work:
    """Files that wait to be embedded together."""

    index: Index
    embedder: Embedder
    progress: Progress
    files: list[tuple[Path, State, str, list[Passage]]] = field(default_factory=list)
    n_bytes: int = 0

    def add(self, path: Path, state: State, digest: str, found: list[Passage]) -> None:
        self.files.append((path, state, digest, found))
        self.n_bytes += state.n_bytes
        if sum(len(one) for *_, one in self.files) >= _AT_ONCE:
            self.finish()

    def finish(self) -> None:
        texts = [passage.text for *_, found in self.files for passage in found]
        rows = _embedded(self.embedder, texts, self.progress, self.n_bytes)
        new, first = [], 0
        for path, state, digest, found in self.files:
            new.append(NewFile(path, state, digest, found, rows[first : first + len(found)]))
            first += len(found)
        if new:
            self.index.put(new)
        self.progress.done += self.n_bytes
        self.files, self.n_bytes = [], 0


def check_folders(folders: Sequence[Path]) -> None:
    """Raises OptionError for what is no folder."""
    for folder in folders:
        if not folder.is_dir():
            raise OptionError(f"{folder} is no folder; give one that holds {' or '.join(ENDINGS)} files")


def update(
    index: Index, folders: Sequence[Path], embedder: Embedder, progress: Progress, tell: Callable[[str], object]
) -> Changes:
    """Puts the text files of the folders in, with those that it has of them already brought up to date: a file is read
    again where its time or size has changed, and embedded again where its bytes have. What is there no more is taken
    out. tell: hears a line for each file that is left out. The progress is told of bytes. What was done stays where it
    is stopped. Raises OptionError for what is no folder."""
    check_folders(folders)
    changes = Changes()

    def skipped(line: str) -> None:
        tell(line)
        changes.skipped += 1

    known = index.files()
    seen: dict[Path, State] = {}
    for folder in folders:
        index.add_folder(folder)
        seen |= documents(folder, skipped)
    gone = [one for path, one in known.items() if path not in seen and any(map(path.is_relative_to, folders))]
    wanted = {path: state for path, state in seen.items() if path not in known or known[path].state != state}
    changes.unchanged = len(seen) - len(wanted)
    progress.total = sum(state.n_bytes for state in wanted.values())
    work = _Work(index, embedder, progress)
    for path, state in wanted.items():
        progress.tell()
        _take(work, path, state, known.get(path), changes, skipped, gone)
    work.finish()
    if gone:
        index.forget(gone)
        changes.removed = len(gone)
    return changes


def _take(
    work: _Work,
    path: Path,
    state: State,
    before: Known | None,
    changes: Changes,
    tell: Callable[[str], object],
    gone: list[Known],
) -> None:
    try:
        text, digest = read(path)
    except Skipped as reason:
        tell(f"{path}: skipped ({reason})")
        if before is not None:
            gone.append(before)
        return
    if before is not None and before.digest == digest:
        work.index.touch(before, state)
        changes.unchanged += 1
        return
    found = passages(text, work.embedder.count, work.index.made_with.passage_tokens)
    work.add(path, state, digest, found)
    changes.passages += len(found)
    changes.added += before is None
    changes.changed += before is not None


def _embedded(embedder: Embedder, texts: Sequence[str], progress: Progress, n_bytes: int) -> Floats:
    """The vectors of texts that are so many bytes of the progress."""
    import numpy as np

    rows = []
    before = progress.done
    for start in range(0, len(texts), _AT_ONCE):
        part = texts[start : start + _AT_ONCE]
        progress.tell(None, before + n_bytes * start // len(texts))
        rows.append(embedder.vectors(part, progress.share(progress.what, n_bytes * len(part) // len(texts))))
    progress.done = before
    return np.concatenate(rows) if rows else np.empty((0, 0), dtype=np.float32)
