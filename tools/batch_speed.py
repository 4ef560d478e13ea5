"""Tokens per second of 1, 2, 4 and 8 sessions that step together (rbe_batch_decode), and one after the other.

    python tools/batch_speed.py [FILE.rbe] [--shape 135M] [--planes 4] [--steps N] [--threads N] [--prompt TOKENS]

Without a file: a model of the shape, filled with random bits, in a temporary directory. Each figure is the median over
the steps; the two ways take turns, so that what else the machine does meets both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from rbe_edge import Model
from rbe_edge.bench.shapes import parse_planes, shape_named, write_model

COUNTS = (1, 2, 4, 8)


def measure(model: Model, n_sessions: int, steps: int, threads: int, prompt: int) -> tuple[float, float]:
    """Seconds of a step of all sessions, together and one after the other."""
    together: list[float] = []
    alone: list[float] = []
    tokens = [i % model.info.vocabulary for i in range(n_sessions)]
    with model.batch(max_sessions=n_sessions, threads=threads) as batch:
        sessions = [model.session(context=prompt + 2 * steps + 2, threads=threads) for _ in range(n_sessions)]
        for session in sessions:
            session.prefill([1 + i % 100 for i in range(prompt)])
        for step in range(steps + 1):
            began = time.perf_counter()
            batch.step(sessions, tokens)
            middle = time.perf_counter()
            for session, token in zip(sessions, tokens, strict=True):
                session.prefill([token])
            if step:  # the first touches memory
                together.append(middle - began)
                alone.append(time.perf_counter() - middle)
        for session in sessions:
            session.close()
    return statistics.median(together), statistics.median(alone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--shape", default="135M")
    parser.add_argument("--planes", type=parse_planes, default=(4,))
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=64)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = arguments.file
        if path is None:
            path = Path(directory) / "model.rbe"
            write_model(shape_named(arguments.shape), arguments.planes, path)
        with Model.open(path, verify=False) as model:
            print(f"{model.info.kernel_set} kernels, {arguments.threads} threads, {arguments.prompt} tokens before")
            for n in COUNTS:
                together, alone = measure(model, n, arguments.steps, arguments.threads, arguments.prompt)
                print(
                    f"{n} sessions: together {n / together:7.1f} tokens/s, one after the other {n / alone:7.1f}, "
                    f"ratio {alone / together:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
