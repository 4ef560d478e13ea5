"""Whether a mixture of experts is as fast as the weights that it uses promise, and what a limit of memory costs it
(docs/performance.md, "Mixtures of experts").

    python tools/expert_speed.py active [--layers 16] [--rounds 9]
    python tools/expert_speed.py limit [--layers 16] [--rounds 9]

Both write models of random bits into a directory for a while (--directory) and take the processor time of one thread
for a token, which other work on the machine disturbs little, in alternation: the median over rounds of 16 tokens.

active: mixtures of which a token uses 2, 4 and 8 experts of 32, beside a dense model whose feed-forward part is as wide
as 4 experts. "kept" is tokens/s relative to the dense model, through bytes per token relative to it.

limit: a mixture of which a token uses 4 of 32, with a router that makes about 80 % of all choices among a quarter of
the experts, with `max_memory` of half the file and without. "share" is what the router did, counted. "kept" is tokens/s
with the limit through tokens/s without.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from rbe_edge import _native
from rbe_edge.bench import shapes
from rbe_edge.bench.shapes import Mixture, Shape
from rbe_edge.runtime.model import Model

PLANES = (4,)
EXPERTS, USED, INNER = 32, 4, 512
TOKENS = 16
WARM_TOKENS = 64
SKEW = 0.8
DRAWN_SKEW = 0.85  # of scores drawn alike for each token; hidden states of random weights resemble one another


def mixture(layers: int, used: int = USED, advantage: float = 0.0) -> Mixture:
    return Mixture("mixture", "nothing", layers, 1024, 16, 4, 64, INNER, 8192, EXPERTS, used, EXPERTS // 4, advantage)


def dense(layers: int) -> Shape:
    return Shape("dense", "nothing", layers, 1024, 16, 4, 64, USED * INNER, 8192)


def advantage_of(skew: float) -> float:
    """What must be added to the scores of a quarter of the experts, so that so many choices fall on them."""
    random = np.random.default_rng(1)
    scores = 1 / (1 + np.exp(-random.standard_normal((20000, EXPERTS))))
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        keys = scores + np.where(np.arange(EXPERTS) < EXPERTS // 4, middle, 0.0)
        chosen = np.argsort(-keys, axis=1)[:, :USED]
        low, high = (middle, high) if np.mean(chosen < EXPERTS // 4) < skew else (low, middle)
    return low


def token_seconds(models: Mapping[str, Model], rounds: int) -> dict[str, float]:
    """Processor time of a token, by model."""
    found: dict[str, list[float]] = {name: [] for name in models}
    random = np.random.default_rng(2)
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(model.session(context=4096, threads=1)) for name, model in models.items()}

        def run(name: str, tokens: list[int]) -> float:
            began = time.thread_time()
            for token in tokens:
                sessions[name].prefill([token])
            return (time.thread_time() - began) / len(tokens)

        for count, keep in ((WARM_TOKENS, False), *((TOKENS, True) for _ in range(rounds))):
            tokens = [int(token) for token in random.integers(0, 8192, count)]
            for name in models:
                seconds = run(name, tokens)
                if keep:
                    found[name].append(seconds)
    return {name: statistics.median(times) for name, times in found.items()}


def hot_share(model: Model) -> float:
    """Of all choices, those of the first quarter of the experts."""
    counts = np.zeros(EXPERTS)

    def count(layer: int, point: int, x: np.ndarray) -> None:
        if _native.CAPTURE_EXPERT_INPUT <= point < _native.CAPTURE_EXPERT_DOWN:
            counts[point - _native.CAPTURE_EXPERT_INPUT] += len(x)

    tokens = [int(token) for token in np.random.default_rng(3).integers(0, 8192, 64)]
    with model.session(context=64, threads=1) as session:
        session.run_layers(0, model.info.layers, session.embed(tokens), count)
    return float(counts[: EXPERTS // 4].sum() / counts.sum())


def measure_active(directory: Path, layers: int, rounds: int) -> None:
    made = {"dense": dense(layers)} | {f"{used} of {EXPERTS}": mixture(layers, used) for used in (2, 4, 8)}
    with ExitStack() as stack:
        models = {}
        for number, (name, shape) in enumerate(made.items()):
            path = directory / f"{number}.rbe"
            shapes.write_model(shape, PLANES, path)
            models[name] = stack.enter_context(Model.open(path, verify=False))
        seconds = token_seconds(models, rounds)
        print(f"{'':10} {'file MB':>8} {'MB/token':>9} {'ms/token':>9} {'kept':>6}")
        for name, model in models.items():
            n_bytes, base = model.read_bytes(), models["dense"].read_bytes()
            kept = seconds["dense"] / seconds[name] * n_bytes / base
            size = model.info.file_bytes / 1e6
            print(f"{name:10} {size:8.0f} {n_bytes / 1e6:9.1f} {1e3 * seconds[name]:9.2f} {kept:6.2f}")


def measure_limit(directory: Path, layers: int, rounds: int) -> None:
    path = directory / "skewed.rbe"
    shapes.write_model(replace(mixture(layers), advantage=advantage_of(DRAWN_SKEW)), PLANES, path)
    limit = path.stat().st_size // 2
    with Model.open(path, verify=False) as whole, Model.open(path, verify=False, max_memory=limit) as sparing:
        share = hot_share(whole)
        seconds = token_seconds({"whole": whole, "sparing": sparing}, rounds)
        kept = seconds["whole"] / seconds["sparing"]
        print(f"file {path.stat().st_size / 1e6:.0f} MB, limit {limit / 1e6:.0f} MB, share {share:.2f}")
        print(f"ms/token {1e3 * seconds['whole']:.2f} without, {1e3 * seconds['sparing']:.2f} with; kept {kept:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("active", "limit"))
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--directory", type=Path, help="for the models; the default is the system's for such files")
    given = parser.parse_args()
    measure: dict[str, Callable[[Path, int, int], None]] = {"active": measure_active, "limit": measure_limit}
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        measure[given.what](Path(directory), given.layers, given.rounds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
