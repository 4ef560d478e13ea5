"""What a person may choose about a packing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rbe_edge.errors import PackError
from rbe_edge.format import writer
from rbe_edge.packing import report as reports
from rbe_edge.packing import storage
from rbe_edge.packing.effort import EFFORTS, Effort
from rbe_edge.packing.effort_name import EffortName

MAX_THREADS = 64  # of the library


@dataclass(frozen=True)
class PackOptions:
    """bits: per weight of the whole file, 2 to 8 in any fraction; 16 and 32 store all matrices as they are. threads:
    None for all cores; the bytes written do not depend on it.

    force: replace an existing file. tokenizer: that of a llama2.c checkpoint, if it is not beside it. revision: branch,
    tag or commit of an org/name source. calibrate: a text in UTF-8, or the one that comes with the package, or none;
    matrices are encoded so that the errors on such text are small, and each gets bits by its sensitivity on that text
    (docs/codec.md, "Deciding bits per tensor"). It needs 8 to 11 bytes per weight of free space in the user's cache, a
    quick one about 7. nested: the first plane of every tensor is a model of its own, of about 2 bits. report: a file
    for what each tensor got and why (packing/report.py). effort: "quick" estimates what "normal" finds by
    gradients, and searches less; "best" takes more text (docs/codec.md, "Effort").
    """

    bits: float = 4
    threads: int | None = None
    force: bool = False
    tokenizer: Path | None = None
    revision: str | None = None
    calibrate: Path | Literal["built-in", "none"] = "built-in"
    nested: bool = False
    report: Path | None = None
    effort: EffortName = "normal"

    @property
    def coded(self) -> bool:
        """Whether matrices are coded at all."""
        return self.bits not in storage.DENSE_BITS

    @property
    def calibrated(self) -> bool:
        return self.coded and self.calibrate != "none"

    @property
    def work(self) -> Effort:
        return EFFORTS[self.effort]

    def __str__(self) -> str:
        """As recorded in the file (`packer.options`)."""
        effort = f" {self.effort}" if self.coded and self.effort != "normal" else ""
        nested = " nested" * (self.coded and self.nested)
        return f"bits={self.bits:g}{nested}{' calibrated' * self.calibrated}{effort}"

    def check_bits(self) -> None:
        """Raises PackError for bits that no file has."""
        if not (2 <= self.bits <= 8 or self.bits in storage.DENSE_BITS):
            raise PackError(f"--bits {self.bits:g} is not possible; give 2 to 8, fractions too, or 16 or 32")

    def check(self, out: Path) -> None:
        """Refuses what cannot be done, before anything is read. Raises PackError."""
        self.check_bits()
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise PackError(f"--threads {self.threads} is not possible; give 1 to {MAX_THREADS}, or none for all cores")
        if self.effort not in EFFORTS:
            raise PackError(f"effort {self.effort!r} is not known; give {', '.join(EFFORTS)}")
        writer.check_target(out, self.force)
        if self.report is not None:
            reports.check(self.report)
