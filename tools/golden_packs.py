"""Writes tests/golden/v1, v2 and v3: small `.rbe` files of each format version, and what every reader must find in
them; tests/golden/answers: a tiny model of every architecture, for native/tests/test_answers.c; and
tests/golden/encoder_decoders: one that reads a text and answers to it.

    python tools/golden_packs.py            adds files that are not there yet
    python tools/golden_packs.py --force    writes all anew: only while no version has been released

Released files are never written again: later versions of the reader must read them as they are. expected.json holds,
per tensor, SHA-256 of the integers T1 + T2 of every plane (int16, row by row), SHA-256 of dense tensors as fp32, and a
few decoded numbers. The integers are those of the C decoder; tests/format/test_golden.py compares them with
tests/reference_decoder.py, which was written from docs/format.md alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "packing")]

import encoder_files  # noqa: E402
import golden_models  # noqa: E402
import reference_decoder  # noqa: E402
import tiny_encoder_decoders  # noqa: E402
import tiny_models  # noqa: E402
from fixed_planes import fixed_planes  # noqa: E402
from index_reader import plane_integers, read_index  # noqa: E402

from rbe_edge import Model  # noqa: E402
from rbe_edge.codes import basis, seed64, trellis  # noqa: E402
from rbe_edge.format import modes, writer  # noqa: E402
from rbe_edge.format.bands import PART, band_name  # noqa: E402
from rbe_edge.format.layer_options import options_part  # noqa: E402
from rbe_edge.format.parts import Part  # noqa: E402
from rbe_edge.format.replacing import replace_parts  # noqa: E402
from rbe_edge.packing import storage  # noqa: E402
from rbe_edge.packing.pack import PackOptions, pack  # noqa: E402
from rbe_edge.sources.mapping import plan_model  # noqa: E402
from rbe_edge.sources.open import open_source  # noqa: E402
from rbe_edge.sources.tokenizers import read_tokenizer  # noqa: E402
from rbe_edge.sources.tokenizers.blob import write_blob  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
N_SAMPLES = 8

Write = Callable[[Path, Path], None]


def _packed(model: tiny_models.TinyModel, planes: tuple[int, ...], wide: tuple[int, ...], dtype: str = "F32") -> Write:
    """Dense where there are no planes."""

    def write(out: Path, scratch: Path) -> None:
        options = PackOptions(bits=4 if planes else 16, calibrate="none")
        with fixed_planes(planes, wide):
            pack(tiny_models.write(model, scratch / "golden", dtype), out, options)

    return write


def _planes(out: Path, scratch: Path) -> None:
    """What version 1 can hold and the packer does not write: one bit, other sums, no rotation, block scales."""
    source = open_source(tiny_models.write(golden_models.llama(), scratch / "golden"))
    plan = plan_model(source)
    books = [trellis.CODEBOOKS[bits] for bits in (1, 2, 3, 4)]
    cases = [
        ("more.one", 32, 60, (1,), False),
        ("more.two_one", 33, 60, (2, 1), False),
        ("more.two_two", 16, 64, (2, 2), False),
        ("more.four_three_two_one", 70, 20, (4, 3, 2, 1), False),
        ("more.block_scales", 8, 600, (4, 2), True),
    ]
    stores = [storage.dense(tensor, 16) for tensor in plan.tensors]
    entries = [
        writer.TensorEntry(tensor.name, store.kind, tensor.rows, tensor.cols, store.n_bytes)
        for tensor, store in zip(plan.tensors, stores, strict=True)
    ]
    encoded = []
    for name, rows, cols, planes, scaled in cases:
        values = tiny_models.uniform(name, 1, rows * cols).astype(np.float32).reshape(rows, cols)
        seed = 2**64 - len(name)
        part = trellis.encode(values, planes, seed)
        data = part.data
        if scaled:
            scales = np.array([1.0, 0.5, 3.0], "<f4")
            data = (scales.tobytes().ljust(64, b"\0"), *data)
        encoded.append((data, part))
        entries.append(
            writer.TensorEntry(
                name, writer.KIND_TRELLIS, rows, cols, sum(map(len, data)), seed,
                0 if name == "more.two_two" else trellis.rotation_block(cols),
                writer.FLAG_BLOCK_SCALES if scaled else 0, tuple(bits - 1 for bits in planes),
            )
        )  # fmt: skip
    with writer.PackWriter(
        out,
        {"name": "planes", **plan.metadata, "parameters": plan.parameters},
        [writer.CodebookEntry(book.bits, book.t1, book.t2) for book in books],
        {"tokenizer": write_blob(read_tokenizer(source.directory))},
        entries,
    ) as file:
        for tensor, store in zip(plan.tensors, stores, strict=True):
            dense, error = storage.dense_data(tensor.read(), store.kind)
            file.write_tensor([dense], error)
        for data, part in encoded:
            file.write_tensor(data, part.error, part.tensor_scale)
        file.commit()


def _smooth(name: str, rows: int, cols: int) -> np.ndarray:
    """Waves and a little noise."""
    u, v = seed64.coordinates(rows, cols)
    noise = tiny_models.uniform(name, 1, rows * cols).reshape(rows, cols)
    values: np.ndarray = np.sin(5 * u + 3 * v) + np.cos(11 * u * v + 1) / 2 + noise / 100
    return values.astype(np.float32)


def _smooth_codes(out: Path, scratch: Path) -> None:
    """seed64 and basis in every role: looked up, multiplied by, as a tied head; both transforms, edges of all sizes."""
    source = open_source(tiny_models.write(golden_models.GPT2, scratch / "golden"))
    plan = plan_model(source)
    columns, both = basis.Shape(32, 32, basis.COLUMN_COSINES), basis.Shape(32, 64, basis.COSINES)
    codes: dict[str, basis.Shape | int] = {
        "embedding": both, "positions": columns, "layers.0.attention.q": both,
        "layers.0.attention.o": 0x1234567890ABCDEF,
        "more.both": basis.Shape(64, 128, basis.COSINES), "more.columns": columns, "more.seed": 2**64 - 1,
        "more.large": basis.Shape(256, 256, basis.COSINES),
    }  # fmt: skip
    values = {tensor.name: tensor.read() for tensor in plan.tensors}
    values["positions"] = _smooth("positions", *values["positions"].shape)
    more = {"more.both": (100, 300), "more.columns": (65, 33), "more.seed": (70, 45), "more.large": (257, 3)}
    values |= {name: _smooth(name, *size) for name, size in more.items()}
    stores, entries = [], []
    dense = {tensor.name: storage.dense(tensor, 16).kind for tensor in plan.tensors}
    for name, matrix in values.items():
        rows, cols = matrix.shape
        code = codes.get(name)
        if isinstance(code, basis.Shape):
            quantised = basis.Analysis(matrix, code).quantise(float(np.abs(matrix).max()) / 2)
            encoded = quantised.encode()
            stores.append((encoded.data, quantised.error**2))
            n_bytes = len(encoded.data)
            entries.append(writer.TensorEntry(name, writer.KIND_BASIS, rows, cols, n_bytes, own=encoded.entry))
        elif code is not None:
            stores.append((seed64.Encoded(rows, cols, code, -0.75, 1.0).data, 1.0))
            entries.append(writer.TensorEntry(name, writer.KIND_SEED64, rows, cols, seed64.DATA_BYTES))
        else:
            data, error = storage.dense_data(matrix, dense[name])
            stores.append((data.tobytes(), error))
            entries.append(writer.TensorEntry(name, dense[name], rows, cols, data.nbytes))
    tokenizer = write_blob(read_tokenizer(source.directory))
    metadata = {"name": "extremes", **plan.metadata, "parameters": plan.parameters}
    with writer.PackWriter(out, metadata, [], {"tokenizer": tokenizer}, entries) as file:
        for packed, error in stores:
            file.write_tensor([packed], error)
        file.commit()


def _parts(out: Path, scratch: Path) -> None:
    """A table of power modes with all that it can say, and parts that no reader of this version knows: one with flags
    and fields of later versions, one that is empty."""
    _packed(golden_models.llama(num_hidden_layers=3), (2, 2), (4,))(out, scratch)
    skip = modes.SKIP
    table = modes.ModeTable(
        n_layers=3,
        text="a text of its own",
        against="source",
        modes=(
            modes.Mode(bytes_per_token=30000, n_tokens=2**40, perplexity=31.9, kl=0.124, kl_error=0.001, top1=0.75),
            modes.Mode((1, 2, 0), (skip, 0, 4), 1, 3, 20000, 512, 33.25, 0.25, 0.015625, 0.625),
            modes.Mode((1, 2, 0), (skip, 0, 4), 1, 3, 20000, 512, 33.25, 0.25, 0.015625, 0.625, "none within 1.11"),
            modes.Mode((skip, skip, 1), (), 0, 1, 2**63),
        ),
    )
    later = Part("later.thing_2", 9, b"of a later version", flags=0x8002, more=b"and more of it")
    replace_parts(out, [table.part(), later, Part("empty", 1, b"")])


def _bands(out: Path, scratch: Path) -> None:
    """Matrices in bands: an embedding that serves as lm_head, of three rates, and one of a layer."""
    source = open_source(tiny_models.write(golden_models.llama(), scratch / "golden"))
    plan = plan_model(source)
    rates: dict[str, list[tuple[int, tuple[int, ...]]]] = {
        "embedding": [(32, (4, 2)), (32, (3,)), (0, (2,))], "layers.0.feed_forward.up": [(24, (4,)), (0, (2, 2))],
    }  # fmt: skip
    books = [trellis.CODEBOOKS[bits] for bits in (2, 3, 4)]
    entries: list[writer.TensorEntry] = []
    data: list[tuple[tuple[bytes, ...], float, float]] = []
    for tensor in plan.tensors:
        values, first = tensor.read(), 0
        for number, (rows, planes) in enumerate(rates.get(tensor.name, ())):
            part = values[first : first + rows] if rows else values[first:]
            encoded = trellis.encode(part, planes, 77)
            n_bytes = sum(map(len, encoded.data))
            entries.append(
                writer.TensorEntry(
                    band_name(tensor.name, number), writer.KIND_TRELLIS, *part.shape, n_bytes, 77,
                    trellis.rotation_block(tensor.cols), 0, tuple(bits - 2 for bits in planes),
                )
            )  # fmt: skip
            data.append((encoded.data, encoded.error, encoded.tensor_scale))
            first += rows
        if tensor.name not in rates:
            store = storage.dense(tensor, 16)
            entries.append(writer.TensorEntry(tensor.name, store.kind, tensor.rows, tensor.cols, store.n_bytes))
            dense, error = storage.dense_data(values, store.kind)
            data.append(((dense.tobytes(),), error, 0.0))
    with writer.PackWriter(
        out,
        {"name": "bands", **plan.metadata, "parameters": plan.parameters},
        [writer.CodebookEntry(book.bits, book.t1, book.t2) for book in books],
        {"tokenizer": write_blob(read_tokenizer(source.directory))},
        entries,
        parts=[PART],
    ) as file:
        for pieces, error, scale in data:
            file.write_tensor(pieces, error, scale)
        file.commit()


def _layer_options(out: Path, scratch: Path) -> None:
    """All layer options that go together, of 16 bits."""
    changes = {"model_type": "olmo2", "tie_word_embeddings": True, "num_hidden_layers": 2}
    plan = plan_model(open_source(tiny_models.write(golden_models.llama(**changes), scratch / "golden")))
    options = {
        "attention.norm_kind": "layer", "position.rotary_layers": (1, 0), "attention.temperature": 0.5,
        "attention.temperature_tokens": 4,
    }  # fmt: skip
    stores = [storage.dense(tensor, 16) for tensor in plan.tensors]
    entries = [
        writer.TensorEntry(tensor.name, store.kind, tensor.rows, tensor.cols, store.n_bytes)
        for tensor, store in zip(plan.tensors, stores, strict=True)
    ]
    metadata = {"name": "layer_options", **plan.metadata, **options, "parameters": plan.parameters}
    blobs = {"tokenizer": write_blob(read_tokenizer(scratch / "golden"))}
    with writer.PackWriter(out, metadata, [], blobs, entries, parts=options_part(metadata)) as file:
        for tensor, store in zip(plan.tensors, stores, strict=True):
            dense, error = storage.dense_data(tensor.read(), store.kind)
            file.write_tensor((dense.tobytes(),), error, 0.0)
        file.commit()


def _ternary(out: Path, scratch: Path) -> None:
    """Ternary and binary matrices beside a trellis, in a model with norms inside its blocks."""
    pack(golden_models.write_ternary(scratch / "golden"), out, PackOptions(bits=6, calibrate="none"))


def _encoder(name: str) -> Write:
    """An encoder with all that its kind has: norms behind or before the sums, windows, segments, heads."""

    def write(out: Path, scratch: Path) -> None:
        encoder_files.write(out, encoder_files.GOLDEN[name], planes=(4, 2), blobs=scratch)

    return write


FILES: dict[str, dict[str, Write]] = {
    "v1": {
        "bits4": _packed(golden_models.llama(), (4,), (4, 2)),
        "bits3": _packed(golden_models.llama(), (3,), (4, 2)),
        "bits2": _packed(golden_models.llama(), (2,), (4,)),
        "odd": _packed(golden_models.ODD, (3, 2), (4, 2)),
        "half": _packed(golden_models.llama(), (), ()),
        "bfloat": _packed(golden_models.GPT2, (), (), "BF16"),
        "planes": _planes,
    },
    "v2": {"extremes": _smooth_codes},
    "v3": {
        "parts": _parts,
        "bands": _bands,
        "layer_options": _layer_options,
        "experts": _packed(golden_models.EXPERTS, (3, 2), (4,)),
        "shared": _packed(golden_models.SHARED, (3,), (4,)),
        "hybrid": _packed(golden_models.HYBRID, (4,), (4, 2)),
        "layers": _packed(golden_models.LAYERS, (4,), (3,)),
        "delta_net": _packed(golden_models.DELTA_NET, (4,), (3,)),
        "state_space": _packed(golden_models.STATE_SPACE, (3,), (4,)),
        "groups": _ternary,
        **{name: _encoder(name) for name in encoder_files.GOLDEN},
    },
}


ANSWERS: dict[str, Write] = {
    name: _packed(tiny_models.MODELS[name], planes, wide) for name, (planes, wide) in golden_models.ANSWERS.items()
}


def _encoder_decoder(out: Path, scratch: Path) -> None:
    model = tiny_encoder_decoders.ENCODER_DECODERS["t5_v1_1"]
    with fixed_planes((4, 2), (4,)):
        pack(tiny_encoder_decoders.write(model, scratch / "golden"), out, PackOptions(bits=4, calibrate="none"))


# For native/tests/test_encoder_decoder.c, and for random damage.
ENCODER_DECODERS: dict[str, Write] = {"t5": _encoder_decoder}


def _digest(values: np.ndarray, dtype: str) -> str:
    return hashlib.sha256(values.astype(dtype).tobytes()).hexdigest()


def describe(path: Path) -> dict[str, Any]:
    """What a reader must find in a file."""
    index = read_index(path)
    tensors: dict[str, Any] = {}
    with Model.open(path) as model:
        for name, tensor in index.tensors.items():
            matrix, first = index.place(name)
            values = model.tensor_rows(matrix, first, tensor.rows)
            places = np.linspace(0, values.size - 1, N_SAMPLES).astype(int)
            found: dict[str, Any] = {
                "kind": tensor.kind, "rows": tensor.rows, "cols": tensor.cols,
                "samples": [[int(place), float(values.flat[place])] for place in places],
            }  # fmt: skip
            if tensor.kind == writer.KIND_TRELLIS:
                found["planes"] = [index.codebooks[book][0] for book in tensor.codebooks]
                found["integers"] = [_digest(plane, "<i2") for plane in plane_integers(index, name)]
            else:
                found["values"] = _digest(values, "<f4")
            tensors[name] = found
    metadata = {key: list(value) if isinstance(value, tuple) else value for key, value in index.metadata.items()}
    found = {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "metadata": metadata,
        "tokenizer": hashlib.sha256(index.blobs["tokenizer"]).hexdigest(),
        "tensors": tensors,
    }
    if index.parts:
        found["parts"] = {
            name: [part.version, part.flags, part.more.hex(), hashlib.sha256(part.data).hexdigest()]
            for name, part in index.parts.items()
        }
        if "modes" in index.parts:
            found["modes"] = reference_decoder.modes(index.parts["modes"].data)
    return found


def write_files(folder: Path, files: dict[str, Write], force: bool) -> list[Path]:
    """Those that are missing in the folder; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, write in files.items():
        path = folder / f"{name}.rbe"
        if path.exists() and not force:
            continue
        path.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            write(path, Path(scratch))
        written.append(path)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")
    return written


def write_version(folder: Path, files: dict[str, Write], force: bool) -> None:
    """Adds what is missing in the folder of a version."""
    record = folder / "expected.json"
    written = write_files(folder, files, force)
    expected = json.loads(record.read_text()) if record.exists() else {}
    expected |= {path.stem: describe(path) for path in written}
    lines = [f"{json.dumps(name)}: {json.dumps(expected[name], ensure_ascii=False)}" for name in sorted(expected)]
    record.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main() -> None:
    for version, files in FILES.items():
        write_version(GOLDEN / version, files, sys.argv[1:] == ["--force"])
    write_files(GOLDEN / "answers", ANSWERS, sys.argv[1:] == ["--force"])
    write_files(GOLDEN / "encoder_decoders", ENCODER_DECODERS, sys.argv[1:] == ["--force"])


if __name__ == "__main__":
    main()
