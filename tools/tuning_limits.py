"""What more could be tuned, or coded otherwise (docs/tuning.md): tables and block scales fitted by least squares with
the streams of a file as they are, and how unequally the rows of its source's matrices count.

    python tools/tuning_limits.py fit w2.rbe exact.rbe layers.0.attention.q layers.2.feed_forward.up
    python tools/tuning_limits.py rows exact.rbe wiki.valid.raw --windows 6

exact.rbe is the source packed with --bits 32.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import trellis
from rbe_edge.format.reader import read_file
from rbe_edge.runtime.gradient_values import Gradient
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.text_windows import text_windows

WINDOW = 512
Floats = npt.NDArray[np.float64]


def fit(file: Path, exact: Path, names: Sequence[str]) -> Iterator[str]:
    """Relative squared error of matrices of one plane with fitted row scales, alone and with tables or block scales."""
    stored = read_file(file)
    with Model.open(exact) as source, Model.open(file):  # the second is checked so
        for name in names:
            tensor, data = stored.tensors[name], stored.data(name)
            entry = tensor.entry
            (scales,) = stored.row_scales(name, data)  # one plane
            book = stored.codebooks[entry.codebooks[0]]
            (layout,) = trellis.plane_layouts(entry.rows, entry.cols, (book.bits,))
            start = -(-2 * entry.rows // 64) * 64
            stream = np.frombuffer(bytes(data[start : start + layout.stream_bytes]), np.uint8)

            def decode(tables: Sequence[int]) -> Floats:
                custom = trellis.Codebook(book.bits, tuple(tables[:16]), tuple(tables[16:]), 1.0)  # noqa: B023
                found = trellis.decode_plane(
                    stream, scales.view(np.uint16), entry.cols, custom, layout.unit_rows, tensor.tensor_scale  # noqa: B023
                )  # fmt: skip
                return found.astype(np.float64)

            rotated = source.tensor_rows(name)
            trellis.rotate(rotated, entry.rotation_block, entry.seed)
            weights, decoded = rotated.astype(np.float64), decode([*book.t1, *book.t2])
            # row scales first: those of a calibrated file are larger than least squares has them (docs/codec.md)
            by_row = (decoded * weights).sum(1, keepdims=True) / np.square(decoded).sum(1, keepdims=True)
            decoded *= by_row
            parts = np.stack([(by_row * decode([int(i == j) for j in range(32)])).ravel() for i in range(32)])
            moved = np.linalg.lstsq(parts @ parts.T, parts @ (weights - decoded).ravel(), rcond=1e-9)[0] @ parts
            blocks = []
            by_block = decoded.copy()
            for first in range(0, entry.cols, 256):
                part = (slice(None), slice(first, first + 256))
                blocks.append((decoded[part] * weights[part]).sum() / np.square(decoded[part]).sum())
                by_block[part] *= blocks[-1]
            errors = [
                np.square(weights - some).sum() / np.square(weights).sum()
                for some in (decoded, decoded + moved.reshape(decoded.shape), by_block)
            ]
            yield (
                f"{name}: row scales fitted {errors[0]:.5f}, tables too {errors[1]:.5f}, "
                f"block scales too {errors[2]:.5f} ({', '.join(f'{scale:.3f}' for scale in blocks)})"
            )


def rows(exact: Path, text: str, n_windows: int) -> Iterator[str]:
    """Geometric over arithmetic mean of E[g^2] x the energy of a row, over the rows of a matrix; mean over layers. g:
    gradient of -ln p at the matrix' output, p of tokens drawn from the model."""
    squares: dict[str, Floats] = {}

    def gather(gradient: Gradient) -> None:
        if gradient.x is not None:
            total = squares.setdefault(gradient.name, np.zeros(gradient.rows))
            part = total[gradient.first_row : gradient.first_row + gradient.d.shape[1]]
            part += np.square(gradient.d.astype(np.float64)).sum(0)

    means = defaultdict(list)
    with Model.open(exact) as source:
        layers, context = source.info.layers, min(WINDOW, source.info.context)
        windows = text_windows(source, text, context, n_windows)
        with (
            source.session(context=context, kv="f32", pass_tokens=context) as session,
            source.gradients(tokens=context, context=context) as gradients,
        ):
            for number, window in enumerate(windows):
                states = [session.embed(window)]
                for layer in range(layers):
                    states.append(states[-1].copy())
                    session.run_layers(layer, 1, states[-1])
                d_hidden = gradients.head(states[-1], seed=number, show=gather).d_hidden
                for layer in reversed(range(layers)):
                    gradients.layer(layer, states[layer], d_hidden, gather)
        for name, counts in squares.items():
            energy = np.square(source.tensor_rows(name).astype(np.float64)).mean(1)
            product = np.maximum(counts, counts.mean() * 1e-6) * energy
            means[name.split(".", 2)[-1]].append(np.exp(np.log(product).mean()) / product.mean())
    for part, values in means.items():
        yield f"{part}: {np.mean(values):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    fitted = commands.add_parser("fit")
    fitted.add_argument("file", type=Path)
    fitted.add_argument("exact", type=Path)
    fitted.add_argument("names", nargs="+")
    counted = commands.add_parser("rows")
    counted.add_argument("exact", type=Path)
    counted.add_argument("text", type=Path)
    counted.add_argument("--windows", type=int, default=6)
    arguments = parser.parse_args()
    if arguments.command == "fit":
        lines = fit(arguments.file, arguments.exact, arguments.names)
    else:
        lines = rows(arguments.exact, arguments.text.read_text(encoding="utf-8"), arguments.windows)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
