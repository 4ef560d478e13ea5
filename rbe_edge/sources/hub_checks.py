"""What a download of the hub must pass: only https, and each file is what the hub says it is."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rbe_edge.errors import PackError

_READ = 1 << 20


class _OnlyHttps:
    """Sees each request of the hub's client before it is sent, those that a redirect asks for too."""

    def __call__(self, request: Any) -> None:
        from huggingface_hub import constants

        check_address(str(request.url), constants.ENDPOINT)


def check_address(url: str, endpoint: str) -> None:
    """Raises PackError unless the address is https, or that of an endpoint (HF_ENDPOINT) which is http itself."""
    asked, own = urlsplit(url), urlsplit(endpoint)
    if asked.scheme == "https" or (own.scheme == "http" and (asked.scheme, asked.netloc) == (own.scheme, own.netloc)):
        return
    raise PackError(f"{endpoint}: leads to {asked.scheme}://{asked.netloc}, which is not https; nothing is taken there")


def only_https() -> None:
    """From now on the hub's client refuses other addresses. huggingface_hub before 1.0 has no such client: there the
    hashes alone tell what came."""
    client = importlib.import_module("huggingface_hub.utils").get_session()
    hooks = getattr(client, "event_hooks", None)
    if isinstance(hooks, dict) and not any(isinstance(one, _OnlyHttps) for one in hooks.get("request", ())):
        client.event_hooks = {**hooks, "request": [_OnlyHttps(), *hooks.get("request", ())]}


def hash_of(file: Any) -> str:
    """What the hub says of a file of a repository: SHA-256 of a large one, SHA-1 as git counts it of a small one; ""
    where it says nothing."""
    large = getattr(file, "lfs", None)
    found = large.get("sha256") if isinstance(large, dict) else getattr(large, "sha256", None)
    return str(found or getattr(file, "blob_id", None) or "")


def files_of(repository_cache: Path) -> frozenset[Path]:
    """All files of a repository in the hub's cache."""
    with contextlib.suppress(OSError):
        return frozenset(path.resolve() for path in repository_cache.rglob("*") if path.is_file())
    return frozenset()


def check_hashes(repository: str, directory: Path, hashes: Iterable[tuple[str, str]], before: frozenset[Path]) -> None:
    """Reads the files of a download that were not there before. One that is not what the hub says is removed. Raises
    PackError."""
    for name, expected in hashes:
        path = directory / name
        place = path.resolve()
        if expected and place not in before and path.is_file() and _hash(place, len(expected)) != expected.lower():
            place.unlink()
            path.unlink(missing_ok=True)
            raise PackError(
                f"{repository}: {name} came damaged (another hash than the hub's) and was removed; try again"
            )


def _hash(path: Path, digits: int) -> str:
    found = (
        hashlib.sha256() if digits == 64 else hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    )
    with path.open("rb") as file:
        while data := file.read(_READ):
            found.update(data)
    return found.hexdigest()
