"""Counts the vector instructions per 16 weights in the hot loops of the ARM kernels, and fails where they have grown.

    python tools/arm_instructions.py [--compiler aarch64-linux-gnu-gcc] [--json]

The kernels with the Armv8.2 dot product are compiled as the build does, and disassembled. The hot loop of a kernel is
its innermost loop with the most dot products, each of which takes 16 weights. Loads and stores, which other pipes
serve, are counted apart. A Raspberry Pi 5 can spend 15 / 7.6 / 11 / 15 vector instructions on 16 weights of
K = 4 / 2 / 3 / {2,2} before its memory, about 10 GB/s, is the limit.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "native" / "src" / "kernels" / "neon" / "integer_dotprod.c"
FLAGS = ("-O3", "-DNDEBUG", "-std=c11", "-ffp-contract=off", "-march=armv8.2-a+dotprod", "-D_POSIX_C_SOURCE=200809L")
COMPILER = "aarch64-linux-gnu-gcc"

#: Vector arithmetic per 16 weights that each kernel may have. {2,2} is two calls of K = 2.
LIMITS = {"dot_k4": 7.0, "dot_k2": 7.5, "dot_k3": 12.0}

_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*?)(?:\s*//.*)?$")
_BRANCHES = ("b", "cbz", "cbnz", "tbz", "tbnz")


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str
    operands: str

    @property
    def target(self) -> int | None:
        """Where a branch goes."""
        if self.name not in _BRANCHES and not self.name.startswith("b."):
            return None
        return int(self.operands.split("<")[0].split(",")[-1].strip(), 16)

    @property
    def moves_memory(self) -> bool:
        return self.name.startswith(("ld", "st"))

    @property
    def on_vectors(self) -> bool:
        return re.search(r"\bv\d+\.|\b[qdshb]\d+\b", self.operands) is not None


@dataclass(frozen=True)
class Count:
    """Per 16 weights. memory: loads and stores of vectors."""

    kernel: str
    vector: float
    memory: float


def functions(disassembly: str) -> Iterator[tuple[str, list[Instruction]]]:
    """Every function of an objdump."""
    for part in re.split(r"\n(?=[0-9a-f]+ <)", disassembly):
        head = re.match(r"[0-9a-f]+ <(\w+)>:\n", part)
        if head is not None:
            found = [_INSTRUCTION.match(line) for line in part[head.end() :].splitlines()]
            yield head[1], [Instruction(int(m[1], 16), m[2], m[3]) for m in found if m is not None]


def hot_loop(code: Sequence[Instruction]) -> list[Instruction]:
    """The innermost loop with the most dot products; [] where there is none."""
    backward = [(i.target, i.address) for i in code if i.target is not None and i.target <= i.address]
    inner = [
        (first, last)
        for first, last in backward
        if not any(first <= f and l <= last and (f, l) != (first, last) for f, l in backward)  # noqa: E741
    ]
    loops = [[i for i in code if first <= i.address <= last] for first, last in inner]
    return max(loops, key=lambda loop: sum(i.name == "sdot" for i in loop), default=[])


def count(kernel: str, code: Sequence[Instruction]) -> Count:
    loop = hot_loop(code)
    dots = sum(i.name == "sdot" for i in loop)
    if dots == 0:
        raise ValueError(f"{kernel}: no loop with a dot product was found")
    vectors = [i for i in loop if i.on_vectors]
    memory = sum(i.moves_memory for i in vectors)
    return Count(kernel, (len(vectors) - memory) / dots, memory / dots)


def counts(compiler: str) -> list[Count]:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "kernels.o"
        includes = (f"-I{REPOSITORY / 'native' / 'src'}", f"-I{REPOSITORY / 'native' / 'include'}")
        subprocess.run([compiler, *FLAGS, *includes, "-c", str(SOURCE), "-o", str(out)], check=True)
        objdump = compiler.removesuffix("gcc") + "objdump"
        command = [objdump, "-d", "--no-show-raw-insn", str(out)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    code = dict(functions(text))
    return [count(kernel, code[kernel]) for kernel in ("dot_k1", "dot_k2", "dot_k3", "dot_k4")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", default=COMPILER, help="gcc for 64-bit ARM, beside its objdump (%(default)s)")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    arguments = parser.parse_args()
    if shutil.which(arguments.compiler) is None:
        print(f"{arguments.compiler} is not installed; Debian: gcc-aarch64-linux-gnu", file=sys.stderr)
        return 2
    found = counts(arguments.compiler)
    if arguments.json:
        print(json.dumps({each.kernel: {"vector": each.vector, "memory": each.memory} for each in found}))
    else:
        for each in found:
            limit = f", limit {LIMITS[each.kernel]:g}" if each.kernel in LIMITS else ""
            print(f"{each.kernel}: {each.vector:.2f} vector{limit}, {each.memory:.2f} loads and stores per 16 weights")
    return int(any(each.vector > LIMITS.get(each.kernel, each.vector) for each in found))


if __name__ == "__main__":
    sys.exit(main())
