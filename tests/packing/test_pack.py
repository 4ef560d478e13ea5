"""pack(): from a source to a file that the engine reads, and sources and places that end in one clear error."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from fixed_planes import fixed_planes
from index_reader import read_index

from rbe_edge import Model
from rbe_edge.errors import PackError, RbeError, TokenizerError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

LLAMA = tiny_models.MODELS["llama"]
UNCALIBRATED = PackOptions(calibrate="none")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_models.write(LLAMA, tmp_path / "tiny")


def planned(source: Path) -> dict[str, np.ndarray]:
    return {tensor.name: tensor.read() for tensor in plan_model(open_source(source)).tensors}


def relative_error(read: np.ndarray, source: np.ndarray) -> float:
    difference = read.astype(np.float64) - source
    return float((difference**2).sum() / (source.astype(np.float64) ** 2).sum())


def test_fp32_is_exact(source: Path, tmp_path: Path) -> None:
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=32))
    with Model.open(report.path) as model:
        for name, values in planned(source).items():
            np.testing.assert_array_equal(model.tensor_rows(name), values)
    assert {tensor.kind for tensor in report.tensors} == {"fp32"}
    assert all(tensor.error == 0 for tensor in report.tensors)


@pytest.mark.parametrize(("dtype", "kind"), [("F32", "fp16"), ("F16", "fp16"), ("BF16", "bf16")])
def test_16_bits(tmp_path: Path, dtype: str, kind: str) -> None:
    source = tiny_models.write(LLAMA, tmp_path / "tiny", dtype)
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=16))
    kinds = {tensor.name: tensor.kind for tensor in report.tensors}
    assert kinds["embedding"] == kinds["layers.0.attention.q"] == kinds["head"] == kind
    assert kinds["norm"] == kinds["layers.0.attention.norm"] == kinds["rope.frequencies"] == "fp32"
    with Model.open(report.path) as model:
        for tensor in report.tensors:
            values = planned(source)[tensor.name]
            assert tensor.error == pytest.approx(relative_error(model.tensor_rows(tensor.name), values), rel=1e-3)
            assert (tensor.error == 0) == (dtype != "F32" or tensor.kind == "fp32")
            assert tensor.error < 2**-22  # half a unit in the last place, squared


def test_numbers_beyond_fp16_are_kept(tmp_path: Path) -> None:
    source = tiny_models.write(LLAMA, tmp_path / "tiny")
    weights = tiny_models.tensors(LLAMA)
    weights["model.layers.0.mlp.up_proj.weight"][3, 4] = 1e5
    tiny_models.write_safetensors(source / "model.safetensors", weights)
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=16))
    kinds = {tensor.name: tensor.kind for tensor in report.tensors}
    assert kinds["layers.0.feed_forward.up"] == "fp32"
    assert kinds["layers.1.feed_forward.up"] == "fp16"
    with Model.open(report.path) as model:
        assert model.tensor_rows("layers.0.feed_forward.up", 3, 1)[0, 4] == 1e5


@pytest.mark.parametrize(("planes", "bound"), [((4,), 0.006), ((3,), 0.023), ((2,), 0.09), ((4, 2), 0.0006)])
def test_trellis(source: Path, tmp_path: Path, planes: tuple[int, ...], bound: float) -> None:
    """The engine reads back what the report says, and the error is about that of the codec on Gaussian numbers
    (docs/codec.md; these weights are uniform, and the matrices small)."""
    with fixed_planes(planes):
        report = pack(source, tmp_path / "m.rbe", UNCALIBRATED)
    values = planned(source)
    found = {tensor.name: tensor for tensor in report.tensors}
    assert found["embedding"].planes == found["layers.0.attention.q"].planes == planes
    assert found["layers.0.attention.norm"].kind == "fp32"
    with Model.open(report.path) as model:
        for name, tensor in found.items():
            assert model.tensors[name].plane_bits == tensor.planes
            assert model.tensors[name].kind == tensor.kind
            assert model.tensors[name].error == np.float32(tensor.error)
            error = relative_error(model.tensor_rows(name), values[name])
            assert error == pytest.approx(tensor.error, rel=1e-3, abs=1e-12)
            assert error < bound


@pytest.mark.parametrize("bits", [2.5, 3.2, 4, 5.7, 8])
def test_bits_are_those_of_the_whole_file(source: Path, tmp_path: Path, bits: float) -> None:
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=bits, calibrate="none"))
    assert report.file_bytes == (tmp_path / "m.rbe").stat().st_size
    assert bits - 0.05 < report.bits_per_weight <= bits
    assert read_index(report.path).metadata["packer.options"] == f"bits={bits:g}"


def test_less_than_the_least(source: Path, tmp_path: Path) -> None:
    """The error names a number of bits that is possible, and just so."""
    with pytest.raises(PackError, match=r"needs --bits \d\.\d+ at least") as caught:
        pack(source, tmp_path / "m.rbe", PackOptions(bits=2, calibrate="none"))
    least = float(str(caught.value).split("--bits ")[-1].split()[0])
    assert pack(source, tmp_path / "m.rbe", PackOptions(bits=least, calibrate="none")).bits_per_weight <= least
    fails(source, tmp_path / "n.rbe", "at least", bits=least - 0.02, calibrate="none")


def test_nested(source: Path, tmp_path: Path) -> None:
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=6, calibrate="none", nested=True))
    planes = {tensor.name: tensor.planes for tensor in report.tensors if tensor.planes}
    assert all(bits[0] > 2 for name, bits in planes.items() if name in ("embedding", "head"))
    assert all(bits[0] > 1 for bits in planes.values())
    assert any(len(bits) == 2 for bits in planes.values())
    assert read_index(report.path).metadata["packer.options"] == "bits=6 nested"


def test_shared_seeds(source: Path, tmp_path: Path) -> None:
    report = pack(source, tmp_path / "m.rbe", UNCALIBRATED)
    index = read_index(report.path)
    seeds = {name: (tensor.seed, tensor.rotation_block) for name, tensor in index.tensors.items() if tensor.kind == 4}
    for layer in range(2):
        assert len({seeds[f"layers.{layer}.attention.{name}"] for name in "qkv"}) == 1
        assert len({seeds[f"layers.{layer}.feed_forward.{name}"] for name in ("gate", "up")}) == 1
    assert len({seed for seed, _ in seeds.values()}) == 2 * 4 + 2
    used = sorted({bits for tensor in report.tensors for bits in tensor.planes})
    assert [bits for bits, _, _ in index.codebooks] == used


def test_metadata_and_provenance(source: Path, tmp_path: Path) -> None:
    import rbe_edge

    report = pack(source, tmp_path / "m.rbe", UNCALIBRATED)
    index = read_index(report.path)
    metadata = index.metadata
    assert metadata["name"] == metadata["source.name"] == report.name == "tiny"
    assert metadata["architecture"] == report.architecture == "llama"
    assert metadata["source.sha256"] == hashlib.sha256((source / "model.safetensors").read_bytes()).hexdigest()
    assert metadata["packer.version"] == rbe_edge.__version__
    assert metadata["packer.options"] == "bits=4"
    assert metadata["parameters"] == report.parameters == 96576
    assert metadata["chat_template"] == tiny_models.CHAT_TEMPLATE
    assert (metadata["bos_token"], metadata["eos_token"]) == ("<|endoftext|>", "<|im_end|>")
    assert report.file_bytes == len(index.data) and report.bits_per_weight == report.file_bytes * 8 / 96576
    assert str(tmp_path).encode() not in index.data
    for tensor in report.tensors:
        assert (index.tensors[tensor.name].rows, index.tensors[tensor.name].cols) == (tensor.rows, tensor.cols)
        assert index.tensors[tensor.name].n_bytes == tensor.bytes
    with Model.open(report.path) as model:
        assert model.detokenize(model.tokenize("the thing, and 7 °")) == "the thing, and 7 °"


def test_same_source_same_bytes(source: Path, tmp_path: Path) -> None:
    def options(threads: int | None) -> PackOptions:
        return PackOptions(bits=3, threads=threads, calibrate="none")

    files = [
        pack(source, tmp_path / f"{threads}.rbe", options(threads)).path.read_bytes() for threads in (1, 2, 5, None)
    ]
    assert len(set(files)) == 1
    sharded = tiny_models.write(LLAMA, tmp_path / "other" / "tiny", n_shards=3)
    assert pack(sharded, tmp_path / "s.rbe", options(None)).path.read_bytes() != files[0], "another source hash"


def test_progress(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    report = pack(source, tmp_path / "m.rbe", UNCALIBRATED, lambda *step: seen.append(step))
    shares = [done / total for _, done, total in seen]
    assert shares == pytest.approx(sorted(shares), abs=1e-5) and shares[0] == 0 and shares[-1] > 0.5
    assert {f"encoding {tensor.name}" for tensor in report.tensors} <= {step[0] for step in seen}
    words = [what.split()[0] for what, _, _ in seen]
    assert list(dict.fromkeys(words)) == ["reading", "encoding", "writing"]


@pytest.mark.parametrize("at", ["reading", "encoding layers.0.attention.q", "encoding rope.frequencies", "writing"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_stopped_by_progress(source: Path, tmp_path: Path, at: str, error: type[BaseException]) -> None:
    """Nothing is left beside the output (test_resume.py has what is kept)."""

    def stop(what: str, done: int, total: int) -> None:
        if what == at:
            raise error

    with pytest.raises(error):
        pack(source, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none"), stop)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def fails(source: Path | str, out: Path, message: str, error: type[RbeError] = PackError, **options: Any) -> None:
    before = sorted(out.parent.iterdir()) if out.parent.is_dir() else []
    with pytest.raises(error, match=message) as caught:
        pack(source, out, PackOptions(**options))
    assert "\n" not in str(caught.value)
    assert before == (sorted(out.parent.iterdir()) if out.parent.is_dir() else []), "something was left"


def test_options_that_make_no_sense(source: Path, tmp_path: Path) -> None:
    for bits in (0, 1.99, 8.01, 31, -4, float("nan"), float("inf")):
        fails(source, tmp_path / "m.rbe", "is not possible; give 2 to 8, fractions too, or 16 or 32", bits=bits)
    for threads in (0, -1, 65):
        fails(source, tmp_path / "m.rbe", "--threads", threads=threads)
    fails(source, tmp_path / "none" / "m.rbe", "does not exist; make it first")
    (tmp_path / "old.rbe").write_bytes(b"old")
    fails(source, tmp_path / "old.rbe", "exists already")
    assert (tmp_path / "old.rbe").read_bytes() == b"old"
    pack(source, tmp_path / "old.rbe", PackOptions(force=True, calibrate="none"))
    read_index(tmp_path / "old.rbe")


def test_the_tokenizer_of_another_model(source: Path, tmp_path: Path) -> None:
    tokenizer = tiny_models.tokenizer_json()
    for i in range(5):
        tokenizer["model"]["vocab"][f"more{i}"] = 272 + i
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    fails(source, tmp_path / "m.rbe", "277 tokens but the model only 272; this is the tokenizer of another model")


def test_no_tokenizer(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").unlink()
    fails(source, tmp_path / "m.rbe", "tokenizer", TokenizerError)
    (source / "tokenizer.json").write_text("{")
    fails(source, tmp_path / "m.rbe", "tokenizer.json", TokenizerError)


def test_a_padded_embedding(source: Path, tmp_path: Path) -> None:
    """More rows than tokens are the rule in Qwen2 and others."""
    weights = tiny_models.tensors(LLAMA)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = np.concatenate([weights[name], np.zeros((16, 64), np.float32)])
    tiny_models.write_safetensors(source / "model.safetensors", weights)
    (source / "config.json").write_text(json.dumps(dict(LLAMA.config) | {"vocab_size": 288}))
    with Model.open(pack(source, tmp_path / "m.rbe", UNCALIBRATED).path) as model, model.session() as session:
        session.prefill(model.tokenize("the thing"))
        assert session.logits.shape == (288,)


def test_refusals_come_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    (source / "config.json").write_text(json.dumps(dict(LLAMA.config) | {"model_type": "mamba"}))
    fails(source, tmp_path / "m.rbe", "'mamba'.*supported are GPT-2, Llama")
    fails(tmp_path / "nowhere", tmp_path / "m.rbe", "not found")


@pytest.mark.parametrize("bits", [4, 32])
def test_damaged_numbers_leave_nothing(source: Path, tmp_path: Path, bits: int) -> None:
    weights = tiny_models.tensors(LLAMA)
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = np.inf
    tiny_models.write_safetensors(source / "model.safetensors", weights)
    fails(source, tmp_path / "m.rbe", "mlp.up_proj.weight: holds numbers that are not finite", bits=bits)


def test_memory_is_that_of_a_few_tensors(tmp_path: Path) -> None:
    """12 layers of the largest matrix: packing must not hold them all."""
    config = dict(LLAMA.config) | {"num_hidden_layers": 12, "intermediate_size": 4096, "tie_word_embeddings": True}
    source = tiny_models.write(tiny_models.TinyModel("deep", config), tmp_path / "deep")
    largest = 4 * 4096 * tiny_models.WIDTH
    tracemalloc.start()
    pack(source, tmp_path / "m.rbe", PackOptions(bits=16))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * 3 * largest / 4, f"{peak} bytes at most for {12 * 3 * largest} of weights"


def _run(body: str, directory: Path) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path.insert(0, {str(Path(__file__).parent.parent)!r})\n"
    program = start + "from pathlib import Path\nfrom rbe_edge.packing.pack import PackOptions, pack\n" + body
    return subprocess.run(
        [sys.executable, "-c", program], cwd=directory, env=os.environ, capture_output=True, text=True, check=False
    )


def test_a_full_disk(source: Path, tmp_path: Path) -> None:
    body = """
import resource
from rbe_edge.errors import PackError
resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))
try:
    pack(Path("tiny"), Path("m.rbe"), PackOptions(bits=16))
except PackError as error:
    print(error)
"""
    done = _run(body, tmp_path)
    assert "no room to write it" in done.stdout, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_killed(source: Path, tmp_path: Path) -> None:
    body = """
import os, signal
def kill(what, done, total):
    if what == "encoding layers.1.feed_forward.up":
        os.kill(os.getpid(), signal.SIGKILL)
pack(Path("tiny"), Path("m.rbe"), PackOptions(bits=4, calibrate="none"), kill)
"""
    assert _run(body, tmp_path).returncode == -signal.SIGKILL
    assert not (tmp_path / "m.rbe").exists()
    pack(source, tmp_path / "m.rbe", UNCALIBRATED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.rbe", "tiny"]


def test_stories260k_at_5_bits(tmp_path: Path, data_dir: Path) -> None:
    """At 5.2 bits, tokenizer and all, which leaves about 4 for projections, stories are hardly less probable than at
    fp32: at most .05 nats per token, as they begin with
    BOS. (256 stories here; docs/codec.md has all of them.)"""
    from rbe_edge.evaluation.perplexity import score_windows

    stories = (data_dir / "text" / "tinystories.txt").read_text(encoding="utf-8").split("<|endoftext|>")[:256]
    nats = {}
    for bits in (32, 5.2):
        out = tmp_path / f"{bits}.rbe"
        pack(data_dir / "stories260K" / "stories260K.bin", out, PackOptions(bits=bits, calibrate="none"))
        with Model.open(out) as model:
            windows = [model.tokenize(story.strip())[:512] for story in stories]
            nats[bits] = score_windows(model, windows).nats_per_token
    assert nats[32] < 1.6
    assert nats[5.2] - nats[32] < 0.05
