"""Downloads of `org/name` from the Hugging Face hub, through huggingface_hub (the extra `hub`)."""

from __future__ import annotations

import fnmatch
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbe_edge.errors import Cancelled, MissingExtra, PackError
from rbe_edge.sources.hub_checks import check_hashes, files_of, hash_of, only_https
from rbe_edge.terminal_text import size

#: What a packer reads. Other formats of the same weights are left where they are.
WANTED = (
    "config.json", "generation_config.json", "model.safetensors", "model-*-of-*.safetensors",
    "model.safetensors.index.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
    "chat_template.json", "vocab.txt", "spiece.model", "modules.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "*_Pooling/config.json", "*_Dense/config.json", "*_Dense/model.safetensors",
)  # fmt: skip


def is_repository(source: str) -> bool:
    """Whether a source that is no file looks like `org/name`."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", source) is not None


@dataclass(frozen=True)
class Offer:
    """What a repository holds of what a packer reads. revision: the commit. download_bytes: of all, cached or not.
    parameters: weights, estimated from the files' size where the hub does not count them. weight_files: name and
    bytes of each file that holds weights. hashes: name and hash of each file that is wanted (hub_checks.py)."""

    repository: str
    revision: str | None
    download_bytes: int
    parameters: int
    weight_files: tuple[tuple[str, int], ...] = ()
    hashes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Fetched:
    """A repository that was downloaded; a source to pack."""

    repository: str
    directory: Path

    def __str__(self) -> str:
        return self.repository


def inquire(repository: str, revision: str | None = None) -> Offer:
    """Asks the hub about a repository; nothing is downloaded. Raises as download does."""
    with _explained(repository, revision):
        from huggingface_hub import HfApi

        found = HfApi().model_info(repository, revision=revision, files_metadata=True, timeout=30)
    sizes = {file.rfilename: file.size or 0 for file in found.siblings or () if _wanted(file.rfilename)}
    weight_files = tuple((name, size) for name, size in sorted(sizes.items()) if name.endswith(".safetensors"))
    weights = sum(size for _, size in weight_files)
    if not weights:
        raise PackError(f"{repository}: holds no model in safetensors, which is what can be packed; choose another")
    counted = getattr(getattr(found, "safetensors", None), "total", None)
    told = ((file.rfilename, hash_of(file)) for file in found.siblings or () if file.rfilename in sizes)
    hashes = tuple((name, value) for name, value in told if value)
    return Offer(repository, found.sha, sum(sizes.values()), counted or weights // 2, weight_files, hashes)


def _wanted(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in WANTED)


def cache_directory() -> Path:
    """Where downloads are kept. Raises MissingExtra without huggingface_hub."""
    with _explained("the hub", None):
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE)


def _repository_cache(repository: str) -> Path:
    return cache_directory() / ("models--" + repository.replace("/", "--"))


def cached_bytes(repository: str) -> int:
    """Bytes of a repository that are on this disk, a download in progress included."""
    blobs = _repository_cache(repository) / "blobs"
    total = 0
    try:
        for blob in blobs.iterdir():
            total += blob.stat().st_size
    except OSError:  # not there yet, or a file was just renamed
        pass
    return total


def existing(directory: Path) -> Path:
    """The directory, or the nearest above it that exists."""
    directory = directory.absolute()
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory


def _check_room(repository: str, download_bytes: int) -> None:
    """Raises PackError where what is not here yet does not fit on the disk."""
    wanted = download_bytes - cached_bytes(repository)
    free = shutil.disk_usage(existing(cache_directory())).free
    if wanted > free:
        raise PackError(
            f"{repository}: {size(wanted)} are to be downloaded and the disk of {cache_directory()} has {size(free)} "
            f"free; make room, or let HF_HOME name a directory on another disk"
        )


def download(
    repository: str,
    revision: str | None = None,
    stopped: Callable[[], bool] | None = None,
    offer: Offer | None = None,
) -> Path:
    """The local directory of a repository, downloaded where it is not in the hub's cache yet.

    stopped: asked now and then, on other threads; True ends it with Cancelled, and the next one fetches what is
    missing. offer: what inquire() has just said of it; None: the hub is asked. Raises MissingExtra without
    huggingface_hub, PackError where the repository cannot be had or, before anything of it is downloaded, where the
    disk has no room for it, or where a file that came is not what the hub says it is.
    """
    if offer is None:
        with suppress(PackError):  # the download says what is wrong, or finds all of it in the cache
            offer = inquire(repository, revision)
    if offer is not None:
        _check_room(repository, offer.download_bytes)
    return _fetch(repository, revision, WANTED, stopped, offer)


def download_small(repository: str, revision: str | None = None, offer: Offer | None = None) -> Path:
    """The local directory of a repository, with all that a packer reads but the weights. offer, and what it raises: as
    of download."""
    small = [name for name in WANTED if not name.endswith(".safetensors")]
    return _fetch(repository, revision, small, lambda: False, offer)


def _fetch(
    repository: str,
    revision: str | None,
    wanted: Sequence[str],
    stopped: Callable[[], bool] | None,
    offer: Offer | None,
) -> Path:
    with _explained(repository, revision):
        from huggingface_hub import snapshot_download

        watch: Any = None if stopped is None else _watch(stopped)
        before = files_of(_repository_cache(repository))
        found = Path(snapshot_download(repository, revision=revision, allow_patterns=list(wanted), tqdm_class=watch))
        check_hashes(repository, found, offer.hashes if offer is not None else (), before)
        return found


def tensor_headers(repository: str, revision: str | None, name: str) -> dict[str, Any]:
    """What the header of a safetensors file says: by tensor its dtype, shape and data_offsets. Reads the header alone.
    Raises as download does."""
    with _explained(repository, revision):
        from huggingface_hub import HfApi

        found = HfApi().parse_safetensors_file_metadata(repository, name, revision=revision, timeout=30)
    return {
        tensor: {"dtype": told.dtype, "shape": list(told.shape), "data_offsets": list(told.data_offsets)}
        for tensor, told in found.tensors.items()
    }


def _watch(stopped: Callable[[], bool]) -> type:
    """A progress bar that shows nothing, and raises where the download is to end."""
    from huggingface_hub.utils.tqdm import tqdm

    class Watch(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            if stopped():
                raise Cancelled("the download was stopped; the files that came whole are kept")
            return None

    return Watch


@contextmanager
def _explained(repository: str, revision: str | None) -> Iterator[None]:
    """Turns what huggingface_hub raises into one line that says what to do."""
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingExtra(
            f"{repository}: not a local directory, and downloading it needs huggingface_hub; "
            f"install it with `pip install 'rbe-edge[hub]'`"
        ) from error
    try:
        only_https()
        yield
    except (Cancelled, PackError):
        raise
    except errors.GatedRepoError as error:
        raise PackError(
            f"{repository}: needs its licence accepted on huggingface.co and a login (`hf auth login`)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise PackError(f"{repository}: has no revision {revision!r}; check the branch, tag or commit") from error
    except errors.RepositoryNotFoundError as error:
        raise PackError(
            f"{repository}: neither a local directory nor a public repository on huggingface.co; check the name, "
            f"or log in with `hf auth login` if it is private"
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, ConnectionError) as error:
        raise PackError(
            f"{repository}: huggingface.co cannot be reached and the model is not in the local cache; go online, "
            f"or give a local directory"
        ) from error
    except Exception as error:  # what the hub's HTTP client raises differs from release to release
        reason = " ".join(str(error).split())
        if "Connect" in type(error).__name__ or "Timeout" in type(error).__name__:
            raise PackError(
                f"{repository}: huggingface.co cannot be reached ({reason}); go online, or give a local directory"
            ) from error
        raise PackError(
            f"{repository}: the download failed ({type(error).__name__}: {reason}); check connection and disk space"
        ) from error
