"""tools/encoder_peers.py without the peers: the files of this project, and what is said of a peer that is not there.
No speed is asserted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tiny_encoders

from rbe_edge.evaluation.glue_file import read_glue, task_named
from rbe_edge.evaluation.sentence_pairs import scores
from rbe_edge.runtime.model import Model
from tools import encoder_peers

_PAIRS = (
    ("the cat sat on the mat", "a dog sat on the mat", 4.0),
    ("paris is the capital of france", "the big city", 2.5),
    ("a river in the city", "the cat", 0.5),
    ("a cat", "the cat", 5.0),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoders.write(tiny_encoders.ENCODERS["sentence_mean"], tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "dev.tsv"
    lines = ("\t".join(("x",) * 4 + (str(answer), first, second)) for first, second, answer in _PAIRS)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_table(tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = tmp_path / "files"
    given = [str(tiny), str(pairs), "--bits", "32,4", "--threads", "1,2", "--rounds", "1", "--keep", str(files)]
    assert encoder_peers.main([*given, "--peers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert heads == ["file", "bytes", "bits", "Spearman", "sentences/s, 1 thread", "sentences/s, 2 threads"]
    assert [row[0] for row in rows] == ["rbe 32 bits", "rbe 4 bits"]
    examples = read_glue(pairs, task_named("sts-b"))
    for row, name in zip(rows, ("32-bits.rbe", "4-bits.rbe"), strict=True):
        assert row[1] == f"{(files / name).stat().st_size:,}"
        with Model.open(files / name) as model:
            vectors = model.embed([example.texts[place] for place in (0, 1) for example in examples])
        assert row[3] == f"{scores(vectors, examples).spearman:.2f}"
        assert min(float(cell) for cell in row[4:]) > 0
    before = (files / "4-bits.rbe").stat().st_mtime_ns
    assert encoder_peers.main([*given, "--peers", "--limit", "2"]) == 0
    assert (files / "4-bits.rbe").stat().st_mtime_ns == before


def test_a_peer_that_is_not_there_is_left_out(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gguf", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    given = [str(tiny), str(pairs), "--bits", "32", "--threads", "1", "--rounds", "1", "--keep", str(tmp_path)]
    assert encoder_peers.main(given) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 3
    for what, name in (("llama.cpp", "gguf"), ("onnx", "onnxruntime")):
        assert f"encoder_peers: {what} is left out: {name} is not installed" in shown.err


def test_a_file_that_does_not_open_is_left_out(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.rbe"
    broken.write_bytes(b"no model")
    side = encoder_peers.Side("rbe", "rbe of another kind", broken)
    assert encoder_peers.measure_all([side], [1, 2], 1, tiny, ["the cat"]) == {}
    assert capsys.readouterr().err.count("rbe of another kind is left out: ") == 1
