"""Downloads with the real client, from a hub that stands in for the real one on this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hub_stand_in
import numpy as np
import pytest
import tiny_encoders
import tiny_models
from hub_stand_in import StandIn, standing

from rbe_edge.errors import Cancelled, PackError
from rbe_edge.packing.outline import write_outline
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime import fit
from rbe_edge.runtime.model import Model
from rbe_edge.sources import hub, hub_checks

pytest.importorskip("huggingface_hub", reason="needs the extra hub")

DENSE = PackOptions(bits=32)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A repository: what is wanted, in two pieces, and what is not."""
    made = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source", n_shards=2)
    for name in ("pytorch_model.bin", "README.md", "onnx.safetensors"):
        (made / name).write_bytes(b"x" * 5000)
    return made


@pytest.fixture
def stand(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with standing(directory) as found:
        hub_stand_in.use(found, tmp_path / "cache", monkeypatch)
        yield found


def fetched(stand: StandIn) -> list[str]:
    """Names of the files that were asked for since the last time."""
    names = [path.rpartition("/")[2] for method, path, _ in stand.asked if method == "GET" and "/resolve/" in path]
    stand.asked.clear()
    return sorted(set(names))


def weights(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*.safetensors") if path.is_file()]


def test_a_model_is_downloaded_and_packed(stand: StandIn, directory: Path, tmp_path: Path) -> None:
    wanted = sorted(path.name for path in directory.iterdir() if path.suffix != ".bin" and path.name[0] not in "Ro")
    offer = hub.inquire("someone/tiny")
    assert offer.revision == hub_stand_in.COMMIT and offer.parameters == 1000
    assert offer.download_bytes == sum((directory / name).stat().st_size for name in wanted)
    assert fetched(stand) == []
    pack("someone/tiny", tmp_path / "hub.rbe", DENSE)
    assert fetched(stand) == wanted
    assert hub.cached_bytes("someone/tiny") == offer.download_bytes
    pack(directory, tmp_path / "local.rbe", DENSE)
    with Model.open(tmp_path / "hub.rbe") as ours, Model.open(tmp_path / "local.rbe") as theirs:
        assert ours.metadata["source.name"] == "someone/tiny"
        assert ours.metadata["source.sha256"] == theirs.metadata["source.sha256"]
        for name in theirs.tensors:
            np.testing.assert_array_equal(ours.tensor_rows(name), theirs.tensor_rows(name))
    pack("someone/tiny", tmp_path / "again.rbe", DENSE)
    assert fetched(stand) == []
    assert (tmp_path / "again.rbe").read_bytes() == (tmp_path / "hub.rbe").read_bytes()


def test_an_outline_needs_no_weights(stand: StandIn, directory: Path, tmp_path: Path) -> None:
    """What packing would make is known before the weights are downloaded."""
    write_outline("someone/tiny", 4.0, tmp_path / "hub.rbe")
    ranges = [asked for _, path, asked in stand.asked if path.endswith(".safetensors")]
    assert ranges == ["bytes=0-100000"] * 2  # in which the headers are
    assert not {"pytorch_model.bin", "README.md", "onnx.safetensors"} & set(fetched(stand))
    assert weights(tmp_path / "cache") == []
    write_outline(directory, 4.0, tmp_path / "local.rbe")
    ours, theirs = (fit.estimate(tmp_path / name) for name in ("hub.rbe", "local.rbe"))
    assert ours.total == theirs.total


def test_an_outline_of_a_damaged_repository(stand: StandIn, directory: Path, tmp_path: Path) -> None:
    name = "model-00001-of-00002.safetensors"
    stand.claimed[name] = 5
    with pytest.raises(PackError, match=f"{name}: its header speaks of .* bytes and the hub of 5; it is damaged"):
        write_outline("someone/tiny", 4.0, tmp_path / "out.rbe")
    (directory / name).write_bytes(b"\xff" * 64)
    with pytest.raises(PackError, match="someone/tiny: "):
        write_outline("someone/tiny", 4.0, tmp_path / "out.rbe")
    assert not (tmp_path / "out.rbe").exists()


def test_a_connection_that_breaks(stand: StandIn, tmp_path: Path) -> None:
    """Nothing half-written is left where it could be taken for the model, and the next time fetches what is missing."""
    broken = "model-00002-of-00002.safetensors"
    stand.broken.add(broken)
    with pytest.raises(
        PackError, match=r"someone/tiny: the download failed .*; check connection and disk space"
    ) as caught:
        pack("someone/tiny", tmp_path / "out.rbe", DENSE)
    assert "\n" not in str(caught.value)
    assert sum(broken in path for _, path, _ in stand.asked) > 2  # it was tried more than once
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "source"]
    assert all(path.name != broken for path in weights(tmp_path / "cache"))
    fetched(stand)
    stand.broken.clear()
    pack("someone/tiny", tmp_path / "out.rbe", DENSE)
    assert fetched(stand) == [broken]


def test_a_download_that_is_stopped(stand: StandIn, tmp_path: Path) -> None:
    with pytest.raises(Cancelled, match="stopped"):
        hub.download("someone/tiny", stopped=lambda: True)
    assert weights(tmp_path / "cache") == []
    assert hub.download("someone/tiny", stopped=lambda: False).joinpath("config.json").is_file()


@pytest.mark.parametrize("name", ["model-00002-of-00002.safetensors", "tokenizer_config.json"])
def test_a_file_that_came_damaged_is_not_kept(stand: StandIn, tmp_path: Path, name: str) -> None:
    """Of the right size, with one bit changed on the way: its hash tells."""
    if not (stand.directory / name).is_file():
        (stand.directory / name).write_text("{}")
    stand.damaged.add(name)
    with pytest.raises(PackError, match=f"someone/tiny: {name} came damaged .* was removed; try again") as caught:
        pack("someone/tiny", tmp_path / "out.rbe", DENSE)
    assert "\n" not in str(caught.value) and not (tmp_path / "out.rbe").exists()
    assert not [path for path in (tmp_path / "cache").rglob(name)]
    fetched(stand)
    stand.damaged.clear()
    pack("someone/tiny", tmp_path / "out.rbe", DENSE)
    assert fetched(stand) == [name]  # the others were right


def test_a_redirect_to_plain_http_is_refused(stand: StandIn, tmp_path: Path) -> None:
    """Nothing is asked there. The hub itself may be http where HF_ENDPOINT says so, as here."""
    name = "model-00002-of-00002.safetensors"
    with standing(stand.directory) as other:
        stand.elsewhere[name] = f"{other.url}/someone/tiny/resolve/{hub_stand_in.COMMIT}/{name}"
        with pytest.raises(PackError, match=r"leads to http://127\.0\.0\.1:\d+, which is not https") as caught:
            pack("someone/tiny", tmp_path / "out.rbe", DENSE)
        assert "\n" not in str(caught.value) and other.asked == []
    assert name not in [path.name for path in weights(tmp_path / "cache")]


@pytest.mark.parametrize(
    ("url", "endpoint", "right"),
    [
        ("https://cdn.example/x", "https://huggingface.co", True),
        ("http://huggingface.co/x", "https://huggingface.co", False),
        ("ftp://huggingface.co/x", "https://huggingface.co", False),
        ("http://127.0.0.1:5/x", "http://127.0.0.1:5", True),
        ("http://127.0.0.1:6/x", "http://127.0.0.1:5", False),
        ("https://cdn.example/x", "http://127.0.0.1:5", True),
    ],
)
def test_addresses(url: str, endpoint: str, right: bool) -> None:
    with contextlib.nullcontext() if right else pytest.raises(PackError, match="not https"):
        hub_checks.check_address(url, endpoint)


def test_what_does_not_fit_is_not_begun(stand: StandIn, tmp_path: Path) -> None:
    stand.claimed["model-00001-of-00002.safetensors"] = 10**17
    with pytest.raises(PackError, match=r"someone/tiny: .* to be downloaded and the disk of .* free; make room"):
        pack("someone/tiny", tmp_path / "out.rbe", DENSE)
    assert fetched(stand) == [] and not (tmp_path / "cache").exists() and not (tmp_path / "out.rbe").exists()


@pytest.mark.parametrize(
    ("repository", "revision", "told"),
    [
        ("someone/none", None, "neither a local directory nor a public repository"),
        ("someone/tiny", "v9", "no revision 'v9'"),
    ],
)
def test_what_is_not_there(stand: StandIn, repository: str, revision: str | None, told: str) -> None:
    with pytest.raises(PackError, match=told):
        hub.download(repository, revision)


def test_the_command(directory: Path, tmp_path: Path) -> None:
    """As a user does it, with HF_ENDPOINT and HF_HOME; from the cache where the hub is gone."""
    out = tmp_path / "tiny.rbe"

    def rbe(*arguments: str, url: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), **more}
        command = [sys.executable, "-m", "rbe_edge", "pack", "someone/tiny", "-o", str(out), "--bits", "32", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=os.sep)

    with standing(directory) as stand:
        failed = rbe("--revision", "v9", url=stand.url)
        assert failed.returncode == 1 and failed.stderr.splitlines()[-1].startswith(
            "rbe: someone/tiny: has no revision"
        )
        assert not out.exists()
        done = rbe(url=stand.url)
        assert done.returncode == 0 and "tiny.rbe: someone/tiny (llama)" in done.stdout, done.stderr
    first = out.read_bytes()
    again = rbe("--force", url=stand.url, HF_HUB_OFFLINE="1")
    assert again.returncode == 0 and out.read_bytes() == first, again.stderr


def test_a_sentence_encoder_comes_with_its_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those lie in folders, one with weights."""
    directory = tiny_encoders.write(tiny_encoders.ENCODERS["sentence_dense"], tmp_path / "source")
    (directory / "onnx").mkdir()
    (directory / "onnx" / "model.onnx").write_bytes(b"x" * 5000)
    with standing(directory) as stand:
        hub_stand_in.use(stand, tmp_path / "cache", monkeypatch)
        write_outline("someone/tiny", 16, tmp_path / "outline.rbe")
        assert not weights(tmp_path / "cache")
        pack("someone/tiny", tmp_path / "hub.rbe", DENSE)
        assert "model.onnx" not in fetched(stand)
    pack(directory, tmp_path / "local.rbe", DENSE)
    with Model.open(tmp_path / "hub.rbe") as ours, Model.open(tmp_path / "local.rbe") as theirs:
        assert ours.metadata["source.sha256"] == theirs.metadata["source.sha256"]
        np.testing.assert_array_equal(ours.embed(["the er was"]), theirs.embed(["the er was"]))
