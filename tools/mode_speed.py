"""What a change of power mode costs, and whether fewer bytes give the tokens/s that they promise (docs/power.md).

    python tools/mode_speed.py change rbe_edge/demo/demo.rbe smol.rbe -t 1,2
    python tools/mode_speed.py promise --shape 1B --planes 2+2 -t 1,2

change: 200 changes between all modes. "calls" is what the governor calls between two tokens, the effort and the
threads; "processor" is what of it is processor time of the thread that calls, which other work hardly touches. "token"
is how much longer the token behind a governed change took than the mode's median, sensors, policy and threads that are
made or woken included; "noise" is the same of a later token, behind which nothing changed. A file without a table of
modes is given one in a copy that leaves out the attention of 1, 2 and 3 layers.

promise: all planes and the first plane of every matrix in alternation, with the same threads, on a model of random bits
that is larger than the caches. "kept" is tokens/s relative to each other, through bytes relative to each other.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rbe_edge.bench import shapes
from rbe_edge.bench.page_cache import forget_cached
from rbe_edge.bench.promise import measure_promise
from rbe_edge.format.modes import SKIP, ModeTable
from rbe_edge.format.modes import Mode as TableMode
from rbe_edge.format.replacing import replace_parts
from rbe_edge.machine.power import Mode, Power
from rbe_edge.runtime.effort import Effort
from rbe_edge.runtime.governor import Governor, mode_workers
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.session import Session

CHANGES = 200
STEADY = 6  # tokens behind a change; the mode's median is of the last ones of all its visits
MOST_MS = 1.0
LEAST_KEPT = 0.85


def order() -> Iterator[Mode]:
    """Each change from one mode to another in turn, CHANGES in all."""
    walk = [Mode.PERFORMANCE]
    for one, other in itertools.cycle(itertools.permutations(Mode, 2)):
        for mode in (one, other):
            if mode != walk[-1]:
                walk.append(mode)
                yield mode
                if len(walk) > CHANGES:
                    return


def calls_ms(session: Session, table: ModeTable, threads: int) -> tuple[list[float], list[float]]:
    """By the clock, and processor time of this thread."""
    times: list[float] = []
    own: list[float] = []
    for mode in order():
        effort, wanted = Effort.of_mode(table.modes[mode]), mode_workers(mode, threads)
        began, busy = time.perf_counter(), time.thread_time()
        session.set_effort(effort)
        session.set_workers(wanted)
        own.append(1e3 * (time.thread_time() - busy))
        times.append(1e3 * (time.perf_counter() - began))
        session.prefill((1,))
        session.rewind(16)
    return times, own


def token_ms(model: Model, session: Session, power: Power) -> tuple[list[float], list[float]]:
    """Of the tokens behind a change, and of those two later, each less the median of its mode."""
    behind: list[tuple[Mode, float]] = []
    later: list[tuple[Mode, float]] = []
    steady: dict[Mode, list[float]] = {mode: [] for mode in Mode}
    with Governor(model, power) as governor:
        governor.govern(session)
        for mode in order():
            governor.override(mode)
            times = []
            for _ in range(STEADY):
                began = time.perf_counter()
                session.prefill((1,))
                times.append(1e3 * (time.perf_counter() - began))
            session.rewind(16)
            behind.append((mode, times[0]))
            later.append((mode, times[2]))
            steady[mode] += times[3:]
    usual = {mode: statistics.median(times) for mode, times in steady.items() if times}
    return [spent - usual[mode] for mode, spent in behind], [spent - usual[mode] for mode, spent in later]


def with_table(path: Path, directory: Path) -> Path:
    """The file, or a copy with a table of modes."""
    with Model.open(path) as model:
        if model.modes is not None:
            return path
        n_layers = model.info.layers
    copy = directory / path.name
    shutil.copyfile(path, copy)
    left = [(SKIP,) * min(n, n_layers - 1) + (0,) * (n_layers - min(n, n_layers - 1)) for n in (1, 2, 3)]
    replace_parts(copy, [ModeTable(n_layers, (TableMode(), *(TableMode(attention=it) for it in left))).part()])
    return copy


def row(what: str, times: list[float]) -> str:
    ordered = sorted(times)
    return f"| {what} | {ordered[len(ordered) // 2]:.3f} | {ordered[-10]:.3f} | {ordered[-1]:.3f} |"


def change(paths: list[Path], threads: list[int]) -> int:
    print(f"| {CHANGES} changes, milliseconds | median | 95 % | worst |\n|---|---|---|---|")
    worst = 0.0
    for path, count in itertools.product(paths, threads):
        with (
            tempfile.TemporaryDirectory() as directory,
            Model.open(with_table(path, Path(directory))) as model,
            model.session(context=64, threads=count) as session,
            Power() as power,
        ):
            assert model.modes is not None
            session.prefill(list(range(16)))
            direct, own = calls_ms(session, model.modes, count)
            behind, later = token_ms(model, session, power)
            cost = statistics.median(behind) - statistics.median(later)
            worst = max(worst, statistics.median(direct), cost)
            name = f"{path.name}, {count} thread{'s' if count > 1 else ''}"
            for what, times in (("calls", direct), ("processor", own), ("token", behind), ("noise", later)):
                print(row(f"{name}: {what}", times), flush=True)
    if worst >= MOST_MS:
        print(f"the median change takes {worst:.3f} ms; less than {MOST_MS:g} is wanted")
    return 1 if worst >= MOST_MS else 0


def promise(shape_name: str, planes: str, threads: list[int], seconds: float) -> int:
    print("| model | threads | bytes promise | tokens/s give | kept | rounds |\n|---|---|---|---|---|---|")
    least = 1.0
    with tempfile.TemporaryDirectory() as directory:
        path, shape = Path(directory) / "shape.rbe", shapes.shape_named(shape_name)
        shapes.write_model(shape, shapes.parse_planes(planes), path)
        forget_cached(path)
        with Model.open(path, verify=False) as model:
            base = Effort((1,) * model.info.layers, (1,) * model.info.layers, 1, 1)
            for count in threads:
                found = measure_promise(model, base, count, seconds)
                assert found is not None, "give planes such as 2+2"
                least = min(least, found.kept)
                numbers = f"{found.promised:.3f} | {found.given:.3f} | {found.kept:.3f} | {found.rounds}"
                print(f"| {shape.name}, {planes} | {count} | {numbers} |", flush=True)
    if least < LEAST_KEPT:
        print(f"{least:.3f} of the promise is kept; {LEAST_KEPT:g} is wanted")
    return 1 if least < LEAST_KEPT else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("change", "promise"))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("-t", "--threads", default="1,2")
    parser.add_argument("--shape", default="1B")
    parser.add_argument("--planes", default="2+2")
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    threads = [int(word) for word in given.threads.split(",")]
    if given.what == "change":
        return change(given.files, threads)
    return promise(given.shape, given.planes, threads, given.seconds)


if __name__ == "__main__":
    raise SystemExit(main())
