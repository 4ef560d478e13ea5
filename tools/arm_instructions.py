"""Counts the vector instructions per 16 weights in the hot loops of the ARM kernels, and fails where they have grown.

    python tools/arm_instructions.py [--compiler aarch64-linux-gnu-gcc] [--json]

The kernels with the Armv8.2 dot product and those of any 64-bit ARM are compiled as the build does, and disassembled.
The hot loop of a kernel is its innermost loop with the most products, each of which takes 16 weights: `sdot`, or
`smlal2` and `smull2` with their other halves. Only loops for narrow tables have `smlal2`. Loads and stores, which
other pipes serve, are counted apart. A Raspberry Pi 5 can spend 15 / 7.6 / 11 / 15 vector instructions on 16 weights
of K = 4 / 2 / 3 / {2,2} before its memory, about 10 GB/s, is the limit.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = REPOSITORY / "native" / "src" / "kernels" / "neon"
FLAGS = ("-O3", "-DNDEBUG", "-std=c11", "-ffp-contract=off", "-D_POSIX_C_SOURCE=200809L")
COMPILER = "aarch64-linux-gnu-gcc"

#: For each source: its own flags, and the products that take 16 weights, those of the hot loop first.
SETS = {
    "integer_dotprod": (("-march=armv8.2-a+dotprod",), ("sdot",)),
    "integer": ((), ("smlal2", "smull2")),
}

#: Vector arithmetic per 16 weights that each kernel may have. {2,2} is two calls of K = 2.
LIMITS = {
    "integer_dotprod": {"dot_k4": 6.5, "dot_k2": 7.5, "dot_k3": 9.0},
    "integer": {"dot_k4": 8.8, "dot_k2": 9.5, "dot_k3": 11.3, "multiply_narrow_tile": 3.3},
}

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
    """Per 16 weights. memory: loads and stores of vectors; limit: of `vector`, infinite where there is none."""

    source: str
    kernel: str
    vector: float
    memory: float

    @property
    def limit(self) -> float:
        return LIMITS[self.source].get(self.kernel, math.inf)


def functions(disassembly: str) -> Iterator[tuple[str, list[Instruction]]]:
    """Every function of an objdump."""
    for part in re.split(r"\n(?=[0-9a-f]+ <)", disassembly):
        head = re.match(r"[0-9a-f]+ <(\w+)>:\n", part)
        if head is not None:
            found = [_INSTRUCTION.match(line) for line in part[head.end() :].splitlines()]
            yield head[1], [Instruction(int(m[1], 16), m[2], m[3]) for m in found if m is not None]


def hot_loop(code: Sequence[Instruction], products: Sequence[str]) -> list[Instruction]:
    """The innermost loop with the most of the first product, then of the next; [] where there is none."""
    backward = [(i.target, i.address) for i in code if i.target is not None and i.target <= i.address]
    inner = [
        (first, last)
        for first, last in backward
        if not any(first <= f and l <= last and (f, l) != (first, last) for f, l in backward)  # noqa: E741
    ]
    loops = [[i for i in code if first <= i.address <= last] for first, last in inner]
    return max(loops, key=lambda loop: [sum(i.name == each for i in loop) for each in products], default=[])


def count(source: str, kernel: str, code: Sequence[Instruction]) -> Count:
    products = SETS[source][1]
    loop = hot_loop(code, products)
    dots = sum(i.name in products for i in loop)
    if dots == 0:
        raise ValueError(f"{kernel}: no loop with products was found")
    vectors = [i for i in loop if i.on_vectors]
    memory = sum(i.moves_memory for i in vectors)
    return Count(source, kernel, (len(vectors) - memory) / dots, memory / dots)


def disassembly(compiler: str, source: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "kernels.o"
        includes = (f"-I{REPOSITORY / 'native' / 'src'}", f"-I{REPOSITORY / 'native' / 'include'}")
        file = SOURCES / f"{source}.c"
        subprocess.run([compiler, *FLAGS, *SETS[source][0], *includes, "-c", str(file), "-o", str(out)], check=True)
        objdump = compiler.removesuffix("gcc") + "objdump"
        command = [objdump, "-d", "--no-show-raw-insn", str(out)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def counts(compiler: str) -> list[Count]:
    found = []
    for source in SETS:
        code = dict(functions(disassembly(compiler, source)))
        kernels = ["dot_k1", "dot_k2", "dot_k3", "dot_k4", *(LIMITS[source].keys() - {"dot_k2", "dot_k3", "dot_k4"})]
        found += [count(source, kernel, code[kernel]) for kernel in kernels]
    return found


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
        by_name = {f"{each.source} {each.kernel}": each for each in found}
        print(json.dumps({name: {"vector": each.vector, "memory": each.memory} for name, each in by_name.items()}))
    else:
        for each in found:
            limit = f", limit {each.limit:g}" if each.limit < math.inf else ""
            name = f"{each.source} {each.kernel}"
            print(f"{name}: {each.vector:.2f} vector{limit}, {each.memory:.2f} loads and stores per 16 weights")
    return int(any(each.vector > each.limit for each in found))


if __name__ == "__main__":
    sys.exit(main())
