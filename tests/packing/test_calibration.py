"""Calibration: statistics of each block on what the packed blocks before it give, and what they are good for."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from rbe_edge import Model, _native
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.packing.calibration import Calibration, feedback_factor, read_text, read_windows
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.pack import PackOptions, PackReport, pack

TEXT = "the cat and the dog sat on the mat, and then the dog ate the cake of the cat. " * 80


def test_the_factor_is_that_of_the_inverse() -> None:
    x = np.random.default_rng(1).standard_normal((500, 30)) @ np.random.default_rng(2).standard_normal((30, 30))
    moment = x.T @ x / len(x)
    factor = feedback_factor(np.tril(moment).astype(np.float32), 2, 99, damping=0.05)
    assert factor.shape == (32, 32) and np.array_equal(factor, np.triu(factor))
    assert np.array_equal(factor[30:], np.eye(32, dtype=np.float32)[30:])
    rotation = np.eye(30, dtype=np.float32)
    trellis.rotate(rotation, 2, 99)  # I D H
    damped = rotation.T @ moment @ rotation + 0.05 * np.trace(moment) / 30 * np.eye(30)
    u = factor[:30, :30].astype(np.float64)
    assert np.allclose(u.T @ u @ damped, np.eye(30), atol=2e-3)


def test_an_activation_that_is_always_zero() -> None:
    assert np.array_equal(feedback_factor(np.zeros((8, 8), np.float32), 8, 1), np.eye(8, dtype=np.float32))


def test_a_block_sees_what_packed_blocks_before_it_give(dense: PackReport, tmp_path: Path) -> None:
    """Replacing a matrix of layer 0 changes what layer 1 is calibrated on; layer 0 itself was seen before."""
    path = tmp_path / "dense.rbe"
    shutil.copy(dense.path, path)
    windows = read_windows(path, TEXT, 600, 32)
    with Model.open(path) as model, model.session(context=64, kv="f32") as session:
        expected: dict[int, np.ndarray] = {}
        for window in windows:
            hidden = session.embed(window)
            session.run_layers(0, 1, hidden)

            def show(layer: int, point: int, x: np.ndarray) -> None:
                expected[point] = expected.get(point, 0) + x.T.astype(np.float64) @ x / sum(map(len, windows))

            session.run_layers(1, 1, hidden, show)
    with Calibration(DenseCopy(path, dense.areas), windows) as calibration:
        for name in ("layers.0.attention.q", "layers.0.feed_forward.down"):
            assert calibration.factor(name, 1, 0) is not None
        factor = calibration.factor("layers.1.attention.v", 16, 7)
        assert np.allclose(factor, feedback_factor(expected[_native.CAPTURE_QKV].astype(np.float32), 16, 7), atol=1e-3)
    with Calibration(DenseCopy(path, dense.areas), windows) as calibration:
        calibration.factor("layers.0.attention.q", 1, 0)
        rows, cols = 64, 96
        calibration.replace("layers.0.feed_forward.down", np.zeros((rows, cols), np.float32))
        changed = calibration.factor("layers.1.attention.v", 16, 7)
        assert np.abs(changed - factor).max() > 1e-2
        assert calibration.factor("norm", 1, 0) is None


@pytest.mark.parametrize(("name", "reads_head"), [("llama", "head"), ("gemma2", "embedding"), ("lfm2", "embedding")])
def test_the_head_is_calibrated_on_what_it_reads(name: str, reads_head: str, tmp_path: Path) -> None:
    """An embedding that serves as lm_head counts as one; an embedding beside an lm_head has no input to calibrate."""
    source = tiny_models.write(tiny_models.MODELS[name], tmp_path / "source")
    report = pack(source, tmp_path / "dense.rbe", PackOptions(bits=32))
    windows = read_windows(report.path, TEXT, 600, 32)
    with Calibration(DenseCopy(report.path, report.areas), windows) as calibration:
        factor = calibration.factor(reads_head, 16, 5)
        assert factor is not None and not np.array_equal(factor, np.eye(len(factor), dtype=np.float32))
        assert reads_head == "embedding" or calibration.factor("embedding", 16, 5) is None


def test_less_is_lost_at_the_same_size(source: Path, dense: PackReport, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    plain = pack(source, tmp_path / "plain.rbe", PackOptions(bits=3.5, calibrate="none"))
    calibrated = pack(source, tmp_path / "calibrated.rbe", PackOptions(bits=3.5, calibrate=tmp_path / "text.txt"))
    again = pack(source, tmp_path / "again.rbe", PackOptions(bits=3.5, calibrate=tmp_path / "text.txt", threads=1))
    assert abs(calibrated.file_bytes - plain.file_bytes) <= 64
    assert again.path.read_bytes() == calibrated.path.read_bytes()
    with Model.open(dense.path) as exact:
        window = exact.tokenize(TEXT)[700:764]
        states = []
        for report in (dense, plain, calibrated):
            with Model.open(report.path) as model, model.session(context=64, kv="f32") as session:
                hidden = exact_hidden(exact, window)
                session.run_layers(0, 2, hidden)
                states.append(hidden)
    errors = [float(np.square(state - states[0]).sum()) for state in states[1:]]
    assert errors[1] < 0.8 * errors[0]


def test_the_built_in_text_is_long_enough_for_any_tokenizer() -> None:
    text = read_text(None)
    assert len(text.encode()) > 50_000 and len(set(text)) > 300  # several alphabets
    assert "wiki" not in text.lower()  # nothing that is measured on


def test_the_same_bits_on_any_number_of_threads() -> None:
    x = np.random.default_rng(1).standard_normal((1100, 200)).astype(np.float32)
    library, results = _native.library(), []
    for threads in (1, 2, 3):
        moment = np.zeros((200, 200), np.float32)
        sums, values = (_native.pointer(array, ctypes.c_float) for array in (moment, x))
        _native.check(library.rbe_moment_add(values, len(x), 200, threads, sums))
        assert np.allclose(np.tril(moment), np.tril(x.T.astype(np.float64) @ x), atol=1e-3)
        moment /= len(x)
        results.append((moment.copy(), feedback_factor(moment, 8, 3, threads=threads)))
    for moment, factor in results[1:]:
        assert np.array_equal(moment, results[0][0]) and np.array_equal(factor, results[0][1])


def test_a_matrix_that_has_no_factor() -> None:
    matrix = np.diag(np.array([1, 2, 0, 1], np.float32))
    status = _native.library().rbe_inverse_factor(_native.pointer(matrix, ctypes.c_float), 4, 1)
    with pytest.raises(PackError, match="not positive definite"):
        _native.check(status, PackError)


def test_the_same_file_on_any_number_of_threads(source: Path, tmp_path: Path) -> None:
    """Those of the library, and those of numpy's linear algebra."""
    (tmp_path / "text.txt").write_text(TEXT[:4000])
    body = """
import sys
from pathlib import Path
from rbe_edge.packing.pack import PackOptions, pack
pack(Path(sys.argv[1]), Path(sys.argv[2]), PackOptions(bits=2.5, calibrate=Path("text.txt"), threads=int(sys.argv[3])))
"""
    files = []
    for threads, of_numpy in ((1, 1), (2, 2), (3, 4)):
        out = tmp_path / f"{threads}.rbe"
        environment = dict(
            os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)), OPENBLAS_NUM_THREADS=str(of_numpy)
        )
        command = [sys.executable, "-c", body, str(source), str(out), str(threads)]
        subprocess.run(command, cwd=tmp_path, env=environment, timeout=120, check=True)
        files.append(out.read_bytes())
    assert files[0] == files[1] == files[2]


def test_memory_is_that_of_the_statistics(dense: PackReport, tmp_path: Path) -> None:
    """The hidden states of the text, here 1.5 MB, lie on disk (docs/engine.md, "Calibration")."""
    path = tmp_path / "dense.rbe"
    shutil.copy(dense.path, path)
    windows = [[i % 50 + 4 for i in range(48)]] * 120
    hidden = 120 * 48 * 64 * 4
    with Calibration(DenseCopy(path, dense.areas), windows, threads=1) as calibration:
        calibration.factor("layers.0.attention.q", 1, 0)  # what is imported late
        tracemalloc.start()
        for name in ("layers.1.attention.q", "layers.1.feed_forward.down", "layers.1.attention.o"):
            assert calibration.factor(name, 1, 0) is not None
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    statistics = 4 * (3 * 64 * 64 + 96 * 96)
    assert peak < 3 * statistics + 4 * 48 * 64 + 100_000 < hidden / 2


def exact_hidden(model: Model, window: list[int]) -> np.ndarray:
    with model.session(context=len(window), kv="f32") as session:
        return session.embed(window)


def test_what_is_no_calibration_text(source: Path, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("too short")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, message in (("short.txt", "at least 512"), ("binary", "no UTF-8"), ("missing", "cannot be read")):
        with pytest.raises(PackError, match=message):
            pack(source, tmp_path / "out.rbe", PackOptions(bits=4, calibrate=tmp_path / name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binary", "short.txt"]


def test_dense_files_need_no_calibration(source: Path, tmp_path: Path) -> None:
    report = pack(source, tmp_path / "out.rbe", PackOptions(bits=16, calibrate=tmp_path / "missing"))
    with Model.open(report.path) as model:
        assert "calibrated" not in str(model.metadata["packer.options"])
