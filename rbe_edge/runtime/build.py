"""What the C library of this installation is."""

from __future__ import annotations

from pathlib import Path

from rbe_edge import _native


def library_path() -> Path:
    """The file that is loaded. Raises NativeLibraryError where there is none."""
    return _native.library().path


def kernel_sets() -> dict[str, bool]:
    """Names of the kernel sets in it, worst first, and whether this processor can run each."""
    return _native.kernel_sets()
