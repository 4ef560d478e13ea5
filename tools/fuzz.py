"""Fuzzes the readers of files and texts from elsewhere, and says what was found.

    python tools/fuzz.py [--seconds 30] [--target NAME]... [--kind c|python] [--jobs 2]
                          [--build build/fuzz] [--findings build/fuzz/findings]

The targets in C (native/fuzz/) are built by clang with libFuzzer and sanitizers. Those in Python (tests/fuzz/) need
atheris (`pip install 'rbe-edge[fuzz]'`) and an rbe_edge that can be imported; without atheris they are skipped, which
is said. Inputs that reach something new stay in BUILD/corpus, so that the next run begins there; tests/fuzz/corpus
holds a few that every run begins with. For each target a line tells its executions, the edges (`cov`) and features
(`ft`) of libFuzzer that it reached and how many of them are new, and findings: inputs that ended in a crash, a raw
exception, a broken demand, a hang or too much memory. Those are kept. Ends with 1 where there are some.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
KINDS = ("c", "python")
GOLDEN = ("v1", "v2", "v3", "encoder_decoders")  # folders of tests/golden whose packs target `model` begins with
MOST_BYTES = {"model": 1 << 17, "state": 1 << 13, "tokenizer": 1 << 14}  # of an input of a target in C; else 4096
SECONDS_PER_INPUT = 60  # what takes longer hangs, also on a busy machine
MEGABYTES = 3000
SHOWN = 30  # lines of the log of a target that found something


@dataclass(frozen=True)
class Target:
    """kind: one of KINDS."""

    name: str
    kind: str


@dataclass(frozen=True)
class Outcome:
    """edges, features: reached at the end, and new_edges, new_features those that the corpus did not reach. finding:
    what was kept of it, or the log where nothing was; None: there is none."""

    target: Target
    executions: int
    seconds: int
    edges: int
    features: int
    new_edges: int
    new_features: int
    finding: Path | None
    log: str


def targets() -> list[Target]:
    """All that there are."""
    c = sorted(path.stem.removeprefix("fuzz_") for path in (REPOSITORY / "native" / "fuzz").glob("fuzz_*.c"))
    python = sorted(path.stem.removeprefix("target_") for path in (REPOSITORY / "tests" / "fuzz").glob("target_*.py"))
    return [*(Target(name, "c") for name in c), *(Target(name, "python") for name in python)]


def build(folder: Path, names: Sequence[str], jobs: int) -> None:
    """Builds targets in C. Raises SystemExit where that is impossible."""
    clang = os.environ.get("CC", "clang")
    if shutil.which(clang) is None or shutil.which("cmake") is None:
        raise SystemExit("fuzz: clang with libFuzzer (Debian: clang, libclang-rt-dev) and cmake are needed")
    ninja = ["-G", "Ninja"] if shutil.which("ninja") else []
    options = ("RBE_FUZZ=ON", "RBE_SANITIZE=ON", "RBE_CODEC=OFF", "CMAKE_BUILD_TYPE=RelWithDebInfo")
    configure = ["cmake", "-S", str(REPOSITORY), "-B", str(folder), *ninja, f"-DCMAKE_C_COMPILER={clang}"]
    for command in (
        [*configure, *(f"-D{option}" for option in options)],
        ["cmake", "--build", str(folder), "--parallel", str(jobs), "--target", *(f"fuzz_{name}" for name in names)],
    ):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"fuzz: {' '.join(command)} failed:\n{done.stdout[-4000:]}")


def begin_corpus(target: Target, folder: Path, program: Path) -> None:
    """Puts what every run of a target in C begins with into its corpus; those in Python do that themselves."""
    if target.name == "model":
        for golden in GOLDEN:
            for path in (REPOSITORY / "tests" / "golden" / golden).glob("*.rbe"):
                shutil.copy(path, folder / f"{golden}-{path.name}")
    for path in (REPOSITORY / "tests" / "fuzz" / "corpus" / target.name).glob("*"):
        shutil.copy(path, folder / path.name)
    environment = {**os.environ, "RBE_FUZZ_SEEDS": str(folder)}
    subprocess.run([program, "-runs=0"], env=environment, stderr=subprocess.DEVNULL, check=True)


def command_of(target: Target, folder: Path) -> list[str]:
    if target.kind == "python":
        return [sys.executable, str(REPOSITORY / "tests" / "fuzz" / "run_target.py"), target.name]
    return [str(folder / "native" / f"fuzz_{target.name}"), f"-max_len={MOST_BYTES.get(target.name, 4096)}"]


def numbers_of(log: str) -> tuple[int, int, int, int, int]:
    """Executions, edges and features at the end, and both where the corpus had been read, of a log of libFuzzer."""
    lines = re.findall(r"^#(\d+)\t(\w+) +cov: (\d+) ft: (\d+)", log, re.MULTILINE)
    begun = next((line for line in lines if line[1] == "INITED"), None)
    if begun is None:
        return 0, 0, 0, 0, 0
    executions, _, edges, features = lines[-1]
    return int(executions), int(edges), int(features), int(begun[2]), int(begun[3])


def fuzz(target: Target, seconds: int, seed: int, folder: Path, findings: Path) -> Outcome:
    """Runs a target that was built. seed: of its random numbers; 0 is another one each time."""
    command = command_of(target, folder)
    corpus = folder / "corpus" / target.name
    for one in (corpus, findings):
        one.mkdir(parents=True, exist_ok=True)
    if target.kind == "c":
        begin_corpus(target, corpus, Path(command[0]))
    before = set(findings.iterdir())
    slow = [f"-timeout={SECONDS_PER_INPUT}", f"-report_slow_units={SECONDS_PER_INPUT}"]
    limits = [f"-max_total_time={seconds}", f"-seed={seed}", *slow, f"-rss_limit_mb={MEGABYTES}"]
    options = [*limits, f"-artifact_prefix={findings / target.name}-", str(corpus)]
    done = subprocess.run(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    )
    finding = None
    if done.returncode:
        kept = sorted(path for path in set(findings.iterdir()) - before if path.name.startswith(f"{target.name}-"))
        finding = kept[0] if kept else findings / f"{target.name}.log"
        (findings / f"{target.name}.log").write_text(done.stdout, encoding="utf-8")
    executions, edges, features, edges_before, features_before = numbers_of(done.stdout)
    new = edges - edges_before, features - features_before
    return Outcome(target, executions, seconds, edges, features, *new, finding, done.stdout)


def describe(outcome: Outcome) -> str:
    """A line of the table; behind it the end of the log where something was found."""
    found = "none" if outcome.finding is None else str(outcome.finding)
    line = (
        f"{outcome.target.name:10} {outcome.target.kind:7} {outcome.executions:11} {outcome.seconds:4} "
        f"{outcome.edges:6} {outcome.new_edges:+6} {outcome.features:7} {outcome.new_features:+7}  {found}"
    )
    return line if outcome.finding is None else "\n".join([line, *outcome.log.splitlines()[-SHOWN:]])


def chosen(names: Sequence[str], kind: str | None) -> list[Target]:
    """Raises SystemExit for a name that is none."""
    known = targets()
    unknown = sorted(set(names) - {target.name for target in known})
    if unknown:
        raise SystemExit(f"fuzz: there is no target {unknown[0]}; there are {', '.join(one.name for one in known)}")
    return [one for one in known if (not names or one.name in names) and kind in (None, one.kind)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=30, help="for each target (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; 0 is another one each time")
    parser.add_argument("--target", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--kind", choices=KINDS, help="only those in this language")
    parser.add_argument("--build", type=Path, default=REPOSITORY / "build" / "fuzz", metavar="FOLDER")
    parser.add_argument("--findings", type=Path, metavar="FOLDER", help="where they are kept")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (default 2)")
    options = parser.parse_args(arguments)
    folder = options.build.resolve()
    findings = (options.findings or folder / "findings").resolve()
    wanted = chosen(options.target, options.kind)
    if importlib.util.find_spec("atheris") is None and any(target.kind == "python" for target in wanted):
        print("skipped: the targets in Python need atheris; pip install 'rbe-edge[fuzz]'")
        wanted = [target for target in wanted if target.kind != "python"]
    in_c = [target.name for target in wanted if target.kind == "c"]
    if in_c:
        build(folder, in_c, options.jobs)
    print("target     kind     executions    s    cov    new      ft     new  finding", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = []
        for outcome in pool.map(lambda target: fuzz(target, options.seconds, options.seed, folder, findings), wanted):
            print(describe(outcome), flush=True)
            outcomes.append(outcome)
    return int(any(outcome.finding is not None for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
