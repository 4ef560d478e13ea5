"""tools/baseline.py: instructions that old processors lack are found, those that all have are not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tools import baseline

FOUND = [
    ("aarch64", "ldaddal\tw0, w0, [x1]", "lse"),
    ("aarch64", "casb\tw0, w1, [x2]", "lse"),
    ("aarch64", "swpal\tx0, x1, [x2]", "lse"),
    ("aarch64", "ldsmax\tw0, w1, [x2]", "lse"),
    ("aarch64", "sdot\tv0.4s, v1.16b, v2.4b[0]", "dotprod"),
    ("aarch64", "smmla\tv0.4s, v1.16b, v2.16b", "i8mm"),
    ("aarch64", "fadd\tv0.8h, v1.8h, v2.8h", "fp16"),
    ("aarch64", "fmul\th0, h1, h2", "fp16"),
    ("aarch64", "ldaprb\tw0, [x1]", "rcpc"),
    ("aarch64", "crc32cx\tw0, w0, x1", "crc"),
    ("aarch64", "add\tz0.s, z1.s, z2.s", "sve"),
    ("aarch64", "ld1w\t{z0.s}, p0/z, [x0]", "sve"),
    ("arm", "udiv\tr0, r1, r2", "division"),
    ("arm", "vfma.f32\tq0, q1, q2", "vfpv4"),
    ("arm", "vcvt.f32.f16\tq0, d2", "vfpv4"),
    ("arm", "ldaex\tr0, [r1]", "armv8"),
    ("x86-64", "vaddps\t%ymm0,%ymm1,%ymm2", "avx"),
    ("x86-64", "vzeroupper", "avx"),
    ("x86-64", "pshufb\t%xmm0,%xmm1", "ssse3"),
    ("x86-64", "pmulld\t%xmm0,%xmm1", "sse4"),
    ("x86-64", "popcnt\t%rax,%rbx", "bit counts"),
]

NOT_FOUND = [
    ("aarch64", "ldaxr\tw0, [x1]"),
    ("aarch64", "ldar\tw0, [x1]"),
    ("aarch64", "ldset_of_something"),
    ("aarch64", "fcvtl\tv0.4s, v1.4h"),
    ("aarch64", "fcvt\th0, s1"),
    ("aarch64", "fmla\tv0.4s, v1.4s, v2.4s"),
    ("aarch64", "cmp\tw0, w1"),
    ("aarch64", "sub\tsp, sp, #0x10"),
    ("arm", "vmla.f32\tq0, q1, q2"),
    ("arm", "vcvt.f32.s32\tq0, q1"),
    ("arm", "ldrex\tr0, [r1]"),
    ("x86-64", "movaps\t%xmm0,%xmm1"),
    ("x86-64", "verr\t%ax"),
    ("x86-64", "bsr\t%rax,%rbx"),
    ("x86-64", "movsd\t%xmm0,(%rax)"),
]


@pytest.mark.parametrize(("processor", "instruction", "feature"), FOUND)
def test_what_is_found(processor: str, instruction: str, feature: str) -> None:
    assert baseline.features_of(instruction, processor) == [feature]


@pytest.mark.parametrize(("processor", "instruction"), NOT_FOUND)
def test_what_every_processor_has(processor: str, instruction: str) -> None:
    assert baseline.features_of(instruction, processor) == []


def test_functions_of_a_listing() -> None:
    listing = "0000000000000000 <f>:\n   0:\tadd\tw0, w0, w1\n   4:\tret\n\n0000000000000008 <g.part.0>:\n   8:\tnop\n"
    assert list(baseline.instructions(listing)) == [("f", "add\tw0, w0, w1"), ("f", "ret"), ("g.part.0", "nop")]


ARM_COMPILER = "aarch64-linux-gnu-gcc"


@pytest.mark.skipif(shutil.which(ARM_COMPILER) is None, reason=f"{ARM_COMPILER} is not installed")
def test_objects_of_a_build(tmp_path: Path) -> None:
    source = tmp_path / "f.c"
    source.write_text("int f(int *p) { return __atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST); }\n")
    for folder, flags in [("old", ["-march=armv8-a", "-mno-outline-atomics"]), ("new", ["-march=armv8.1-a"])]:
        made = tmp_path / folder / "native" / "rbe_objects.dir" / "f.c.o"
        made.parent.mkdir(parents=True)
        subprocess.run([ARM_COMPILER, "-O2", *flags, "-c", str(source), "-o", str(made)], check=True)
    assert baseline.check(tmp_path / "old") == ([], 1)
    found, _ = baseline.check(tmp_path / "new")
    assert [(each.function, each.feature) for each in found] == [("f", "lse")]
