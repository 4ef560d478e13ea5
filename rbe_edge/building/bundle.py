"""One file with a program and a model: unpack it on the device, and run."""

from __future__ import annotations

import gzip
import io
import shlex
import tarfile
from pathlib import Path

from rbe_edge.building.targets import Target


def write_bundle(target: Target, program: Path, model: Path, licence: Path, directory: Path) -> Path:
    """Writes rbe-TARGET-MODEL.tar.gz into `directory`: the program, the model, the licence and a README of three lines.
    The same files give the same bytes. Raises OSError where one cannot be read, or the disk is full."""
    name = f"rbe-{target.name}-{model.stem}"
    command = target.program_name if target.platform.system == "Windows" else f"./{target.program_name}"
    readme = (
        f"rbe with the model {model.name}, for: {target.what}.\n"
        f"Talk to it: {command} chat {shlex.quote(model.name)}\n"
        "LICENSE is that of the program; the model has that of its makers.\n"
    )
    path = directory / f"{name}.tar.gz"
    with (
        open(path, "wb") as file,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, f"{name}/README.txt", io.BytesIO(readme.encode()), len(readme.encode()), 0o644)
        for source, inside, rights in (
            (licence, "LICENSE", 0o644),
            (program, target.program_name, 0o755),
            (model, model.name, 0o644),
        ):
            with open(source, "rb") as content:
                _add(archive, f"{name}/{inside}", content, source.stat().st_size, rights)
    return path


def _add(archive: tarfile.TarFile, name: str, content: io.BufferedIOBase, n_bytes: int, rights: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = n_bytes
    entry.mode = rights
    archive.addfile(entry, content)
