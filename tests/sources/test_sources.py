"""Sources: what is read is what was written, and what cannot be read is said in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from rbe_edge.errors import MissingExtra, PackError
from rbe_edge.sources import hub
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

LLAMA = tiny_models.MODELS["llama"]


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("n_shards", [1, 3])
def test_reads_what_was_written(tmp_path: Path, dtype: str, n_shards: int) -> None:
    source = open_source(tiny_models.write(LLAMA, tmp_path / "tiny", dtype, n_shards))
    expected = tiny_models.tensors(LLAMA)
    assert source.name == "tiny"
    assert source.tensors.keys() == expected.keys()
    for name, values in expected.items():
        tensor = source.tensors[name]
        assert tensor.shape == values.shape
        assert tensor.kind == {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}[dtype]
        read = tensor.read()
        assert read.dtype == np.float32
        assert read.flags.c_contiguous and read.flags.writeable
        if dtype == "BF16":  # 8 bits of precision
            np.testing.assert_allclose(read, values, rtol=2**-8)
            assert not (read.view(np.uint32) & 0xFFFF).any()
        else:
            np.testing.assert_array_equal(read, values.astype("<f2" if dtype == "F16" else "<f4").astype("<f4"))


def test_reads_parts(tmp_path: Path) -> None:
    source = open_source(tiny_models.write(LLAMA, tmp_path, "BF16"))
    tensor = source.tensors["model.layers.0.mlp.up_proj.weight"]
    np.testing.assert_array_equal(tensor.read(0, 10, 30), tensor.read()[10:30])
    np.testing.assert_array_equal(tensor.read(1, 5, 7), tensor.read()[:, 5:7])


def test_hash_is_over_the_weight_files_in_name_order(tmp_path: Path) -> None:
    source = open_source(tiny_models.write(LLAMA, tmp_path, n_shards=2))
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) == 2
    seen: list[tuple[int, int]] = []
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    assert source.sha256(lambda done, total: seen.append((done, total))) == digest
    assert seen[-1][0] == seen[-1][1] == sum(path.stat().st_size for path in files)


def _fails(source: str | Path, message: str) -> None:
    with pytest.raises(PackError, match=message) as caught:
        open_source(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_truncated_weights(tmp_path: Path, keep: int) -> None:
    path = tiny_models.write(LLAMA, tmp_path) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    _fails(tmp_path, "not a complete safetensors file.*download it again")


def test_damaged_header(tmp_path: Path) -> None:
    path = tiny_models.write(LLAMA, tmp_path) / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[8] ^= 0x20
    path.write_bytes(data)
    _fails(tmp_path, "not a complete safetensors file")
    data[:8] = b"\xff" * 8
    path.write_bytes(data)
    _fails(tmp_path, "not a complete safetensors file")


def test_a_shard_is_missing(tmp_path: Path) -> None:
    tiny_models.write(LLAMA, tmp_path, n_shards=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(PackError, match=r"is missing: model-00002-of-00003\.safetensors is missing; download"):
        plan_model(open_source(tmp_path))
    for path in tmp_path.glob("*.safetensors"):
        path.unlink()
    _fails(tmp_path, "none of the shards that model.safetensors.index.json names is there")


def _index(directory: Path, **changes: str | None) -> None:
    """Changes which shards an index names for tensors; None: it names none."""
    index = directory / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] = {name: shard for name, shard in (content["weight_map"] | changes).items() if shard}
    index.write_text(json.dumps(content))


def test_a_shard_lacks_a_tensor(tmp_path: Path) -> None:
    tiny_models.write(dataclasses.replace(LLAMA, config={**LLAMA.config, "num_hidden_layers": 1}), tmp_path, n_shards=2)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA.config))
    _index(tmp_path, **{"model.layers.1.input_layernorm.weight": "model-00001-of-00002.safetensors"})
    with pytest.raises(PackError, match=r"model-00001-of-00002\.safetensors lacks it although the index promises it"):
        plan_model(open_source(tmp_path))


def test_an_index_that_lies(tmp_path: Path) -> None:
    """Only the names of the files count: whatever they hold is there, and what nobody needs may be missing."""
    expected = plan_model(open_source(tiny_models.write(LLAMA, tmp_path / "whole")))
    directory = tiny_models.write(LLAMA, tmp_path / "sharded", n_shards=2)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    unneeded = {"model.layers.0.self_attn.rotary_emb.inv_freq": "model-00003-of-00002.safetensors"}
    unneeded |= {"vision_tower.a": "model-00004-of-00002.safetensors", "model.more.weight": first}
    swapped: dict[str, str | None] = dict.fromkeys(list(tiny_models.tensors(LLAMA))[:9], first)
    left_out = dict.fromkeys(list(tiny_models.tensors(LLAMA))[9:12])
    _index(directory, **(unneeded | swapped | left_out | {"model.norm.weight": second}))
    found = plan_model(open_source(directory))
    assert not found.notes and len(found.tensors) == len(expected.tensors)
    for ours, theirs in zip(found.tensors, expected.tensors, strict=True):
        np.testing.assert_array_equal(ours.read(), theirs.read())


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", 7])
def test_an_index_that_leads_elsewhere(tmp_path: Path, name: Any) -> None:
    tiny_models.write(LLAMA, tmp_path, n_shards=2)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    _fails(tmp_path, "not a file of this directory")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"weight_map": {}}', '{"weight_map": [1]}', "[" * 100000])
def test_a_damaged_index(tmp_path: Path, content: str) -> None:
    tiny_models.write(LLAMA, tmp_path, n_shards=2)
    (tmp_path / "model.safetensors.index.json").write_text(content)
    _fails(tmp_path, "download the file again")


def test_directories_that_are_no_models(tmp_path: Path) -> None:
    _fails(tmp_path, "has no config.json")
    (tmp_path / "model.gguf").touch()
    _fails(tmp_path, "has no config.json but GGUF files; give one of them, such as .*model.gguf")
    (tmp_path / "config.json").write_text("{}")
    _fails(tmp_path, "no model.safetensors")
    (tmp_path / "pytorch_model.bin").touch()
    _fails(tmp_path, "pickled PyTorch weights are not read.*save_pretrained")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    _fails(tmp_path, "config.json: not valid JSON")


def test_sources_that_are_none(tmp_path: Path) -> None:
    _fails(tmp_path / "missing", "not found; give a Hugging Face directory")
    (tmp_path / "text.txt").write_text("text")
    _fails(tmp_path / "text.txt", "not a source")
    _fails("a/b/c", "not found")
    _fails("../b", "not found")
    with pytest.raises(PackError, match="--tokenizer is for llama2"):
        open_source(tiny_models.write(LLAMA, tmp_path), tokenizer=tmp_path / "tok.bin")


class _Stand:
    """A stand-in for huggingface_hub."""

    def __init__(self, result: Path | type[Exception] | None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._result = result

        class Errors:
            class HfHubHTTPError(OSError): ...

            class RepositoryNotFoundError(HfHubHTTPError): ...

            class GatedRepoError(RepositoryNotFoundError): ...

            class RevisionNotFoundError(HfHubHTTPError): ...

            class LocalEntryNotFoundError(FileNotFoundError): ...

            class OfflineModeIsEnabled(ConnectionError): ...

        self.errors = Errors

    def snapshot_download(self, repository: str, **options: Any) -> str:
        self.calls.append({"repository": repository, **options})
        if isinstance(self._result, Path):
            return str(self._result)
        raise self._result or RuntimeError("two\nlines")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = types.ModuleType("huggingface_hub")
        module.errors = self.errors  # type: ignore[attr-defined]
        module.snapshot_download = self.snapshot_download  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_downloads_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand = _Stand(tiny_models.write(LLAMA, tmp_path))
    stand.install(monkeypatch)
    source = open_source("someone/tiny-Model.1", revision="v2")
    assert source.name == "someone/tiny-Model.1"
    assert source.tensors.keys() == tiny_models.tensors(LLAMA).keys()
    (call,) = stand.calls
    assert (call["repository"], call["revision"]) == ("someone/tiny-Model.1", "v2")
    assert call["allow_patterns"] == list(hub.WANTED)
    assert {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"} <= set(hub.WANTED)
    assert not any("*.bin" in pattern or pattern == "*.safetensors" for pattern in hub.WANTED)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("RepositoryNotFoundError", "neither a local directory nor a public repository"),
        ("GatedRepoError", "licence accepted"),
        ("RevisionNotFoundError", "no revision"),
        ("LocalEntryNotFoundError", "cannot be reached.*go online"),
        ("OfflineModeIsEnabled", "cannot be reached.*go online"),
        ("HfHubHTTPError", "the download failed"),
        (None, "the download failed .RuntimeError: two lines."),
    ],
)
def test_downloads_that_fail(monkeypatch: pytest.MonkeyPatch, error: str | None, message: str) -> None:
    stand = _Stand(None)
    stand._result = getattr(stand.errors, error) if error else None
    stand.install(monkeypatch)
    _fails("someone/model", message)


def test_the_errors_of_huggingface_hub_exist() -> None:
    """The names that hub.py catches are those of the package, where it is installed."""
    errors = pytest.importorskip("huggingface_hub.errors")
    for name in vars(_Stand(None).errors):
        if not name.startswith("_"):
            assert issubclass(getattr(errors, name), Exception)


def test_no_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"pip install 'rbe-edge\[hub\]'"):
        open_source("someone/model")
