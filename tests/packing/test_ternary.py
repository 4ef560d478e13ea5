"""Binary and ternary matrices: packed without loss from every source that has them, and computed as they are."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from index_reader import mend_index
from reference_groups import group_values
from ternary_models import divergence, scored, scored_by, written

from rbe_edge import Model
from rbe_edge.codes import grouped
from rbe_edge.errors import ModelError
from rbe_edge.format import writer
from rbe_edge.format.reader import read_file
from rbe_edge.format.replacing import read_parts, replace_parts
from rbe_edge.packing.outline import outline_of
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.runtime.build import kernel_sets
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.tuning.parameters import Parameters

FloatArray = npt.NDArray[np.float32]

UNCALIBRATED = PackOptions(calibrate="none")


def check_exact(source: Path, report: PackReport, kind: str) -> None:
    kinds = {tensor.name: tensor.kind for tensor in report.tensors}
    planned = {tensor.name: tensor for tensor in plan_model(open_source(source)).tensors}
    with Model.open(report.path) as model:
        for name, found in kinds.items():
            if found in ("ternary", "binary"):
                np.testing.assert_array_equal(model.tensor_rows(name), planned[name].read(), err_msg=name)
                assert model.tensors[name].kind == kind and model.tensors[name].error == 0
    assert sum(found == kind for found in kinds.values()) == 14, kinds


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize(
    ("group", "binary"), [(0, False), (256, False), (128, False), (0, True), (128, True), (32, True)]
)
def test_safetensors_are_exact(tmp_path: Path, group: int, binary: bool, dtype: str) -> None:
    source = written(tmp_path / "tiny", group, binary=binary, dtype=dtype)
    report = pack(source, tmp_path / "m.rbe", UNCALIBRATED)
    check_exact(source, report, "binary" if binary else "ternary")
    parts = read_parts(report.path)
    assert parts["ternary"].required and parts["ternary"].version == 1


def test_bits_for_each_weight() -> None:
    """1.6875 with a scale for 256 ternary weights, 1.125 with one for 128 binary ones."""
    for binary, group, most in ((False, 256, 1.6875), (True, 128, 1.125), (False, 0, 1.633), (True, 0, 1.008)):
        code = grouped.Code(binary, group, 1.0)
        assert 8 * grouped.encoded_bytes(2048, 2048, code) <= most * 2048 * 2048


@pytest.mark.parametrize("seed", range(8))
def test_codes_by_value(seed: int) -> None:
    """find() tells the group that a matrix was made with, and says no to others."""
    generator = np.random.default_rng(seed)
    rows, cols = int(generator.integers(64, 130)), int(generator.integers(65, 700))
    group, binary = int(2 ** generator.integers(5, 9)), bool(seed % 2)
    scales = (1 + generator.integers(0, 1024, (rows, -(-cols // group)))) / np.float32(4096)
    signs = generator.integers(0, 2, (rows, cols)) * 2 - 1 if binary else generator.integers(-1, 2, (rows, cols))
    values = np.asarray(signs * np.repeat(scales, group, 1)[:, :cols], np.float32)
    found = grouped.find([values[:5], values[5:]], rows, cols)
    assert found is not None and found.binary == binary and found.group == (group if group < cols else 0)
    data = grouped.encode(values, found)
    assert len(data) == grouped.encoded_bytes(rows, cols, found)
    decoded = group_values(data, (rows, cols), found.group, found.tensor_scale, binary=found.binary)
    np.testing.assert_array_equal(decoded, values)
    assert grouped.find([np.zeros_like(values)], rows, cols) is None
    broken = values.copy()
    broken[rows - 1, cols - 2], broken[rows - 1, cols - 1] = 0.5, 0.125
    assert grouped.find([broken], rows, cols) is None
    odd = values * generator.random((rows, 1), np.float32)  # scales of more digits than fp16 has
    assert grouped.find([odd], rows, cols) is None


def test_scales_beyond_fp16_have_a_common_factor() -> None:
    signs = np.random.default_rng(1).integers(-1, 2, (64, 256)).astype(np.float32)
    small = signs * np.ldexp(np.float32(1), -40 - np.arange(64, dtype=np.int32) % 5)[:, None]
    found = grouped.find([small], 64, 256)
    assert found is not None and found.tensor_scale < 2.0**-24
    one = grouped.find([signs * np.float32(0.1)], 64, 256)  # BitNet: one scale, with all the digits of fp32
    assert one is not None and one.tensor_scale == float(np.float32(0.1)) and one.group == 0
    wild = signs * np.ldexp(np.float32(1), -3 * (np.arange(64, dtype=np.int32) % 30))[:, None]
    assert grouped.find([wild], 64, 256) is None


@pytest.mark.parametrize(("group", "binary"), [(0, False), (64, False), (128, True)])
def test_logits_are_those_of_the_dense_model(tmp_path: Path, group: int, binary: bool) -> None:
    """Up to the rounding of activations to int8; and the same bits by every kernel set, pass size and thread count."""
    source = written(tmp_path / "tiny", group, binary=binary)
    packed = pack(source, tmp_path / "m.rbe", dataclasses.replace(UNCALIBRATED, bits=8)).path
    dense = pack(source, tmp_path / "dense.rbe", PackOptions(bits=32)).path
    expected, found = scored(dense), scored(packed)
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    assert divergence(expected, found) < 2e-4
    for threads, pass_tokens in ((1, 1), (2, 5), (3, 40)):
        np.testing.assert_array_equal(scored(packed, threads=threads, pass_tokens=pass_tokens), found)
    for kernel_set, is_there in kernel_sets().items():
        if is_there:
            with Model.open(packed, kernel_set=kernel_set) as model:
                np.testing.assert_array_equal(scored_by(model), found, err_msg=kernel_set)


def test_beside_the_trellis(tmp_path: Path) -> None:
    """A matrix may share its activation with others that are rotated; calibration goes on for those."""
    source = written(tmp_path / "tiny", 128, binary=False, every="k_proj")
    report = pack(source, tmp_path / "m.rbe", PackOptions(bits=6))
    kinds = {tensor.name.split(".")[-1]: tensor.kind for tensor in report.tensors if ".attention." in tensor.name}
    assert (kinds["q"], kinds["k"], kinds["v"]) == ("trellis", "ternary", "trellis")
    found, dense = scored(report.path), scored(pack(source, tmp_path / "dense.rbe", PackOptions(bits=32)).path)
    assert divergence(dense, found) < 0.02
    for threads, pass_tokens in ((1, 1), (3, 40)):
        np.testing.assert_array_equal(scored(report.path, threads=threads, pass_tokens=pass_tokens), found)


def test_dense_files_stay_dense(tmp_path: Path) -> None:
    source = written(tmp_path / "tiny", 128, binary=False)
    kinds = {tensor.kind for tensor in pack(source, tmp_path / "m.rbe", PackOptions(bits=16)).tensors}
    assert kinds == {"bf16", "fp32"}
    assert "ternary" not in read_parts(tmp_path / "m.rbe")


def test_outline_has_the_size(tmp_path: Path) -> None:
    source = written(tmp_path / "tiny", 128, binary=True)
    packed = read_file(pack(source, tmp_path / "m.rbe", UNCALIBRATED).path)
    with outline_of(source, 4) as outline:
        found = read_file(outline)
    entries = {name: tensor.entry.n_bytes for name, tensor in packed.tensors.items()}
    assert {name: tensor.entry.n_bytes for name, tensor in found.tensors.items()} == entries
    assert "ternary" in found.parts


def test_tuning_leaves_them_alone(tmp_path: Path) -> None:
    source = written(tmp_path / "tiny", 128, binary=True)
    packed = pack(source, tmp_path / "m.rbe", UNCALIBRATED).path
    with Model.open(packed) as model:
        parameters = Parameters(model)
    assert not any(parameters.is_matrix(f"layers.0.attention.{part}") for part in "qkvo")
    assert any(name.endswith("norm") for name in parameters.places)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Each field of an entry, the scales, the version, and the part that says that there are such tensors."""
    source = written(tmp_path / "tiny", 128, binary=False)
    path = pack(source, tmp_path / "m.rbe", UNCALIBRATED).path
    whole = path.read_bytes()
    name = b"layers.0.attention.q"
    at = whole.index(struct.pack("<I", len(name)) + name) + 4 + len(name)
    kind, rows, cols, offset, n_bytes, _, _ = struct.unpack_from("<IIIQQIf", whole, at)
    own = at + struct.calcsize("<IIIQQIf")
    assert (kind, rows, cols) == (writer.KIND_TERNARY, 256, 256)
    group, tensor_scale = struct.unpack_from("<If", whole, own)
    assert (group, tensor_scale) == (128, 1.0) and n_bytes == 256 * (2 * 26 + 2 * 2)
    part = whole.index(struct.pack("<I", 7) + b"ternary") + 4
    for place, value, message in (
        (own, struct.pack("<I", 16), "`group`"),
        (own, struct.pack("<I", 96), "`group`"),
        (own, struct.pack("<I", 1 << 17), "`group`"),
        (own, struct.pack("<I", 64), "`bytes`"),
        (own + 4, struct.pack("<f", float("nan")), "`tensor_scale`"),
        (at, struct.pack("<I", writer.KIND_BINARY), "`bytes`"),
        (at, struct.pack("<I", 10), "`kind`"),
        (at + 4, struct.pack("<I", 1 << 27), "`bytes`"),
        (at + 8, struct.pack("<I", 255), "`bytes`|hyper-parameters"),
        (offset, struct.pack("<H", 0x7C00), "`scales`|checksum"),
        (part, b"ternarx", "newer rbe"),
    ):
        damaged = bytearray(whole)
        damaged[place : place + len(value)] = value
        mend_index(damaged)
        other = tmp_path / "damaged.rbe"
        other.write_bytes(damaged)
        with pytest.raises(ModelError, match=message):
            Model.open(other, verify=False)


@pytest.mark.parametrize("part", ["ternary", "inner_norms"])
def test_the_part_and_its_tensors_need_one_another(tmp_path: Path, part: str) -> None:
    """A file that lacks the part, and one that has it for nothing, are refused in one line."""
    source = written(tmp_path / "tiny", 0, binary=False, name="bitnet")
    path = pack(source, tmp_path / "m.rbe", UNCALIBRATED).path
    parts = read_parts(path)
    assert set(parts) == {"ternary", "inner_norms"} and all(found.required for found in parts.values())
    replace_parts(path, [], [part])
    with pytest.raises(ModelError, match=f"lacks the part `{part}`"):
        Model.open(path)
    other = tiny_models.write(tiny_models.MODELS["qwen3"], tmp_path / "plain")
    plain = pack(other, tmp_path / "plain.rbe", UNCALIBRATED).path
    replace_parts(plain, [parts[part]])
    with pytest.raises(ModelError, match=f"it has the part `{part}`, and no"):
        Model.open(plain)
