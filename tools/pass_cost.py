"""What a pass over a few tokens costs, in tokens that are decoded one by one.

    python tools/pass_cost.py FILE.rbe [--kernels avx2] [--tokens 2,3,4,6,8,16] [-t 1] [--passes 60] [--json]

A check of guessed tokens is such a pass, and so is a step of a batch. Passes of each size begin behind the same 32
tokens. The time of a size is the tenth of its passes from below, divided by that of passes of one token, which take
turns with the others: what runs beside them makes single passes slower, and none faster.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rbe_edge import Model
from rbe_edge.runtime.session import Session

PROMPT = 32


def seconds(session: Session, sizes: Sequence[int], n_passes: int) -> dict[int, float]:
    """Of a pass of each size, by the size."""
    vocabulary = session.model.info.vocabulary
    tokens = [(7 * index + 3) % vocabulary for index in range(PROMPT + max(sizes))]
    session.prefill(tokens[:PROMPT])
    taken: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(n_passes):
        for size in sizes:
            session.rewind(PROMPT)
            began = time.perf_counter()
            session.prefill(tokens[PROMPT : PROMPT + size])
            taken[size].append(time.perf_counter() - began)
    return {size: sorted(times)[len(times) // 10] for size, times in taken.items()}


def costs(path: Path, kernels: str | None, sizes: Sequence[int], threads: int, n_passes: int) -> dict[int, float]:
    """Of a pass of each size, in passes of one token."""
    most = max(sizes)
    with (
        Model.open(path, kernel_set=kernels) as model,
        model.session(context=PROMPT + most, threads=threads, pass_tokens=max(most, PROMPT)) as session,
    ):
        found = seconds(session, [1, *sizes], n_passes)
    return {size: found[size] / found[1] for size in sizes}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--kernels", metavar="SET", help="a kernel set, such as avx2 (the best)")
    parser.add_argument("--tokens", default="2,3,4,6,8,16", metavar="N,N", help="sizes of passes (%(default)s)")
    parser.add_argument("-t", "--threads", type=int, default=1, help="%(default)s")
    parser.add_argument("--passes", type=int, default=60, help="of each size (%(default)s)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    sizes = [int(size) for size in options.tokens.split(",")]
    if min(sizes) < 2 or options.passes < 1:
        parser.error("sizes are 2 or more, and passes 1 or more")
    found = costs(options.file, options.kernels, sizes, options.threads, options.passes)
    if options.json:
        print(json.dumps(found))
    else:
        for size, cost in found.items():
            print(f"{size:4} tokens  {cost:5.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
