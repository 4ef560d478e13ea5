"""`rbe compare` on a tiny model."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_encoders
import tiny_models

from rbe_edge.cli.main import main
from rbe_edge.comparison.compare import CompareOptions, prepare
from rbe_edge.errors import OptionError
from rbe_edge.progress import Progress

SETTINGS = ["--types", "q4_0,q8_0", "--bits", "4", "--window", "64", "--windows", "3", "-t", "1", "--json"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A model and two texts."""
    directory = tmp_path_factory.mktemp("compare")
    model = tiny_models.MODELS["llama"]
    model = dataclasses.replace(model, config={**model.config, "max_position_embeddings": 128})
    source = tiny_models.write(model, directory / "source")
    (directory / "text.txt").write_text("abc abd abe xyz " * 40)
    (directory / "other.txt").write_text("the cat and the hat that sat. " * 60)
    return source, directory / "text.txt", directory / "other.txt"


def test_refuses_an_encoder(tmp_path: Path) -> None:
    source = tiny_encoders.write(tiny_encoders.ENCODERS["sentence_mean"], tmp_path / "model")
    (tmp_path / "text.txt").write_text("the cat sat on the mat " * 60)
    options = CompareOptions(calibrate=None)
    with pytest.raises(OptionError, match="an encoder has no perplexity to compare"):
        prepare(str(source), (tmp_path / "text.txt").read_text(), options, tmp_path, Progress())


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rbe_edge", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("mode", [[], ["--projections"]], ids=["files", "projections"])
def test_compares(mode: list[str], inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    for package in ("gguf", "llama_cpp", "matplotlib"):
        pytest.importorskip(package)
    source, text, other = inputs
    done = _run(source, "--text", text, "--calibrate", other, *SETTINGS, *mode, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "llama.cpp is quiet"
    found = json.loads(done.stdout)
    rows = {row["name"]: row for row in found["rows"]}
    assert set(rows) == {"Q4_0", "Q8_0", "4"} and found["n_windows"] == 3 and found["window"] == 64
    assert 0 < rows["Q8_0"]["kl"] < rows["Q4_0"]["kl"] and rows["4"]["kl"] > 0
    assert rows["Q4_0"]["bytes"] < rows["Q8_0"]["bytes"]
    for row in rows.values():
        assert row["bits_per_weight"] == pytest.approx(8 * row["bytes"] / found["parameters"])
        assert row["n_scored"] == 3 * 63 and row["source_perplexity"] == pytest.approx(found["perplexity"], rel=1e-3)
    if mode:
        assert rows["Q4_0"]["bits_per_weight"] == pytest.approx(4.5), "the matrices alone are counted"
        assert found["engines_kl"] is None and rows["4"]["bits_per_weight"] < 6
    else:
        assert found["engines_kl"] < 1e-5
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert "| ggml Q4_0 |" in next((tmp_path / "out").glob("*.md")).read_text()


@pytest.mark.parametrize("mode", [[], ["--projections"]], ids=["files", "projections"])
def test_a_source_that_is_quantised_itself(mode: list[str], inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Its own type is measured though nobody asks, costs next to nothing, and is compared with nothing."""
    for package in ("gguf", "llama_cpp"):
        pytest.importorskip(package)
    from rbe_edge import Model
    from rbe_edge.llama_cpp import export, quantiser
    from rbe_edge.packing.pack import PackOptions, pack
    from rbe_edge.sources.open import open_source
    from rbe_edge.sources.tokenizers.of_source import source_tokenizer

    source, text, other = inputs
    with Model.open(pack(source, tmp_path / "dense.rbe", PackOptions(bits=32)).path) as model:
        tokenizer = source_tokenizer(open_source(source), model.info.vocabulary)
        export.write_gguf(model, tokenizer, tmp_path / "fp32.gguf", 128)
    quantiser.quantize(tmp_path / "fp32.gguf", tmp_path / "q4.gguf", "Q4_0", {})
    settings = [*SETTINGS, "--types", "q8_0,q5_0,iq4_nl"]
    done = _run(tmp_path / "q4.gguf", "--text", text, "--calibrate", other, *settings, *mode)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {row["name"]: row for row in found["rows"]}
    assert found["own_type"] == "Q4_0" and set(rows) == {"Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "4"}
    assert {name for name, row in rows.items() if row["own"]} == {"Q4_0", "Q5_0"} and "rbe_bits_at_this_kl" not in rows[
        "Q4_0"
    ]
    assert rows["Q4_0"]["kl"] == rows["Q5_0"]["kl"] < rows["IQ4_NL"]["kl"] / 4, "Q5_0's grid holds that of Q4_0"


def test_a_type_that_llama_cpp_refuses(inputs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("llama_cpp")
    from rbe_edge.errors import OptionError
    from rbe_edge.llama_cpp.quantiser import quantize

    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but no more")
    with pytest.raises(OptionError, match="cannot quantise"):
        quantize(tmp_path / "broken.gguf", tmp_path / "out.gguf", "Q4_0", {})
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("more", "why"),
    [(["--types", "Q9_Z"], "Q9_Z is no type"), (["--window", "100000"], "--window 100000 is not possible"),
     (["--bits", "two"], "no numbers"), (["--bits", "2.5", "--projections"], "whole numbers"),
     (["--windows", "0"], "counts"), (["--out", "/dev/null/x"], "--out")],
    ids=lambda value: str(value[0]) if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_options(
    more: list[str], why: str, inputs: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("gguf", "llama_cpp", "matplotlib"):
        pytest.importorskip(package)
    source, text, other = map(str, inputs)
    assert main(["compare", source, "--text", text, "--calibrate", other, *more]) == 2
    error = capsys.readouterr().err
    assert why in error and error.count("\n") == 1


def test_the_same_text_twice(inputs: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source, text, _ = map(str, inputs)
    assert main(["compare", source, "--text", text, "--calibrate", text]) == 2
    assert "another text" in capsys.readouterr().err


def test_without_the_extra(inputs: tuple[Path, Path, Path]) -> None:
    source, text, other = map(str, inputs)
    code = (
        "import sys; sys.modules['llama_cpp'] = None; from rbe_edge.cli.main import main; "
        f"sys.exit(main(['compare', {source!r}, '--text', {text!r}, '--calibrate', {other!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 1 and "rbe-edge[compare]" in done.stderr and done.stderr.count("\n") == 1
