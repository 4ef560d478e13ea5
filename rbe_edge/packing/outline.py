"""The outline of a file that is not packed yet: its index, from which its size and the memory that it takes follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.errors import OptionError, PackError
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.format import writer
from rbe_edge.format.encoder import parts_of
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.ternary import ternary_parts
from rbe_edge.packing import allocation, storage
from rbe_edge.packing.grouped_matrices import with_grouped
from rbe_edge.packing.storage import Storage
from rbe_edge.sources import hub
from rbe_edge.sources.hub_outline import fetch_outline
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import ModelPlan
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.of_source import source_tokenizer
from rbe_edge.sources.types import Source

FileOf = Callable[[Sequence[Storage]], writer.PackWriter]

_UNKNOWN_BYTES = 2048  # of metadata that packing adds: where the source is from, how it was packed, the form of a chat


@contextmanager
def outline_of(source: str | Path, bits: float) -> Iterator[Path]:
    """The outline of a source, in a temporary directory. Raises as write_outline()."""
    with scratch_directory("fit") as directory:
        out = directory / "outline.rbe"
        write_outline(source, bits, out)
        yield out


def write_outline(source: str | Path, bits: float, out: Path, tokenizer: Path | None = None) -> None:
    """Writes a `.rbe` file that has an index and holes, as `rbe pack SOURCE --bits BITS` without calibration would make
    it: it takes no room on the disk, and runs nowhere. Of the weights of a source those of binary and ternary matrices
    are read, the first rows of others, and all where bits are 16 and it is fp32. Of a repository of the hub none is
    downloaded, and its matrices are taken for others. Raises PackError for what cannot be packed or had, or not with so
    few bits, TokenizerError, MissingExtra."""
    if not (2 <= bits <= 8 or bits in storage.DENSE_BITS):
        raise PackError(f"--bits {bits:g} is not possible; give 2 to 8, fractions too, or 16 or 32")
    if not Path(source).exists() and hub.is_repository(str(source)):
        with scratch_directory("fit") as directory:
            fetch_outline(str(source), directory)
            write_outline(directory, bits, out)
        return
    coded = bits not in storage.DENSE_BITS
    plan, file_of = _described(open_source(source, tokenizer), out, coded=coded)
    if not coded:
        stores = [storage.dense(tensor, int(bits)) for tensor in plan.tensors]
    else:
        decisions = allocation.decide_for_file(plan, bits, False, None, lambda stores: file_of(stores).file_bytes)
        stores = [decision.choice.storage for decision in decisions]
    made = file_of(stores)
    with out.open("wb") as file:
        file.write(made.outline())
        file.truncate(made.file_bytes)


def _described(
    opened: Source, out: Path, more: Mapping[str, MetadataValue] | None = None, *, coded: bool = True
) -> tuple[ModelPlan, FileOf]:
    """What a source becomes, and the file that its tensors stored in certain ways make. more: metadata. coded: whether
    matrices may be coded."""
    plan = with_grouped(plan_model(opened)) if coded else plan_model(opened)
    words = source_tokenizer(opened, plan.vocabulary)
    known = {"name": opened.name, **plan.metadata, "parameters": plan.parameters, **words.metadata(), **(more or {})}
    blobs = {"tokenizer": write_blob(words)}
    parts = parts_of(known, [tensor.name for tensor in plan.tensors])

    def file_of(stores: Sequence[Storage]) -> writer.PackWriter:
        codebooks, entries = storage.described(
            plan.tensors, stores, lambda tensor: storage.rotation_seed("", tensor.reads)
        )
        more_parts = [*parts, *ternary_parts(entries)]
        return writer.PackWriter(out, known, codebooks, blobs, entries, force=True, parts=more_parts)

    return plan, file_of


@dataclass(frozen=True)
class SizeRange:
    """In bytes, of the whole file: what --bits from 2 to 8 can make of a source with so many weights."""

    smallest: int
    parameters: int

    @property
    def largest(self) -> int:
        """At 8 bits per weight."""
        return self.parameters

    def bits_of(self, n_bytes: int) -> float:
        """Bits per weight of a file of at most n_bytes. Raises OptionError for a size that there is not."""
        if n_bytes < self.smallest:
            raise OptionError(
                f"--size of {n_bytes:,} bytes is too small for this model; the smallest is "
                f"{_megabytes(self.smallest, 1)}"
            )
        if n_bytes > self.largest:
            raise OptionError(
                f"--size of {n_bytes:,} bytes is too large for this model; the largest is "
                f"{_megabytes(self.largest, 0)} (or --bits 16)"
            )
        return 8 * n_bytes / self.parameters


def _megabytes(n_bytes: int, up: int) -> str:
    """As --size takes it, rounded so that it is possible."""
    return f"{n_bytes // 10**5 / 10 + up / 10:.1f}MB" if n_bytes >= 10**7 else f"{n_bytes // 1000 + up}KB"


def size_range(
    source: str | Path, tokenizer: Path | None = None, revision: str | None = None, nested: bool = False
) -> SizeRange:
    """Of a source, from headers alone; one of the hub is downloaded. The smallest is at most _UNKNOWN_BYTES, and what
    a smooth code of positions saves, larger than need be. Raises as write_outline()."""
    opened = open_source(source, tokenizer, revision)
    unknown: dict[str, MetadataValue] = {"source.sha256": "0" * _UNKNOWN_BYTES}
    plan, file_of = _described(opened, Path("outline.rbe"), unknown)
    least = sum(allocation.least_bytes(plan, nested, lambda stores: file_of(stores).file_bytes)) + writer.ALIGNMENT
    return SizeRange(max(least, -(-2 * plan.parameters // 8)), plan.parameters)
