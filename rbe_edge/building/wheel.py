"""Python wheels for other machines: this package, its C sources, and the library that was built for the other."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rbe_edge._version import __version__
from rbe_edge.building import sbom, sources
from rbe_edge.building.compilers import INSTALL
from rbe_edge.errors import BuildError, MissingExtra

_NAME = "rbe_edge"
_INFO = f"{_NAME}-{__version__}.dist-info"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same wheel
# zig's name of musl. Alpine's is libc.musl-ARCHITECTURE.so.1, the one that auditwheel knows; musl's loader takes every
# "libc." for itself and opens no file.
_MUSL = "libc.so"
_LIBRARIES = {"librbe.so": "librbe.so", "librbe.dylib": "librbe.dylib", "librbe.dll": "rbe.dll", "rbe.dll": "rbe.dll"}


def require_extra(*, audited: bool) -> None:
    """MissingExtra where what wheels are made with is not installed. audited: wheels of Linux among them."""
    missing = None
    try:
        import pyproject_metadata  # noqa: F401

        _toml()
    except ImportError as error:
        missing = error.name
    if audited and not missing:
        import importlib.util

        missing = None if importlib.util.find_spec("auditwheel") else "auditwheel"
    if missing:
        raise MissingExtra(f"wheels are made with {missing}; install it: {INSTALL}")


def write_wheel(library: Path, directory: Path, tag: str, *, audited: bool) -> Path:
    """Writes a wheel with that shared library into `directory`. tag: of the platform; where it is `audited`, auditwheel
    is asked whether it may have the tag, or for manylinux and "linux", which one. BuildError where it may have none."""
    if audited and sys.platform == "linux":  # auditwheel runs nowhere else
        draft = _write(library, directory, f"linux_{_architecture(library)}")
        found, needed = _audit(draft)
        draft.unlink()
        if tag.startswith("musllinux") and needed <= {_MUSL}:
            found = tag
        if found.startswith("linux"):
            what = ", ".join(sorted(needed)) or "symbols that they lack"
            raise BuildError(f"{draft.name}: needs more than Linux distributions share ({what}), says auditwheel")
        tag = found
    elif tag == "linux":
        raise BuildError("only Linux can tell where a wheel of gcc runs (auditwheel); leave --compiler out")
    return _write(library, directory, tag)


def _audit(wheel: Path) -> tuple[str, set[str]]:
    """The platform tag that auditwheel gives the wheel, linux_ARCHITECTURE where it is for one system alone, and the
    libraries that it needs besides glibc's."""
    # Without the libraries of this machine: that of another would be looked for among them.
    nowhere = str(wheel.parent / "no-libraries")
    command = [sys.executable, "-m", "auditwheel", "show", "--json", "--ldpaths", nowhere, str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)
        return str(found["overall_tag"]), set(found["external_libs"])
    except (ValueError, KeyError, TypeError):
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise BuildError(f"auditwheel cannot judge {wheel.name} ({''.join(said)}); {INSTALL} brings another") from None


def _architecture(library: Path) -> str:
    """As wheels name it, from the header of the ELF file."""
    machines = {183: "aarch64", 40: "armv7l", 62: "x86_64", 243: "riscv64"}
    with open(library, "rb") as file:
        header = file.read(20)
    name = machines.get(int.from_bytes(header[18:20], "little"))
    if header[:4] != b"\x7fELF" or name is None:
        raise BuildError(f"{library.name}: is no library of a Linux that wheels are made for")
    return name


def _write(library: Path, directory: Path, tag: str) -> Path:
    path = directory / f"{_NAME}-{__version__}-py3-none-{tag}.whl"
    records = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in _content(library, tag):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | (0o755 if name.endswith((".so", ".dylib")) else 0o644)) << 16
            archive.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            records.append((name, f"sha256={digest}", len(content)))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*records, (f"{_INFO}/RECORD", "", "")])
        entry = zipfile.ZipInfo(f"{_INFO}/RECORD", _EPOCH)
        entry.external_attr = (stat.S_IFREG | 0o644) << 16
        archive.writestr(entry, text.getvalue())
    return path


def _content(library: Path, tag: str) -> Iterator[tuple[str, bytes]]:
    """Names in the wheel, with what they hold."""
    root = sources.directory()
    for path in package_files():
        yield f"{_NAME}/{path.relative_to(sources.PACKAGE).as_posix()}", path.read_bytes()
    for name in sources.files(root):
        yield f"{_NAME}/{sources.CARRIED.as_posix()}/{name}", (root / name).read_bytes()
    yield f"{_NAME}/{_LIBRARIES[library.name]}", library.read_bytes()
    yield f"{_NAME}/{sbom.NAME}", sbom.text(root, sources.PACKAGE).encode()
    metadata, entry_points = _metadata(root)
    yield f"{_INFO}/METADATA", metadata
    yield f"{_INFO}/entry_points.txt", entry_points
    yield f"{_INFO}/licenses/LICENSE", (root / "LICENSE").read_bytes()
    lines = ["Wheel-Version: 1.0", "Generator: rbe build", "Root-Is-Purelib: false"]
    lines += [f"Tag: py3-none-{single}" for single in tag.split(".")]
    yield f"{_INFO}/WHEEL", ("\n".join(lines) + "\n").encode()


def package_files() -> Iterator[Path]:
    """The files of this package that every machine gets: no library of this one, no compiled Python, no sources."""
    carried = sources.PACKAGE / sources.CARRIED
    for path in sorted(sources.PACKAGE.rglob("*")):
        ours = path.is_file() and path.suffix not in (".pyc", ".so", ".dylib", ".dll", ".part")
        ours = ours and path != sources.PACKAGE / sbom.NAME  # that of this machine's wheel
        hidden = any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(sources.PACKAGE).parts)
        if ours and not hidden and carried not in path.parents:
            yield path


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    import tomli

    return tomli


def _metadata(root: Path) -> tuple[bytes, bytes]:
    """METADATA and entry_points.txt, from pyproject.toml."""
    from pyproject_metadata import StandardMetadata

    project = _toml().loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    metadata = StandardMetadata.from_pyproject(project, root)
    scripts = "".join(f"{name} = {place}\n" for name, place in metadata.scripts.items())
    return str(metadata.as_rfc822()).encode(), f"[console_scripts]\n{scripts}".encode()
