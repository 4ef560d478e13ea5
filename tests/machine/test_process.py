"""The memory of this process: what it frees goes back to the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rbe_edge.machine import process

#: Many small blocks, the last of which stays: glibc keeps all below it.
_CODE = """
import ctypes
from rbe_edge.machine.process import give_memory_back, resident_bytes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [libc.malloc(4000) for _ in range(20000)]
for block in blocks:
    ctypes.memset(block, 1, 4000)
full = resident_bytes()
for block in blocks[:-1]:
    libc.free(block)
print(give_memory_back(), full - resident_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has such a call")
def test_freed_memory_is_given_back(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    has_call, freed = done.stdout.split()
    if has_call == "False":
        pytest.skip("this C library has no such call")
    assert int(freed) > 50_000_000


def test_descriptors_and_memory_are_told() -> None:
    assert 0 < process.resident_bytes() <= 2 * process.peak_bytes()
    assert process.spare_descriptors() > 0
