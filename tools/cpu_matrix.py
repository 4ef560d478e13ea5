"""Does it run on old processors, and answer the same there? Runs tests of builds under qemu as several processors, and
one generation whose text must be the same everywhere.

    python tools/cpu_matrix.py --x86 build/host --arm64 build/aarch64-linux --arm build/armv7-linux
    python tools/cpu_matrix.py --arm64 build/aarch64-linux --cpu cortex-a53 --tests all

Without --tests: those of kernels and tokenizer, the ones that take each instruction set and each vector of text.
`all` runs every native test. Prints a line for each run with its seconds, and exits with 1 where one fails or a text
differs. Needs qemu-user-static and the C libraries of the cross compilers (CONTRIBUTING.md, "Building and testing").
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAM = "rbe"
MODEL = REPOSITORY / "rbe_edge" / "demo" / "demo.rbe"
GENERATION = ("run", str(MODEL), "-p", "A small computer", "-n", "24", "--temp", "0.8", "-s", "7", "-t", "2")
TESTS = ("kernels", "tokenizer", "tokenizer_blob")

#: Under which processors a build runs, and the emulator with the C library's folder.
PROCESSORS = {
    "x86": ("qemu-x86_64-static", "/", ("Nehalem", "Haswell")),
    "arm64": ("qemu-aarch64-static", "/usr/aarch64-linux-gnu", ("cortex-a53", "cortex-a72", "cortex-a76", "max")),
    "arm": ("qemu-arm-static", "/usr/arm-linux-gnueabihf", ("cortex-a7",)),
}

#: Of the kernel test, where not all: the sets that it emulates itself would take minutes in an emulator. slack: qemu
#: 7.2 reads all of a vector of which AVX2 masks a part.
KERNEL_SETS = {"x86": ("slack", "scalar", "avx2")}

#: Tests that need what emulators do not have: signals of the processor as Linux gives them.
LEFT_OUT = ("faults", "amx")


@dataclass(frozen=True)
class Run:
    build: str
    cpu: str
    what: str
    command: tuple[str, ...]


def runs(build: str, directory: Path, cpus: Sequence[str], tests: Sequence[str]) -> Iterator[Run]:
    emulator, root, known = PROCESSORS[build]
    native = directory / "native"
    names = [path.name[len("test_") :] for path in sorted(native.glob("test_*")) if path.is_file()]
    names = [name for name in names if name not in LEFT_OUT] if "all" in tests else list(tests)
    for cpu in known:
        if cpus and cpu not in cpus:
            continue
        prefix = (emulator, "-cpu", cpu, "-L", root)
        yield Run(build, cpu, "text", (*prefix, str(native / PROGRAM), *GENERATION))
        for name in names:
            sets = KERNEL_SETS.get(build, ()) if name == "kernels" else ()
            yield Run(build, cpu, name, (*prefix, str(native / f"test_{name}"), *sets))


def execute(run: Run) -> tuple[bool, str, float]:
    """Whether it succeeded, what it wrote (of a test the end, where it failed), seconds."""
    began = time.monotonic()
    done = subprocess.run(run.command, capture_output=True, text=True, errors="replace")
    wrote = done.stdout if run.what == "text" else (done.stdout + done.stderr)[-2000:]
    if done.returncode != 0:
        wrote = (done.stdout + done.stderr)[-2000:]
    return done.returncode == 0, wrote, time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for build in PROCESSORS:
        parser.add_argument(f"--{build}", type=Path, metavar="DIR", help="a build directory")
    parser.add_argument("--cpu", nargs="+", default=[], help="only these processors")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help=f"({' '.join(TESTS)}), or all")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    builds = {build: getattr(arguments, build) for build in PROCESSORS if getattr(arguments, build)}
    wanted = [run for build, where in builds.items() for run in runs(build, where, arguments.cpu, arguments.tests)]
    if not wanted:
        parser.error("give a build directory")
    failed, texts = False, set()
    with ThreadPoolExecutor(arguments.jobs) as workers:
        for run, (good, wrote, seconds) in zip(wanted, workers.map(execute, wanted), strict=True):
            print(f"{run.cpu:12} {run.what:16} {'passed' if good else 'FAILED'} {seconds:7.1f} s", flush=True)
            if not good:
                failed = True
                print(wrote)
            elif run.what == "text":
                texts.add(wrote)
    print(f"{len(wanted)} runs, " + ("one text" if len(texts) == 1 else f"{len(texts)} texts, not one"))
    return int(failed or len(texts) != 1)


if __name__ == "__main__":
    sys.exit(main())
