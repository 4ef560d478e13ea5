"""Decoding of ternary and binary models beside llama.cpp's TQ1_0, TQ2_0 and Q1_0: tokens per second and bytes.

    python tools/ternary_speed.py [--shape 135M 768 1B] [--peer TQ1_0 TQ2_0] [--threads N] [--rounds N] [--tokens N]
                                  [--alike] [--directory DIR]

Models of these shapes are filled with random weights; that costs what trained ones do. `768` is 135M with a width of
which llama.cpp's types of 256 columns can make use: 576 columns it stores as Q4_0. Embedding and head have 6 bits on
both sides, which is most of what a token reads of 135M; --alike stores them as the other matrices. The engines take
turns, a round each, and every figure is the median of all tokens. Needs `pip install 'rbe-edge[compare]'`.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from rbe_edge import Model
from rbe_edge.bench.shapes import CONTEXT, SHAPES, Shape, shape_metadata
from rbe_edge.codes import grouped, trellis
from rbe_edge.format import writer
from rbe_edge.format.ternary import PART
from rbe_edge.llama_cpp.peer import Llama
from rbe_edge.llama_cpp.peer_model import write_gguf

WIDE = dataclasses.replace(SHAPES["135M"], name="768", width=768, heads=12, kv_heads=4)
GROUPS = {"TQ1_0": (False, 256), "TQ2_0": (False, 256), "Q1_0": (True, 128)}
EMBEDDING_PLANES = (4, 2)
PROMPT = 16


def code_of(peer: str) -> grouped.Code:
    binary, group = GROUPS[peer]
    return grouped.Code(binary, group, 1.0)


def entry_of(name: str, rows: int, cols: int, code: grouped.Code, *, alike: bool) -> writer.TensorEntry:
    if rows == 1:
        return writer.TensorEntry(name, writer.KIND_FP32, rows, cols, 4 * cols)
    if name == "embedding" and not alike:
        n_bytes = trellis.encoded_bytes(rows, cols, EMBEDDING_PLANES)
        assert n_bytes is not None
        block = trellis.rotation_block(cols)
        return writer.TensorEntry(
            name, writer.KIND_TRELLIS, rows, cols, n_bytes, rotation_block=block, codebooks=(1, 0)
        )
    kind = writer.KIND_BINARY if code.binary else writer.KIND_TERNARY
    own = struct.pack("<If", code.group, 1.0)
    return writer.TensorEntry(name, kind, rows, cols, grouped.encoded_bytes(rows, cols, code), own=own)


def data_of(entry: writer.TensorEntry, code: grouped.Code, random: np.random.Generator) -> Iterator[bytes]:
    """Scales of one over the root of the columns, and random codes."""
    if entry.kind == writer.KIND_FP32:
        pairs = np.arange(entry.cols)
        values = 500000.0 ** (-pairs / entry.cols) if entry.name == "rope.frequencies" else np.ones(entry.cols)
        yield values.astype("<f4").tobytes()
    elif entry.kind == writer.KIND_TRELLIS:
        for layout in trellis.plane_layouts(entry.rows, entry.cols, EMBEDDING_PLANES):
            yield np.ones(entry.rows, "<f2").tobytes().ljust(writer.padded(2 * entry.rows), b"\0")
            yield random.bytes(layout.stream_bytes) + bytes(-layout.stream_bytes % 64)
    else:
        rows = -(-entry.rows // grouped.UNIT_ROWS) * grouped.UNIT_ROWS
        scales = np.full(rows * -(-entry.cols // code.group), entry.cols**-0.5, "<f2").tobytes()
        yield scales
        yield random.bytes(entry.n_bytes - len(scales))


def write_model(shape: Shape, code: grouped.Code, out: Path, *, alike: bool) -> None:
    random = np.random.default_rng(1)
    shapes = [*shape.tensors(), ("rope.frequencies", 1, shape.head_dim // 2)]
    entries = [entry_of(*each, code, alike=alike) for each in shapes]
    books = [trellis.CODEBOOKS[bits] for bits in sorted(EMBEDDING_PLANES)]
    codebooks = [writer.CodebookEntry(book.bits, tuple(book.t1), tuple(book.t2)) for book in books]
    with writer.PackWriter(out, shape_metadata(shape, ()), codebooks, {}, entries, force=True, parts=[PART]) as file:
        for entry in entries:
            file.write_tensor(data_of(entry, code, random), 0.0, entry.cols**-0.5)
        file.commit(lasting=False)


class Ours:
    def __init__(self, path: Path, threads: int) -> None:
        self._model = Model.open(path, verify=False)
        self._session = self._model.session(context=1024, threads=threads)
        self._session.prefill(list(range(1, PROMPT + 1)))

    def run(self, n_tokens: int) -> list[float]:
        times = []
        for index in range(n_tokens):
            began = time.perf_counter()
            self._session.prefill([index])
            times.append(time.perf_counter() - began)
        self._session.rewind(PROMPT)
        return times


def compare(shape: Shape, peer: str, arguments: argparse.Namespace, directory: Path) -> str:
    """A line of what one type and ours give."""
    theirs, ours = directory / "peer.gguf", directory / "ours.rbe"
    embedding = peer if arguments.alike else "Q6_K"
    write_gguf(shape, CONTEXT, peer, theirs, embedding=embedding)
    write_model(shape, code_of(peer), ours, alike=arguments.alike)
    of_ours: list[float] = []
    of_theirs: list[float] = []
    with ExitStack() as stack:
        llama = stack.enter_context(Llama(theirs, 1024, arguments.threads))
        engine = Ours(ours, arguments.threads)
        for number in range(arguments.rounds + 1):
            found = engine.run(arguments.tokens), llama.run("tg", arguments.tokens, PROMPT)[1]
            if number:  # the first touches memory
                of_ours += found[0]
                of_theirs += found[1]
    mine, other = statistics.median(of_ours), statistics.median(of_theirs)
    least = min(of_theirs) / min(of_ours)
    sizes = [path.stat().st_size / 1e6 for path in (ours, theirs)]
    return (
        f"{shape.name:>5} {peer:>6}  ours {1 / mine:7.1f} tokens/s {sizes[0]:7.1f} MB   "
        f"theirs {1 / other:7.1f} tokens/s {sizes[1]:7.1f} MB   "
        f"ratio {other / mine:.2f} (of the fastest tokens {least:.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="+", default=["135M", "768", "1B"], choices=[*SHAPES, "768"])
    parser.add_argument("--peer", nargs="+", default=["TQ1_0", "TQ2_0"], choices=list(GROUPS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--alike", action="store_true", help="embedding and head as the other matrices")
    parser.add_argument("--directory", type=Path, help="for the models; a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        for name in arguments.shape:
            for peer in arguments.peer:
                shape = WIDE if name == "768" else SHAPES[name]
                if peer == "Q1_0" and shape.width % 128:
                    print(f"{name:>5} {peer:>6}  llama.cpp does not store rows of {shape.width} columns in it")
                    continue
                print(compare(shape, peer, arguments, Path(directory)), flush=True)


if __name__ == "__main__":
    main()
