"""Shared fixtures: where the evaluation data lies, which is no part of the project."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# `python -m pytest` puts the repository first on the path, where the sources, which hold no C library, would hide the
# installed package that is to be tested. With RBE_LIBRARY set, the sources themselves are tested with that library.
if "RBE_LIBRARY" not in os.environ:
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != REPOSITORY]


# A program that a shell starts in the background is made deaf to Ctrl-C, and so would be all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# How long an example takes says nothing of what is tested, and a busy machine is no failure.
hypothesis.settings.register_profile("rbe", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("rbe")


def _real_models() -> ModuleType:
    """tools/real_models.py: tools/ is no part of what is installed."""
    name = "real_models"
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


# Before the cache becomes one of the tests.
_REAL_MODELS_PLACE: Path = _real_models().default_place()


def _real_model(name: str) -> Path:
    path: Path | None = _real_models().find(name, _REAL_MODELS_PLACE)
    if path is None:
        pytest.skip(f"{name} is not in {_REAL_MODELS_PLACE}; `python tools/real_models.py {name}` fetches it")
    return path


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct, a GGUF file of Q4_1."""
    return _real_model("smollm2")


@pytest.fixture(scope="session")
def gemma() -> Path:
    """Gemma 3 270M, a GGUF file of Q4_K_M."""
    return _real_model("gemma")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2, a directory, fp32."""
    return _real_model("minilm")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What answers find out of this machine (threads) is not the user's."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        # zig makes its C libraries once for each cache, which takes minutes.
        patch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(users / "zig")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The evaluation data (real models, tokenizers, texts): RBE_TEST_DATA, else ../shared/data beside the
    repository."""
    path = Path(os.environ.get("RBE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"evaluation data not found at {path}; set RBE_TEST_DATA to run this test")
    return path


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .rbe file of a tiny random model with a context of 256 tokens, stored in fp32."""
    import tiny_models

    from rbe_edge.packing.pack import PackOptions, pack

    directory = tmp_path_factory.mktemp("tiny")
    model = tiny_models.MODELS["llama"]
    model = dataclasses.replace(model, config={**model.config, "max_position_embeddings": 256})
    out = directory / "tiny.rbe"
    pack(tiny_models.write(model, directory / "source"), out, PackOptions(bits=32))
    return out


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """tiny_encoder(NAME) -> a .rbe file of one of the tiny encoders (tests/tiny_encoders.py), stored in fp32."""
    import tiny_encoders

    from rbe_edge.packing.pack import PackOptions, pack

    directory = tmp_path_factory.mktemp("encoders")

    def packed(name: str) -> Path:
        out = directory / f"{name}.rbe"
        if not out.exists():
            source = tiny_encoders.write(tiny_encoders.ENCODERS[name], directory / name)
            pack(source, out, PackOptions(bits=32))
        return out

    return packed


@pytest.fixture(scope="session")
def minilm_rbe(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2, packed in fp32."""
    from rbe_edge.packing.pack import PackOptions, pack

    out = tmp_path_factory.mktemp("minilm") / "minilm.rbe"
    pack(minilm, out, PackOptions(bits=32))
    return out


@pytest.fixture(scope="session")
def program() -> Path:
    """`rbe`, the program in C."""
    from rbe_edge.runtime.build import library_path

    path = library_path().parent / "rbe"
    if not path.is_file():
        pytest.skip("the program in C was not built beside the library (cmake -DRBE_CLI=ON)")
    return path
