"""The model folder: `.rbe` files by their names, and where each was packed from.

A name is the file's without `.rbe`; one that ends in `-4bit` is written `:4bit`, so that `smollm2:4bit` is the file
smollm2-4bit.rbe. A name without bits is found where it stands for one file. Beside a file that was packed into the
folder lies NAME.origin.json, which says from what.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rbe_edge.errors import ModelError, OptionError
from rbe_edge.files.copying import copy_range
from rbe_edge.files.new_file import NewFile
from rbe_edge.store import places

_BITS = re.compile(r"(?P<base>.+)-(?P<bits>\d{1,2}(?:\.\d{1,4})?)bit")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,120}(?::\d{1,2}(?:\.\d{1,4})?bit)?")
_MOST_ORIGIN = 1 << 16


@dataclass(frozen=True)
class Origin:
    """source: an absolute path, or org/name of the hub. stamp: changes when the source does. bits, effort: as of
    `rbe pack`."""

    source: str
    stamp: str
    bits: float
    effort: str


def directory() -> Path:
    """`rbe_edge/models` in the user's data directory, which need not exist."""
    return places.models_directory()


def made_directory() -> Path:
    """directory(), which is there now. Raises ModelError where it cannot be made."""
    path = directory()
    try:
        places.make_directory(path)
    except OSError as error:
        raise ModelError(
            f"{path}: the model folder cannot be made ({error.strerror}); let XDG_DATA_HOME name another place"
        ) from None
    return path


def is_name(text: str) -> bool:
    """Whether a text can be a model's name, such as smollm2 or smollm2:4bit."""
    return _NAME.fullmatch(text) is not None


def file_of(name: str) -> Path:
    """Where a model of this name lies, or would. Raises OptionError for what is no name."""
    if not is_name(name):
        raise OptionError(f"{name!r} is no name of a model; names are such as smollm2 or smollm2:4bit")
    return directory() / f"{name.replace(':', '-')}.rbe"


def name_of(path: Path) -> str:
    """The name of a file: smollm2-4bit.rbe is smollm2:4bit."""
    stem = path.name.removesuffix(".rbe")
    match = _BITS.fullmatch(stem)
    return f"{match['base']}:{match['bits']}bit" if match else stem


def with_bits(base: str, bits: float) -> str:
    """The name of a model that is packed with so many bits per weight."""
    return f"{base}:{bits:g}bit"


def files() -> list[Path]:
    """The `.rbe` files of the folder, by name; none where it cannot be read."""
    try:
        return sorted(path for path in directory().iterdir() if path.suffix == ".rbe" and path.is_file())
    except OSError:
        return []


def find(name: str) -> Path | None:
    """The file of a name, in any case of its letters; None where there is none. Raises OptionError where a name without
    bits stands for several."""
    wanted = name.lower()
    here = {name_of(path): path for path in files()}
    for known, path in here.items():
        if wanted in (known.lower(), path.stem.lower(), path.name.lower()):
            return path
    several = [known for known in here if known.lower().rpartition(":")[0] == wanted]
    if len(several) > 1:
        raise OptionError(f"{name} is {' and '.join(several)}; say which")
    return here[several[0]] if several else None


def origin_of(path: Path) -> Origin | None:
    """What a file was packed from; None where nothing says so."""
    try:
        with _origin_file(path).open("rb") as file:
            known = json.loads(file.read(_MOST_ORIGIN))
        return Origin(str(known["source"]), str(known["stamp"]), float(known["bits"]), str(known["effort"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def set_origin(path: Path, origin: Origin) -> None:
    """Writes down what a file was packed from. Raises ModelError."""
    with NewFile(_origin_file(path), ModelError, replace=True) as file:
        file.write(json.dumps(asdict(origin)).encode())
        file.commit()


def _origin_file(path: Path) -> Path:
    return path.with_name(f"{path.name.removesuffix('.rbe')}.origin.json")


def of_source(source: str) -> Iterator[tuple[Path, Origin]]:
    """The files that were packed from a source, the latest first."""

    def age(path: Path) -> float:
        try:
            return -path.stat().st_mtime
        except OSError:
            return 0.0

    for path in sorted(files(), key=age):
        origin = origin_of(path)
        if origin is not None and origin.source == source:
            yield path, origin


def free_name(base: str, bits: float, source: str) -> str:
    """A name for what is packed from a source: one that another file has gets a number."""
    for number in range(1, 1000):
        name = with_bits(base if number == 1 else f"{base}-{number}", bits)
        path = file_of(name)
        if not path.exists():
            return name
        origin = origin_of(path)
        if origin is not None and origin.source == source:
            return name
    raise ModelError(f"there are too many models called {base}; remove some with `rbe rm`")


def remove(path: Path) -> None:
    """Deletes a model of the folder. Who has it open goes on with it. Raises ModelError."""
    try:
        path.unlink()
    except OSError as error:
        raise ModelError(f"{path}: cannot be removed ({error.strerror})") from None
    with contextlib.suppress(OSError):
        _origin_file(path).unlink()


def copy(path: Path, target: Path) -> None:
    """Copies a file, without bytes being doubled where the file system can. Nothing is overwritten; nothing half-copied
    stays. Raises ModelError."""
    with NewFile(target, ModelError, instead="choose another name") as file:
        try:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            n_bytes = os.fstat(source).st_size
            if copy_range(source, file.fd, 0, 0, n_bytes) != n_bytes:
                raise ModelError(f"{path}: became shorter while it was copied; try again")
        except OSError as error:
            raise ModelError(f"{target}: cannot be written ({error.strerror}); make room") from None
        finally:
            os.close(source)
        file.commit()
