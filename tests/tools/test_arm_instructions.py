"""The hot loops of the ARM kernels, counted from their disassembly, may not grow."""

from __future__ import annotations

import shutil

import pytest

from tools import arm_instructions

SAMPLE = """
0000000000000000 <kernel>:
   0:\tmov\tw1, #0x4
   4:\tldr\tq0, [x0], #16
   8:\ttbl\tv1.16b, {v2.16b}, v0.16b
   c:\tsdot\tv3.4s, v1.16b, v4.16b
  10:\tsubs\tw1, w1, #0x1
  14:\tb.ne\t4 <kernel+0x4>  // b.any
  18:\tadd\tw2, w2, #0x1
  1c:\tcbnz\tw2, 0 <kernel>
  20:\tret

0000000000000024 <other>:
  24:\tret
"""


def test_the_innermost_loop_is_counted() -> None:
    code = dict(arm_instructions.functions(SAMPLE))
    assert set(code) == {"kernel", "other"} and len(code["kernel"]) == 9
    found = arm_instructions.count("integer_dotprod", "kernel", code["kernel"])
    assert (found.vector, found.memory) == (2.0, 1.0)
    with pytest.raises(ValueError, match="no loop"):
        arm_instructions.count("integer_dotprod", "other", code["other"])
    with pytest.raises(ValueError, match="no loop"):
        arm_instructions.count("integer", "kernel", code["kernel"])


@pytest.mark.skipif(
    shutil.which(arm_instructions.COMPILER) is None, reason=f"{arm_instructions.COMPILER} is not installed"
)
def test_no_kernel_has_grown() -> None:
    found = arm_instructions.counts(arm_instructions.COMPILER)
    for source, limits in arm_instructions.LIMITS.items():
        assert set(limits) <= {each.kernel for each in found if each.source == source}
    assert [each for each in found if each.vector > each.limit] == []
