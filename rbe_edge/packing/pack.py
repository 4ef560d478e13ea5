"""Packs a model: source -> plan -> one `.rbe` file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rbe_edge._version import __version__
from rbe_edge.codes import trellis
from rbe_edge.errors import PackError
from rbe_edge.format import writer
from rbe_edge.packing import allocation, sensitivity, smooth_codes, storage
from rbe_edge.packing import report as reports
from rbe_edge.packing.allocation import Decision
from rbe_edge.packing.calibration import (
    N_TOKENS,
    SETTINGS,
    WINDOW,
    Calibration,
    read_text,
    read_windows,
)
from rbe_edge.packing.journal import Finished, Journal
from rbe_edge.packing.sensitivity import DenseCopy
from rbe_edge.packing.storage import Storage
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.plan import MetadataValue, ModelPlan, TensorPlan
from rbe_edge.sources.tokenizers import Tokenizer, read_gguf, read_llama2c, read_sentencepiece, read_tokenizer
from rbe_edge.sources.types import Source, open_source

#: progress(what, done, total): done and total count weights of the whole model; what it raises stops the packing.
Progress = Callable[[str, int, int], None]

MAX_THREADS = 64  # of the library

TABLE_PLANES = (4, 2)
"""Of the trellis that an extreme code has to beat to be used for a table of positions: 6 bits."""


@dataclass(frozen=True)
class PackOptions:
    """bits: per weight of the whole file, 2 to 8 in any fraction; 16 and 32 store all matrices as they are. threads:
    None for all cores; the bytes written do not depend on it.

    force: replace an existing file. tokenizer: that of a llama2.c checkpoint, if it is not beside it. revision: branch,
    tag or commit of an org/name source. calibrate: a text in UTF-8, or the one that comes with the package, or none;
    matrices are encoded so that the errors that such text feels are small, and get the bits that it shows them to need
    (docs/codec.md, "Deciding bits per tensor"). It needs four bytes per weight of free space beside the output.
    nested: the first plane of every tensor is a model of its own, of about 2 bits. report: a file for what each tensor
    got and why (packing/report.py).
    """

    bits: float = 4
    threads: int | None = None
    force: bool = False
    tokenizer: Path | None = None
    revision: str | None = None
    calibrate: Path | Literal["built-in", "none"] = "built-in"
    nested: bool = False
    report: Path | None = None

    @property
    def coded(self) -> bool:
        """Whether matrices are coded at all."""
        return self.bits not in storage.DENSE_BITS

    @property
    def calibrated(self) -> bool:
        return self.coded and self.calibrate != "none"

    def __str__(self) -> str:
        """As recorded in the file (`packer.options`)."""
        return f"bits={self.bits:g}" + " nested" * (self.coded and self.nested) + " calibrated" * self.calibrated


@dataclass(frozen=True)
class TensorReport:
    """One tensor of the file. planes: bits of each, () for dense. error: squared, relative to the squared norm. offset:
    of its data in the file. kl: nats per token that it was expected to cost, 0 where nothing was measured."""

    name: str
    kind: str
    rows: int
    cols: int
    planes: tuple[int, ...]
    bytes: int
    error: float
    offset: int
    kl: float = 0.0


@dataclass(frozen=True)
class PackReport:
    """What was written. bits_per_weight: of the whole file, tokenizer and all, per weight of the source."""

    path: Path
    name: str
    architecture: str
    parameters: int
    file_bytes: int
    seconds: float
    tensors: tuple[TensorReport, ...]

    @property
    def bits_per_weight(self) -> float:
        return self.file_bytes * 8 / self.parameters


def pack(
    source: str | Path, out: Path, options: PackOptions | None = None, progress: Progress | None = None
) -> PackReport:
    """Packs a Hugging Face directory, a GGUF file, a llama2.c checkpoint or `org/name` of the hub into `out`.

    The same source and options give the same bytes. `out` appears when it is complete; on any failure, and when
    `progress` raises an Exception, nothing is left. Interrupted (KeyboardInterrupt, SIGKILL, power), it leaves what is
    finished in `OUT.partial`, and goes on from there when it is called again with the same source and options; the
    bytes are those of an uninterrupted run. Memory: a few tensors, never the model.
    Raises PackError, TokenizerError, and MissingExtra for a download without huggingface_hub.
    """
    options = options or PackOptions()
    started = time.monotonic()
    out = Path(out)
    _check(out, options)
    opened = open_source(source, options.tokenizer, options.revision)
    plan = plan_model(opened)
    total = sum(tensor.rows * tensor.cols for tensor in plan.tensors)
    report = progress or (lambda what, done, total: None)
    tokenizer = source_tokenizer(opened, plan.metadata["vocabulary"])
    text = read_text(options.calibrate if isinstance(options.calibrate, Path) else None) if options.calibrated else ""
    report("reading", 0, total)
    sha256 = opened.sha256(lambda done, of: report("reading", 0, total))
    if options.coded:
        plan = smooth_codes.with_tables(plan, TABLE_PLANES, options.threads, lambda name: report(name, 0, total))
    metadata: dict[str, MetadataValue] = {
        "name": opened.name,
        **plan.metadata,
        "parameters": plan.parameters,
        "source.name": opened.name,
        "source.sha256": sha256,
        "packer.version": __version__,
        "packer.options": str(options),
        **tokenizer.metadata(),
    }
    blobs = {"tokenizer": tokenizer.to_blob()}
    claim = writer.Claim(out)

    def seed_of(tensor: TensorPlan) -> int:
        return storage.rotation_seed(sha256, tensor.reads)

    def written(stores: Sequence[Storage]) -> writer.PackWriter:
        """The file that tensors stored in this way make."""
        used = sorted({bits for store in stores for bits in store.planes})
        books = [trellis.CODEBOOKS[bits] for bits in used]
        return writer.PackWriter(
            out,
            metadata,
            [writer.CodebookEntry(book.bits, tuple(book.t1), tuple(book.t2)) for book in books],
            blobs,
            [_entry(tensor, store, used, seed_of(tensor)) for tensor, store in zip(plan.tensors, stores, strict=True)],
            options.force,
            claim,
        )

    tensors: list[TensorReport] = []
    with ExitStack() as stack:
        done = 0
        stack.enter_context(claim)
        journal = stack.enter_context(Journal(out))
        copy, windows = None, []
        if options.calibrated:
            copy = _dense_copy(
                journal.scratch(), plan, metadata, blobs, lambda: report("preparing calibration", 0, total)
            )
            windows = read_windows(copy.path, text, N_TOKENS, WINDOW)
        decisions: Sequence[Decision | None] = [None] * len(plan.tensors)
        if options.coded:
            felt = None
            if copy is not None:
                kept_at = sensitivity.cache_paths(opened.directory, sha256, text)
                felt = sensitivity.known(
                    kept_at, copy, plan.tensors, windows, seed_of, options.threads, lambda what: report(what, 0, total)
                )
            decisions = _decide(plan, options, felt, lambda stores: written(stores).file_bytes)
            stores = [decision.choice.storage for decision in decisions if decision is not None]
        else:
            stores = [storage.dense(tensor, int(options.bits)) for tensor in plan.tensors]
        file = stack.enter_context(written(stores))
        tables = [trellis.CODEBOOKS[bits] for store in stores for bits in store.planes]
        work = [text, SETTINGS, *map(repr, [metadata, tables, file.entries])]
        journal.begin(work)
        calibration = None
        if copy is not None:
            calibration = stack.enter_context(
                Calibration(
                    copy.path, copy.areas, windows, options.threads, tick=lambda: report("calibrating", done, total)
                )
            )

        def encoding(weights: int) -> None:
            report(tensor.name, done + weights, total)

        everything = zip(plan.tensors, stores, file.entries, decisions, strict=True)
        for number, (tensor, store, entry, decision) in enumerate(everything):
            report(tensor.name, done, total)
            if store.planes:
                finished = journal.read(number, store.n_bytes)
                if finished is None:
                    finished = _encode(tensor, store, entry, options, calibration, encoding)
                    journal.write(number, finished)
                error, scale = finished.error, finished.tensor_scale
                if calibration is not None:  # the same numbers from a journal as from an encoder
                    shape = (tensor.rows, tensor.cols)
                    calibration.replace(
                        tensor.name, trellis.decode(finished.data, store.planes, *shape, entry.seed, scale)
                    )
                file.write_tensor([finished.data], error, scale)
            else:
                data, error = storage.data_of(tensor, store)
                file.write_tensor([data], error)
            kl = decision.choice.kl if decision is not None and copy is not None else 0.0
            tensors.append(
                TensorReport(
                    tensor.name, storage.KIND_NAMES[store.kind], tensor.rows, tensor.cols, store.planes, store.n_bytes,
                    error, file.offset(tensor.name), kl,
                )
            )  # fmt: skip
            done += tensor.rows * tensor.cols
        report("writing", done, total)
        file.commit()
    packed = PackReport(
        out, opened.name, plan.architecture, plan.parameters, file.file_bytes, time.monotonic() - started,
        tuple(tensors),
    )  # fmt: skip
    if options.report is not None:
        coded = [
            reports.Coded(decision, tensor.error)
            for decision, tensor in zip(decisions, tensors, strict=True)
            if decision is not None
        ]
        reports.write(options.report, opened.name, options.bits, packed.bits_per_weight, options.calibrated, coded)
    return packed


def _check(out: Path, options: PackOptions) -> None:
    """Refuses what cannot be done, before anything is read."""
    if not (2 <= options.bits <= 8 or options.bits in storage.DENSE_BITS):
        raise PackError(f"--bits {options.bits:g} is not possible; give 2 to 8, fractions too, or 16 or 32")
    if options.threads is not None and not 1 <= options.threads <= MAX_THREADS:
        raise PackError(f"--threads {options.threads} is not possible; give 1 to {MAX_THREADS}, or none for all cores")
    writer.check_target(out, options.force)
    if options.report is not None:
        reports.check(options.report)


def _decide(
    plan: ModelPlan,
    options: PackOptions,
    felt: Mapping[str, float] | None,
    file_bytes: Callable[[Sequence[Storage]], int],
) -> tuple[Decision, ...]:
    """What each tensor gets. felt: sensitivities, None where none were measured. file_bytes: of the file that tensors
    stored in a certain way make."""
    least = [allocation.choices_of(tensor, 1.0, options.nested)[0] for tensor in plan.tensors]
    data_bytes = sum(choice.file_bytes for choice in least)
    # The index grows with the planes: 4 bytes for a second one, 36 for each table, and the padding behind it.
    index_bytes = 4 * len(least) + 36 * len(trellis.CODEBOOKS) + writer.ALIGNMENT
    other_bytes = file_bytes([choice.storage for choice in least]) - data_bytes + index_bytes
    budget = int(options.bits * plan.parameters / 8) - other_bytes
    if budget < data_bytes:
        needed = data_bytes + other_bytes + writer.ALIGNMENT  # the number itself is written into the index
        smallest = math.ceil(100 * 8 * needed / plan.parameters) / 100
        raise PackError(
            f"--bits {options.bits:g} is too small for this model: with {other_bytes:,} bytes of tokenizer and index "
            f"it needs --bits {smallest:g} at least"
        )
    return allocation.decide(plan.tensors, felt, budget, options.nested)


def source_tokenizer(source: Source, vocabulary: MetadataValue) -> Tokenizer:
    """The source's tokenizer, with an id for every row of the embedding."""
    assert isinstance(vocabulary, int)
    if source.tokenizer is None:
        tokenizer = read_tokenizer(source.directory)
    elif source.layout == "gguf":
        tokenizer = read_gguf(source.tokenizer)
    elif source.tokenizer.suffix == ".model":
        tokenizer = read_sentencepiece(source.tokenizer)
    else:
        tokenizer = read_llama2c(source.tokenizer)
    if tokenizer.size > vocabulary:
        raise PackError(
            f"{source.name}: its tokenizer has {tokenizer.size} tokens but the model only {vocabulary}; "
            f"this is the tokenizer of another model"
        )
    return tokenizer.padded_to(vocabulary)


def _dense_copy(
    path: Path,
    plan: ModelPlan,
    metadata: Mapping[str, MetadataValue],
    blobs: Mapping[str, bytes],
    tick: Callable[[], None],
) -> DenseCopy:
    """The model with dense weights: what the engine runs on calibration text. Memory: one tensor."""
    stores = [storage.dense(tensor, 32) for tensor in plan.tensors]
    entries = [_entry(tensor, store, [], 0) for tensor, store in zip(plan.tensors, stores, strict=True)]
    with writer.PackWriter(path, metadata, [], blobs, entries) as file:
        for tensor, store in zip(plan.tensors, stores, strict=True):
            tick()
            data, error = storage.data_of(tensor, store)
            file.write_tensor([data], error)
        file.commit()
        return DenseCopy(path, {entry.name: (file.offset(entry.name), entry.n_bytes) for entry in entries})


def _entry(tensor: TensorPlan, store: Storage, codebooks: list[int], seed: int) -> writer.TensorEntry:
    if not store.planes:
        own = tensor.stored.entry if tensor.stored is not None else b""
        return writer.TensorEntry(tensor.name, store.kind, tensor.rows, tensor.cols, store.n_bytes, basis=own)
    return writer.TensorEntry(
        tensor.name, store.kind, tensor.rows, tensor.cols, store.n_bytes,
        seed=seed, rotation_block=trellis.rotation_block(tensor.cols),
        codebooks=tuple(codebooks.index(bits) for bits in store.planes),
    )  # fmt: skip


def _encode(
    tensor: TensorPlan,
    store: Storage,
    entry: writer.TensorEntry,
    options: PackOptions,
    calibration: Calibration | None,
    report: Callable[[int], None],
) -> Finished:
    """Reads and encodes one tensor; report(weights done)."""
    weights = tensor.rows * tensor.cols
    values = tensor.read()
    feedback = calibration.factor(tensor.name, entry.rotation_block, entry.seed) if calibration is not None else None
    encoded = trellis.encode(
        values,
        store.planes,
        entry.seed,
        options.threads,
        lambda part, of: report(weights * part // of),
        feedback,
        options.nested,
    )
    return Finished(b"".join(encoded.data), encoded.error, encoded.tensor_scale)
