"""Finds instructions that a target's oldest processor lacks, outside the kernels that are chosen at run time.

    python tools/baseline.py build/aarch64-linux            the objects of a build, and its programs
    python tools/baseline.py build/host --json

A kernel set may use what its folder and suffix promise (native/src/kernels/), nothing else may. Each object is
disassembled. So is each linked program: there, functions of the kernel sets are left out by name, and what the system's
C library chooses at run time is listed in KNOWN. Exits with 1 where something is found. Needs objdump and nm for the
target's processor (Debian: binutils of the cross compilers, or llvm-objdump).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: By processor, what it may lack: feature -> instructions as objdump writes them, mnemonic and operands.
FEATURES: Mapping[str, Mapping[str, str]] = {
    "aarch64": {
        "lse": r"(cas|ldadd|ldclr|ldeor|ldset|lds(max|min)|ldu(max|min)|swp|stadd|stclr|steor|stset)[alpbh]*\s",
        "dotprod": r"[us]dot\s+v",
        "i8mm": r"(usdot|sudot|[us]mmla|usmmla)\s",
        "bf16": r"bf(dot|mmla|mlal|cvt)",
        "fp16": r"f(?!cvt|mov)\w+\s+(v\d+\.[48]h|h\d+)|fcvt\w+\s+v\d+\.[48]h, v\d+\.[48]h|fmov\s+h\d+,",
        "rdm": r"sqrdml[as]h\s",
        "rcpc": r"ldapu?r",
        "crc": r"crc32",
        "crypto": r"(aes|sha\d|sm[34])\w*\s+[vqs]|pmull2?\s+v\d+\.1q",
        "sve": r".*\b[zp]\d+(\.[bhsdq]|/[mz])|(cnt|inc|dec|ptrue|whil)[bhwd]\s|rdvl\s",
    },
    "arm": {
        "division": r"[us]div\w*\s",
        "vfpv4": r"vfn?m[as]\w*\.|vcvt[bt]?\w*\.f16|vcvt[bt]?\w*\.f32\.f16",
        "armv8": r"(lda|stl)(ex)?[bhd]?\s|vrint|v(max|min)nm|vsel\w*\.|vcvt[anpm]\.|crc32|(aes|sha\d)\w*\.",
    },
    "x86-64": {
        "avx": r"v(?!er[rw]\b|mcall|mlaunch)[a-z0-9]+\s+.*%[xyz]mm|vzero(upper|all)|k(mov|or|and|test)\w*\s+.*%k\d",
        "sse3": r"addsubp|haddp|hsubp|lddqu|movddup|movs[hl]dup",
        "ssse3": r"pabs|palignr|phadd|phsub|pmaddubsw|pmulhrsw|pshufb|psign",
        "sse4": r"blendv?p|pblend|dpp[sd]|extractps|insertps|mpsadbw|packusdw|pcmp(eq|gt)q|pcmp[ei]str|phminpos|"
        r"p(extr|insr)[bdq]|pm(ax|in)(sb|sd|uw|ud)|pmov[sz]x|pmuldq|pmulld|ptest|pclmul|round[ps][sd]|crc32",
        "bit counts": r"(popcnt|[lt]zcnt|andn|bextr|blsi|blsmsk|blsr|bzhi|mulx|pdep|pext|rorx|s[ah][lr]x|movbe)\w?\s",
    },
}

#: What a kernel set may use: part of an object's path -> features.
ALLOWED: Mapping[str, tuple[str, ...]] = {
    "kernels/neon/": ("vfpv4",),  # of 32-bit ARM; on 64-bit ARM it is the baseline
    "_crc.c": ("crc",),
    "_dotprod.c": ("dotprod",),
    "_i8mm.c": ("dotprod", "i8mm"),
    "kernels/avx2/": ("avx", "sse3", "ssse3", "sse4", "bit counts"),
    "kernels/avx512/": ("avx", "sse3", "ssse3", "sse4", "bit counts"),
}

#: Functions of C libraries and compilers, which ask the processor before they use what it may lack.
KNOWN = re.compile(
    r"__aarch64_(cas|swp|ld)\w*|_dl_\w+|__(mem|str|wcs|wmem)\w+_(sve|mops|neon|avx|sse|evex|ssse)\w*|__init_cpu_features\w*"
)

_ELF_MACHINES = {183: "aarch64", 40: "arm", 62: "x86-64"}
_PREFIXES = {"aarch64": "aarch64-linux-gnu-", "arm": "arm-linux-gnueabihf-", "x86-64": "x86_64-linux-gnu-"}
_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\s+(.*)$")


@dataclass(frozen=True)
class Finding:
    file: str
    function: str
    feature: str
    instruction: str


def processor_of(path: Path) -> str | None:
    """Of an ELF file; None of others."""
    with path.open("rb") as file:
        head = file.read(20)
    return _ELF_MACHINES.get(int.from_bytes(head[18:20], "little")) if head[:4] == b"\x7fELF" else None


def tool(name: str, processor: str) -> str:
    for candidate in (_PREFIXES[processor] + name, f"llvm-{name}"):
        if shutil.which(candidate):
            return candidate
    sys.exit(f"baseline.py: no {name} for {processor} here; install Debian's {_PREFIXES[processor]}binutils or llvm")


def instructions(listing: str) -> Iterator[tuple[str, str]]:
    """(function, instruction) of what objdump -d --no-show-raw-insn wrote."""
    function = "?"
    for line in listing.splitlines():
        if begins := _FUNCTION.match(line):
            function = begins[1]
        elif code := _INSTRUCTION.match(line):
            yield function, code[1].strip()


def features_of(instruction: str, processor: str) -> list[str]:
    """That the instruction needs beyond the processor's baseline."""
    return [name for name, pattern in FEATURES[processor].items() if re.match(pattern, instruction + " ")]


def allowed(path: str) -> set[str]:
    return {feature for part, features in ALLOWED.items() if part in path for feature in features}


def findings(path: Path, processor: str, permitted: set[str], left_out: set[str]) -> list[Finding]:
    command = [tool("objdump", processor), "-d", "--no-show-raw-insn", str(path)]
    listing = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace").stdout
    found: dict[tuple[str, str], Finding] = {}
    for function, instruction in instructions(listing):
        if KNOWN.fullmatch(function) or function.split(".")[0] in left_out:
            continue
        for feature in features_of(instruction, processor):
            if feature not in permitted:
                found.setdefault((function, feature), Finding(path.name, function, feature, instruction))
    return list(found.values())


def functions_of(path: Path, processor: str) -> set[str]:
    """That the object defines, without what compilers append to the names of parts."""
    command = [tool("nm", processor), "--defined-only", str(path)]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    fields = (line.split() for line in listing.splitlines())
    return {field[-1].split(".")[0] for field in fields if len(field) >= 2 and field[-2] in "tT"}


def check(build: Path) -> tuple[list[Finding], int]:
    """Findings, and how many files were read: objects of the library and the C program, then what is linked."""
    found: list[Finding] = []
    kernels: set[str] = set()
    objects = [path for path in sorted(build.rglob("*.o")) if "rbe_objects" in str(path) or "/cli/" in str(path)]
    linked = [path for path in sorted((build / "native").iterdir()) if path.is_file() and processor_of(path)]
    for path in objects:
        if processor := processor_of(path):
            permitted = allowed(str(path))
            found += findings(path, processor, permitted, set())
            kernels |= functions_of(path, processor) if permitted else set()
    for path in linked:
        if path.name == "rbe" or ".so" in path.name:
            found += findings(path, processor_of(path) or "", set(), kernels)
    return found, len(objects)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, nargs="+")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    failed = False
    for build in arguments.build:
        found, n_objects = check(build)
        failed |= bool(found) or n_objects == 0
        if arguments.json:
            print(json.dumps([vars(each) for each in found]))
            continue
        for each in found:
            print(f"{each.file}: {each.function}: {each.instruction} needs {each.feature}")
        verdict = f"{len(found)} functions need more than the baseline" if found else "no function needs more"
        print(f"{build}: {n_objects} objects, {verdict}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
