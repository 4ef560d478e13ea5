"""What error feedback leaves of one matrix (docs/codec.md, "Error feedback" and "Nested planes").

    python tools/feedback_loss.py ./wiki18m --text wiki.valid.raw --tensor layers.3.attention.q
    python tools/feedback_loss.py smol.gguf --text calibration.txt --gradients --splits

Prints tr(E H E^T) of the error E, relative to that of white noise as large as the weights, for single planes, for plain
sums and for nested planes: of the first plane and of all, and as a multiple of a single plane with the same bits. H is
E[x x^T] of the text, or with --gradients that of gradients ("Curvature"), damped as the packer does. Takes some seconds
per million weights, and with --gradients a forward and a backward pass.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis
from rbe_edge.packing import sensitivity
from rbe_edge.packing.calibration import WINDOW, Calibration, read_windows
from rbe_edge.packing.curvature import Curvature
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.effort import BACKWARD_WINDOW
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

FloatArray = npt.NDArray[np.float32]
SEED = 5


def read(source: str, text: Path, tensor: str, n_tokens: int, gradients: bool) -> tuple[FloatArray, FloatArray]:
    """The weights and the feedback factor of a matrix, calibrated on the model as it is."""
    weights = next(found.read() for found in plan_model(open_source(source)).tensors if found.name == tensor)
    with tempfile.TemporaryDirectory() as directory:
        dense = Path(directory) / "dense.rbe"
        copy = DenseCopy(dense, pack(source, dense, PackOptions(bits=32)).areas)
        window = BACKWARD_WINDOW if gradients else WINDOW
        windows = read_windows(dense, text.read_text(encoding="utf-8"), n_tokens, window)
        if gradients:
            coded = sensitivity.coded(plan_model(open_source(source)).tensors)
            factor = Curvature(copy, coded, windows, lambda _: SEED).factor(tensor)
        else:
            with Calibration(copy, windows) as calibration:
                factor = calibration.factor(tensor, trellis.rotation_block(weights.shape[1]), SEED)
    assert factor is not None, f"{tensor} is not calibrated"
    return np.ascontiguousarray(weights, dtype=np.float32), factor


class Losses:
    """tr(E H E^T) of what planes leave of `weights`."""

    def __init__(self, weights: FloatArray, factor: FloatArray) -> None:
        cols = weights.shape[1]
        root = np.linalg.inv(factor[:cols, :cols].astype(np.float64))
        self.weights, self.factor, self.root = weights, factor, root.astype(np.float32)
        self.rotated = weights.copy()
        trellis.rotate(self.rotated, trellis.rotation_block(cols), SEED)
        self.unit: float = trellis.squared_norm(weights) * float((root**2).sum()) / cols

    def of(self, left: FloatArray) -> float:
        product: FloatArray = left @ self.root
        return trellis.squared_norm(product) / self.unit

    def planes(self, planes: tuple[int, ...], nested: bool = False) -> tuple[float, float]:
        """Of the first plane alone, and of all."""
        rows, cols = self.weights.shape
        encoded = trellis.encode(self.weights, planes, SEED, feedback=self.factor, nested=nested)
        layout = trellis.plane_layouts(rows, cols, planes)[0]
        scales = np.frombuffer(encoded.data[0], np.uint16, rows).copy()
        stream = np.frombuffer(encoded.data[1], np.uint8, layout.stream_bytes).copy()
        book = trellis.CODEBOOKS[planes[0]]
        first = trellis.decode_plane(stream, scales, cols, book, layout.unit_rows, encoded.tensor_scale)
        assert encoded.decoded is not None
        total = self.weights - encoded.decoded
        trellis.rotate(total, trellis.rotation_block(cols), SEED)
        return self.of(self.rotated - first), self.of(total)


def show_splits(losses: Losses) -> None:
    """Of nested sums, over those of as many bits that are not nested."""
    plain = {sum(planes): losses.planes(planes)[1] for planes in ((2,), (3,), (4,), (4, 1), (4, 2))}
    for planes in ((2, 1), (2, 2), (3, 1), (3, 2), (4, 1), (4, 2)):
        first, total = losses.planes(planes, nested=True)
        over = f"first plane {first / plain[planes[0]]:.2f}, all {total / plain[sum(planes)]:.2f}"
        print(f"nested  {{{planes[0]},{planes[1]}}} {over}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--tensor", default="layers.3.attention.q")
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--rows", type=int, default=1024, help="the first so many rows")
    parser.add_argument("--gradients", action="store_true", help="H of gradients in place of E[x x^T]")
    parser.add_argument("--splits", action="store_true", help="nested sums of all kinds, in place of {2,2} alone")
    chosen = parser.parse_args(arguments)
    weights, factor = read(chosen.source, chosen.text, chosen.tensor, chosen.tokens, chosen.gradients)
    losses = Losses(np.ascontiguousarray(weights[: chosen.rows]), factor)
    rows, cols = losses.weights.shape
    print(f"{chosen.tensor}: {rows} x {cols}; the weights themselves {losses.of(losses.rotated):.2f}")
    if chosen.splits:
        show_splits(losses)
        return
    single = {bits: losses.planes((bits,))[1] for bits in (2, 3, 4)}
    print("single  " + "  ".join(f"{{{bits}}} {loss:.6f}" for bits, loss in single.items()))
    for planes in ((3, 2), (4, 2)):
        print(f"sum     {{{planes[0]},{planes[1]}}} {losses.planes(planes)[1]:.6f}")
    for nested in (False, True):
        first, total = losses.planes((2, 2), nested)
        name = "nested  {2,2}" if nested else "sum     {2,2}"
        over = f"({first / single[2]:.2f} x {{2}}), all {total:.6f} ({total / single[4]:.2f} x {{4}})"
        print(f"{name} first {first:.6f} {over}")


if __name__ == "__main__":
    main()
