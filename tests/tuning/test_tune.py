"""Tuning from end to end on a tiny model: what is written, that it helps, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import reference_decoder
import tiny_encoders
import tiny_models
from tuning_pair import Pair, make_pair

from rbe_edge import Model
from rbe_edge.cli.main import main
from rbe_edge.errors import ModelError, OptionError, PackError
from rbe_edge.format import writer
from rbe_edge.format.parts import Part
from rbe_edge.format.reader import read_file
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.tuning import tune as module
from rbe_edge.tuning.dense_model import write_dense
from rbe_edge.tuning.parameters import Changes, Parameters
from rbe_edge.tuning.tune import TuneOptions, tune

QUICK = TuneOptions(steps=12, batch=2, learning_rate=5e-3, threads=1)
TOKENS = [(37 * i * i + 11 * i + 5) % 268 for i in range(24)]  # three times the windows of the tiny models


@pytest.fixture(scope="module")
def tuned(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, module.TuneReport]:
    out = tmp_path_factory.mktemp("tuned") / "tuned.rbe"
    return out, tune(pair.packed, pair.source, pair.text, out, QUICK)


def test_it_comes_closer_to_the_source(tuned: tuple[Path, module.TuneReport]) -> None:
    """On text that no gradient saw, by the engine."""
    report = tuned[1]
    assert report.kl_after < 0.9 * report.kl_before
    assert report.kept > 0 and report.tokens == 12 * 2 * tiny_models.CONTEXT


def test_only_scales_and_vectors_change(pair: Pair, tuned: tuple[Path, module.TuneReport]) -> None:
    before, after = (reference_decoder.read(path) for path in (pair.packed, tuned[0]))  # which verifies all checksums
    assert after.metadata == before.metadata | {"packer.options": f"{before.metadata['packer.options']} tuned"}
    assert after.blobs == before.blobs and list(after.tensors) == list(before.tensors)
    for name, tensor in after.tensors.items():
        if tensor.kind == reference_decoder.TRELLIS:
            assert len(tensor.codebooks) == len(before.tensors[name].codebooks)
            for ours, theirs in zip(tensor.integers(), before.tensors[name].integers(), strict=True):
                np.testing.assert_array_equal(ours, theirs)
    changed = {name for name, tensor in after.tensors.items() if tensor.data != before.tensors[name].data}
    assert changed == {name for name in after.tensors if not name.startswith("rope.")}


def test_errors_are_those_of_the_new_weights(pair: Pair, tuned: tuple[Path, module.TuneReport]) -> None:
    with Model.open(tuned[0]) as ours, Model.open(pair.dense) as exact:
        for name, tensor in ours.tensors.items():
            expected = exact.tensor_rows(name).astype(np.float64)
            error = np.sum((ours.tensor_rows(name) - expected) ** 2) / np.sum(expected**2)
            assert tensor.error == pytest.approx(error, rel=1e-4), name


@pytest.mark.parametrize(("name", "stays"), [
    ("lfm2_bias", {"convolution.taps"}),
    ("qwen3_5", {"recurrence.q_taps", "recurrence.k_taps", "recurrence.v_taps", "recurrence.decay", "recurrence.beta"}),
    ("granite4", {"recurrence.q_taps", "recurrence.k_taps", "recurrence.v_taps", "recurrence.decay"}),
])  # fmt: skip
def test_layers_of_several_kinds(name: str, stays: set[str], tmp_path: Path) -> None:
    """Gains and vectors of convolutions and recurrences learn; their taps, and what is dense beside a router, stay."""
    pair = make_pair(tmp_path, name, vocab_size=272)
    report = tune(pair.packed, pair.source, pair.text, tmp_path / "tuned.rbe", QUICK)
    assert report.kl_after < report.kl_before
    before, after = (read_file(path) for path in (pair.packed, tmp_path / "tuned.rbe"))
    assert after.parts == before.parts and "layer_kinds" in after.parts
    with Model.open(pair.packed) as old, Model.open(tmp_path / "tuned.rbe") as new:
        same = {name for name in old.tensors if np.array_equal(old.tensor_rows(name), new.tensor_rows(name))}
        found = {name.split(".", 2)[2] for name in same if name.startswith("layers.")}
        assert found == stays
        assert same <= {name for name in old.tensors if name.startswith(("layers.", "rope."))}


@pytest.mark.parametrize("name", ["qwen3_5", "granite4"])
def test_rates_stay_above_zero(name: str, tmp_path: Path) -> None:
    """However far a step goes: a file with another rate is refused."""
    packed = make_pair(tmp_path, name, vocab_size=272).packed
    with Model.open(packed) as model:
        parameters = Parameters(model)
        rates = [place for key, place in parameters.places.items() if key.endswith(".rate")]
    for place, x in zip(rates, (-1.0, -7.0, 0.5), strict=True):
        parameters.values[place] = x
    stored = read_file(packed)
    errors = dict.fromkeys(stored.tensors, 0.0)
    module._write(stored, parameters.changes(), errors, writer.claim(tmp_path / "out.rbe", force=False))
    assert np.isfinite(logits(tmp_path / "out.rbe")).all()
    with Model.open(packed) as old, Model.open(tmp_path / "out.rbe") as new:
        names = [key for key in old.tensors if key.endswith(".rate")]
        before, after = ([model.tensor_rows(key) for key in names] for model in (old, new))
    np.testing.assert_allclose(after[2], 1.5 * before[2], rtol=1e-6)
    assert all(((found > 0) & (found < 1e-20)).all() for found in after[:2])


def test_the_same_input_gives_the_same_bytes(pair: Pair, tuned: tuple[Path, module.TuneReport], tmp_path: Path) -> None:
    """Whatever the number of threads."""
    tune(pair.packed, pair.dense, pair.text, tmp_path / "again.rbe", dataclasses.replace(QUICK, threads=3))
    assert (tmp_path / "again.rbe").read_bytes() == tuned[0].read_bytes()


def logits(path: Path) -> np.ndarray:
    with Model.open(path, verify=False) as model, model.session(kv="f32", context=len(TOKENS)) as session:
        found = session.score(TOKENS, logits=True).logits
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["llama_bias", "gpt2", "gemma3", "qwen3_moe", "hunyuan_v1_dense", "stablelm_12b"])
def test_what_is_written_is_what_was_computed(name: str, tmp_path: Path) -> None:
    """The new file against the copy that gradients run on, while an engine has it open: tied heads, two planes, layer
    norms. Row scales round to fp16."""
    pair = make_pair(tmp_path, name)
    stored = read_file(pair.packed)
    rng = np.random.default_rng(1)
    with Model.open(pair.packed) as model:
        copy = write_dense(model, tmp_path / "copy.rbe", lambda done, total: None)
        parameters = Parameters(model)
    plain = logits(copy.path)
    with Model.open(copy.path, verify=False) as opened, opened.session(kv="f32", context=len(TOKENS)) as session:
        for _ in range(2):
            parameters.values[:] = rng.uniform(-0.1, 0.1, parameters.count)
            parameters.write(copy)
        np.testing.assert_array_equal(session.score(TOKENS, logits=True).logits, logits(copy.path))
    errors = dict.fromkeys(stored.tensors, 0.0)
    module._write(stored, parameters.changes(), errors, writer.claim(tmp_path / "out.rbe", force=False))
    with Model.open(tmp_path / "out.rbe") as model:
        written: DenseCopy = write_dense(model, tmp_path / "written.rbe", lambda done, total: None)
    expected = logits(copy.path)
    assert np.abs(logits(written.path) - expected).max() < 0.01 * np.abs(plain - expected).max()


def test_a_file_with_block_scales_keeps_them(pair: Pair) -> None:
    """The row scales of a tensor with block scales stand behind those."""
    stored = read_file(pair.packed)
    tensor = stored.tensors["layers.0.attention.q"]
    data = stored.data("layers.0.attention.q")
    flagged = module.RbeFile(
        stored.path, {}, stored.codebooks, {},
        {"q": type(tensor)(type(tensor.entry)(**{**vars(tensor.entry), "flags": 1}), 0, 0.0)},
    )  # fmt: skip
    longer = bytearray(np.full(16, 7.0, "<f4").tobytes()) + data
    np.testing.assert_array_equal(
        flagged.row_scales("q", longer)[0], stored.row_scales("layers.0.attention.q", data)[0]
    )


def test_parts_are_left_out(pair: Pair, tmp_path: Path) -> None:
    """They speak of the weights as they were."""
    stored = dataclasses.replace(read_file(pair.packed), parts={"modes": Part("modes", 1, b"measured")})
    errors = dict.fromkeys(stored.tensors, 0.0)
    module._write(stored, Changes({}), errors, writer.claim(tmp_path / "out.rbe", force=False))
    with Model.open(tmp_path / "out.rbe") as model:
        assert not model.parts and model.info.format_version == 1


def test_a_gain_beyond_fp16_changes_nothing(pair: Pair) -> None:
    stored = read_file(pair.packed)
    name = "layers.0.attention.q"
    gains = np.ones(stored.tensors[name].entry.rows, np.float32)
    gains[3] = 1e30
    assert module._data(stored, Changes({name: gains}), name) == bytes(stored.data(name))


def test_stopping_leaves_nothing(pair: Pair, tmp_path: Path) -> None:
    for stop in ("reading", "decoding", "tuning", "measuring", "writing"):

        def progress(what: str, done: int, total: int, stop: str = stop) -> None:
            if what == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tune(pair.packed, pair.dense, pair.text, tmp_path / "out.rbe", QUICK, progress)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_the_command(pair: Pair, tmp_path: Path) -> None:
    """In the middle of the descent: soon, and nothing is left, neither of the file nor of the copies."""
    (tmp_path / "text.txt").write_text(pair.text)
    (tmp_path / "for a while").mkdir()
    command = [
        sys.executable, "-m", "rbe_edge", "tune", str(pair.packed), "--source", str(pair.dense), "--steps", "100000",
        "--text", str(tmp_path / "text.txt"), "-o", str(tmp_path / "out.rbe"),
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(tmp_path / "for a while")}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("for a while/*/*/decoded.rbe")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130 and said.count("\n") <= 1
    assert {path.name for path in tmp_path.iterdir()} == {"text.txt", "for a while"}
    assert list((tmp_path / "for a while").iterdir()) == []


class TestRefused:
    def refused(self, pair: Pair, tmp_path: Path, error: type[Exception] = OptionError, **changes: object) -> str:
        arguments = {"file": pair.packed, "source": pair.dense, "text": pair.text, "out": tmp_path / "out.rbe"}
        with pytest.raises(error) as raised:
            tune(**(arguments | changes))  # type: ignore[arg-type]
        assert not (tmp_path / "out.rbe").exists()
        return str(raised.value)

    def test_another_source(self, pair: Pair, tmp_path: Path) -> None:
        other = tiny_models.write(tiny_models.MODELS["qwen3"], tmp_path / "other")
        assert "not packed from this source" in self.refused(pair, tmp_path, source=other)

    def test_a_coded_source(self, pair: Pair, tmp_path: Path) -> None:
        assert "coded itself" in self.refused(pair, tmp_path, source=pair.packed)

    def test_a_dense_file(self, pair: Pair, tmp_path: Path) -> None:
        assert "nothing to tune" in self.refused(pair, tmp_path, file=pair.dense)

    def test_a_short_text(self, pair: Pair, tmp_path: Path) -> None:
        assert "at least 128" in self.refused(pair, tmp_path, text="the thing")

    def test_a_missing_source(self, pair: Pair, tmp_path: Path) -> None:
        self.refused(pair, tmp_path, PackError, source=tmp_path / "absent")
        self.refused(pair, tmp_path, ModelError, source=tmp_path / "absent.rbe")

    def test_a_file_that_exists(self, pair: Pair, tmp_path: Path) -> None:
        with pytest.raises(PackError, match="--force"):
            tune(pair.packed, pair.dense, pair.text, pair.packed)

    @pytest.mark.parametrize(
        "options",
        [
            {"steps": 0},
            {"batch": 0},
            {"steps": 10**7},
            {"learning_rate": 0.0},
            {"learning_rate": float("nan")},
            {"threads": 0},
        ],
    )
    def test_options(self, pair: Pair, tmp_path: Path, options: dict[str, float]) -> None:
        self.refused(pair, tmp_path, options=TuneOptions(**options))  # type: ignore[arg-type]


def test_command(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text(pair.text)
    command = ["tune", str(pair.packed), "--source", str(pair.source), "--text", str(text), "--steps", "1"]
    assert main([*command, "-o", str(tmp_path / "a.rbe"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] == 1 and report["kl_after"] > 0
    assert main([*command, "-o", str(tmp_path / "b.rbe")]) == 0
    assert "KL to the source" in capsys.readouterr().out
    text.write_bytes(b"\xff\xfe")
    assert main([*command, "-o", str(tmp_path / "c.rbe")]) == 2
    assert "UTF-8" in capsys.readouterr().err
    assert not (tmp_path / "c.rbe").exists()


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    source = tiny_encoders.write(tiny_encoders.ENCODERS["bert"], tmp_path / "source")
    path = pack(source, tmp_path / "m.rbe", PackOptions(bits=8, calibrate="none")).path
    with pytest.raises(OptionError, match="is an encoder; only models that write text can be tuned"):
        tune(path, source, None, tmp_path / "tuned.rbe")
    assert not (tmp_path / "tuned.rbe").exists()
