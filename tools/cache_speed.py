"""What the weight cache gains (docs/engine.md, "Memory"): a small model whose positions, or one projection, are `basis`
or `seed64`, run with the cache and without. Prints the time of a look-up, and of the projections, per token.

    python tools/cache_speed.py
"""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np

from rbe_edge import Model
from rbe_edge.bench import shapes
from rbe_edge.codes import basis
from rbe_edge.format import writer
from rbe_edge.runtime.options import CachePolicy

WIDTH, CONTEXT, TOKENS, REPEATED = 768, 1024, 128, 5
SHAPE = shapes.Shape("small", "nothing", 1, WIDTH, 12, 12, 64, 3072, 512)
OFF = CachePolicy(embeddings=False, attention=False, feed_forward=False)


def coded(kind: int, rows: int, cols: int) -> tuple[bytes, bytes]:
    """The data and the index entry of a smooth table."""
    if kind == writer.KIND_SEED64:
        return struct.pack("<Qf", 0x8F63A09C5EF86590, 0.1), b""
    down, across = np.mgrid[0:rows, 0:cols].astype(np.float32)
    table = 0.1 * np.sin(down / (1 + across % 61)).astype(np.float32)  # columns have no order, as in real tables
    stored = basis.Analysis(table, basis.Shape(64, 256, basis.COLUMN_COSINES)).quantise(0.02).encode()
    return stored.data, stored.entry


def write_model(out: Path, name: str, kind: int) -> None:
    """In fp32 but for the tensor of that name."""
    tensors = [*((n, r, c) for n, r, c in SHAPE.tensors()), ("positions", CONTEXT, WIDTH)]
    random = np.random.default_rng(1)
    entries, parts = [], []
    for tensor, rows, cols in tensors:
        if tensor == name:
            data, entry = coded(kind, rows, cols)
        else:
            values = random.standard_normal((rows, cols), np.float32) / np.float32(cols**0.5)
            data, entry = values.tobytes(), b""
        stored = kind if tensor == name else writer.KIND_FP32
        entries.append(writer.TensorEntry(tensor, stored, rows, cols, len(data), own=entry))
        parts.append(data)
    metadata = {**shapes.shape_metadata(SHAPE, (4,)), "context": CONTEXT, "position.kind": "learned"}
    with writer.PackWriter(out, metadata, [], {}, entries) as file:
        for part in parts:
            file.write_tensor([part], 0.0)
        file.commit()


def microseconds(path: Path, cache: CachePolicy | None, operation: str) -> tuple[float, float]:
    """Per call of the operation, decoding token by token: the first time, and when everything was needed before."""
    found = []
    with Model.open(path, cache=cache) as model:
        for _ in range(1 + REPEATED):
            with model.session(threads=1, profile=True) as session:
                for token in range(TOKENS):
                    session.prefill([token])
                (entry,) = (entry for entry in session.profile if entry.operation == operation)
                found.append(1e3 * entry.ms / entry.calls)
    return found[0], sorted(found[1:])[REPEATED // 2]


def main() -> None:
    cases = [("positions", "embedding"), ("layers.0.attention.q", "query, key, value")]
    for name, operation in cases:
        for kind, kind_name in ((writer.KIND_BASIS, "basis"), (writer.KIND_SEED64, "seed64"), (0, "fp32")):
            with tempfile.TemporaryDirectory(prefix="rbe-cache-") as directory:
                path = Path(directory) / "model.rbe"
                write_model(path, name if kind else "", kind)
                _, off = microseconds(path, OFF, operation)
                first, on = microseconds(path, None, operation)
            print(f"{name:22} {kind_name:7} off {off:9.1f} us, first {first:9.1f} us, kept {on:9.1f} us")


if __name__ == "__main__":
    main()
