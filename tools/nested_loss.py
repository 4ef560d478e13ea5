"""What nesting costs: one file of 2+2 bits against files of 2 and of 4 bits, nothing allocated.

    python tools/nested_loss.py ./wiki18m --calibrate wiki.valid.raw --text wiki.test.raw --windows 12

The embedding or head has two bits more: 4 in the base and in the 2-bit file, 4+2 in the whole and in the 4-bit file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rbe_edge.evaluation.divergence import Divergence, divergence
from rbe_edge.packing import pack as packing
from rbe_edge.packing.pack import PackOptions
from rbe_edge.runtime.model import Model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fixed_planes import fixed_planes

Planes = tuple[int, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--windows", type=int, default=12)
    arguments = parser.parse_args()
    text = arguments.text.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as directory:
        dense = Path(directory) / "dense.rbe"
        packing.pack(arguments.source, dense, PackOptions(bits=32))
        with Model.open(dense, verify=False) as source:

            def loss(name: str, planes: Planes, wide: Planes, nested: bool, reads: tuple[int, ...]) -> list[Divergence]:
                path = Path(directory) / f"{name}.rbe"
                with fixed_planes(planes, wide):
                    options = PackOptions(bits=4, calibrate=arguments.calibrate, nested=nested)
                    packing.pack(arguments.source, path, options)
                with Model.open(path) as packed:
                    how = {"window": arguments.window, "n_windows": arguments.windows}
                    return [divergence(packed, source, text, **how, planes=read) for read in reads]

            (two,) = loss("two", (2,), (4,), False, (0,))
            (four,) = loss("four", (4,), (4, 2), False, (0,))
            base, both = loss("nested", (2, 2), (4, 2), True, (1, 0))
    compared = (("2 bits", two, two), ("4 bits", four, four), ("base", base, two), ("both", both, four))
    for name, found, single in compared:
        print(f"{name:7} KL {found.kl:.5f} +- {found.kl_error:.5f}, {found.kl / single.kl:.2f} times a single plane's")


if __name__ == "__main__":
    main()
