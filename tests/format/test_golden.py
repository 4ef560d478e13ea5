"""Files of every released format version stay readable, bit for bit: tests/golden, from tools/golden_packs.py."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_decoder
from index_reader import plane_integers, read_index

from rbe_edge import Model
from rbe_edge.format.modes import AGAINST, decode, encode
from rbe_edge.format.replacing import read_parts

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
EXPECTED: dict[str, dict[str, Any]] = {
    f"{version}/{name}": expected
    for version in ("v1", "v2", "v3")
    for name, expected in json.loads((GOLDEN / version / "expected.json").read_text(encoding="utf-8")).items()
}
KINDS = {1: "fp32", 2: "fp16", 3: "bf16", 4: "trellis", 5: "seed64", 6: "basis", 8: "ternary", 9: "binary"}


def digest(values: np.ndarray, dtype: str) -> str:
    return hashlib.sha256(values.astype(dtype).tobytes()).hexdigest()


def test_every_file_and_rate_is_there() -> None:
    assert {f"{path.parent.name}/{path.stem}" for path in GOLDEN.glob("v*/*.rbe")} == EXPECTED.keys()
    tensors = [tensor for file in EXPECTED.values() for tensor in file["tensors"].values()]
    assert {bits for tensor in tensors for bits in tensor.get("planes", ())} == {1, 2, 3, 4}
    assert {tensor["kind"] for tensor in tensors} == set(KINDS)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_files_are_untouched(name: str) -> None:
    assert hashlib.sha256((GOLDEN / f"{name}.rbe").read_bytes()).hexdigest() == EXPECTED[name]["sha256"]


@pytest.mark.parametrize("name", EXPECTED)
def test_the_engine_reads_them(name: str) -> None:
    """What the C reader says and decodes; and the model runs."""
    expected = EXPECTED[name]
    index = read_index(GOLDEN / f"{name}.rbe")
    assert hashlib.sha256(index.blobs["tokenizer"]).hexdigest() == expected["tokenizer"]
    with Model.open(GOLDEN / f"{name}.rbe") as model:
        assert f"v{model.info.format_version}" == name.split("/")[0]
        assert {key: list(v) if isinstance(v, tuple) else v for key, v in model.metadata.items()} == expected[
            "metadata"
        ]
        assert list(model.tensors) == list(dict.fromkeys(index.place(name)[0] for name in expected["tensors"]))
        for tensor_name, tensor in expected["tensors"].items():
            matrix, first_row = index.place(tensor_name)
            info = model.tensors[matrix]
            if matrix == tensor_name:
                assert (info.kind, info.rows, info.cols) == (KINDS[tensor["kind"]], tensor["rows"], tensor["cols"])
                assert info.plane_bits == tuple(tensor.get("planes", ()))
            else:
                assert (info.kind, info.cols) == ("bands", tensor["cols"])
                assert info.rows >= first_row + tensor["rows"] and len(info.plane_bits) >= len(tensor["planes"])
            values = model.tensor_rows(matrix, first_row, tensor["rows"])
            if tensor["kind"] == 4:
                integers = plane_integers(index, tensor_name)
                assert [digest(plane, "<i2") for plane in integers] == tensor["integers"]
            else:
                assert digest(values, "<f4") == tensor["values"]
            scale = float(np.abs(values).max())
            for place, value in tensor["samples"]:
                assert values.flat[place] == pytest.approx(value, rel=1e-5, abs=1e-6 * scale)
        if model.encoder_info.is_encoder:
            assert np.isfinite(model.encoder().pooled(["the thing"])).all()
            return
        with model.session() as session:
            session.prefill(model.tokenize("the thing"))
            assert np.isfinite(session.logits).all()


@pytest.mark.parametrize("name", EXPECTED)
def test_the_numpy_decoder_reads_them(name: str) -> None:
    """Bit for bit the same integers and dense numbers from a decoder that was written from docs/format.md alone."""
    expected = EXPECTED[name]
    pack = reference_decoder.read(GOLDEN / f"{name}.rbe")
    assert {key: list(v) if isinstance(v, tuple) else v for key, v in pack.metadata.items()} == expected["metadata"]
    assert pack.tensors.keys() == expected["tensors"].keys()
    index = read_index(GOLDEN / f"{name}.rbe")
    with Model.open(GOLDEN / f"{name}.rbe") as model:
        for tensor_name, tensor in expected["tensors"].items():
            found = pack.tensors[tensor_name]
            values = found.values()
            matrix, first_row = index.place(tensor_name)
            by_engine = model.tensor_rows(matrix, first_row, tensor["rows"])
            if found.kind == reference_decoder.TRELLIS:
                assert [digest(plane, "<i2") for plane in found.integers()] == tensor["integers"]
                scale = np.abs(values).max()
                np.testing.assert_allclose(by_engine, values, rtol=1e-5, atol=1e-6 * scale)
            elif found.kind > reference_decoder.TRELLIS:
                assert digest(by_engine, "<f4") == tensor["values"]
                np.testing.assert_allclose(by_engine, values, rtol=1e-6, atol=1e-6 * np.abs(values).max())
            else:
                assert digest(values, "<f4") == tensor["values"]


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith("v3/")])
def test_parts_are_read(name: str) -> None:
    """By three readers: the engine, the one that was written from docs/format.md alone, and that of the packer."""
    expected = EXPECTED[name]
    path = GOLDEN / f"{name}.rbe"
    by_document, by_packer = reference_decoder.read(path).parts, read_parts(path)
    assert list(by_packer) == list(by_document) == list(expected["parts"])
    with Model.open(path) as model:
        assert list(model.parts) == list(expected["parts"])
        for part_name, (version, flags, more, sha256) in expected["parts"].items():
            data = model.part(part_name)
            info, part = model.parts[part_name], by_packer[part_name]
            assert (info.version, info.required, info.data_bytes) == (version, bool(flags & 1), len(data))
            assert info.known == (part_name in ("modes", *reference_decoder.KNOWN_PARTS))
            assert by_document[part_name] == part.data == data and hashlib.sha256(data).hexdigest() == sha256
            assert (part.version, part.flags | part.required, part.more.hex()) == (version, flags, more)
        table = model.modes
        if "modes" not in expected:
            assert table is None
            return
        assert table is not None and table == decode(model.part("modes")) and encode(table) == model.part("modes")
    assert reference_decoder.modes(by_document["modes"]) == expected["modes"]
    assert (table.text, AGAINST.index(table.against)) == (expected["modes"]["text"], expected["modes"]["against"])
    for mode, (reason, attention, feed_forward, *numbers) in zip(table.modes, expected["modes"]["modes"], strict=True):
        whole = [0] * table.n_layers
        assert (list(mode.attention) or whole, list(mode.feed_forward) or whole) == (attention, feed_forward)
        assert [mode.embedding, mode.lm_head, mode.bytes_per_token, mode.n_tokens] == numbers[:4]
        assert [mode.perplexity, mode.kl, mode.kl_error, mode.top1] == numbers[4:]
        assert (mode.reason, mode.found) == (reason, reason == "")
