"""A repository of the hub without its weights: its small files, and of the weights the headers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.sources import hub


def fetch_outline(repository: str, directory: Path, revision: str | None = None) -> None:
    """Makes of an empty directory a source as sources/open.py opens it: what the repository holds of what a packer
    reads, with holes where the weights are. Downloads some MB, most of it the tokenizer. Raises as hub.download()."""
    offer = hub.inquire(repository, revision)
    small = hub.download_small(repository, offer.revision, offer)
    for path in small.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            place = directory / path.relative_to(small)
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(path.resolve())
    for name, n_bytes in offer.weight_files:
        _write_hole(directory / name, hub.tensor_headers(repository, offer.revision, name), n_bytes)


def _write_hole(path: Path, headers: dict[str, Any], n_bytes: int) -> None:
    """A safetensors file of n_bytes with these headers and no weights; it takes no room on the disk."""
    raw = json.dumps(headers).encode()
    ends = [entry["data_offsets"][1] for name, entry in headers.items() if name != "__metadata__"]
    data_bytes = max(ends, default=0)
    if data_bytes > n_bytes:
        raise PackError(f"{path.name}: its header speaks of {data_bytes} bytes and the hub of {n_bytes}; it is damaged")
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        file.truncate(8 + len(raw) + data_bytes)
