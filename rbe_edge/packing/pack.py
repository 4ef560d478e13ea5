"""Packs a model: source -> plan -> one `.rbe` file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from rbe_edge._version import __version__
from rbe_edge.codes import trellis
from rbe_edge.errors import ModelError, PackError
from rbe_edge.files.new_file import NewFile
from rbe_edge.format import writer
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.packing import allocation, dense_copy, sensitivity, smooth_codes, storage
from rbe_edge.packing import report as reports
from rbe_edge.packing.allocation import Decision
from rbe_edge.packing.calibration import N_TOKENS, SETTINGS, WINDOW, Calibration, read_text, read_windows
from rbe_edge.packing.chat_proof import chat_form
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.held_out import HeldOut, HeldOutKl
from rbe_edge.packing.journal import Finished, Journal
from rbe_edge.packing.storage import Storage
from rbe_edge.progress import Listener, Progress
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import ModelPlan, TensorPlan
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.of_source import source_tokenizer
from rbe_edge.sources.types import Source

MAX_THREADS = 64  # of the library

TABLE_PLANES = (4, 2)
"""Of the trellis that a smooth code has to beat to be used for a table of positions: 6 bits."""


@dataclass(frozen=True)
class PackOptions:
    """bits: per weight of the whole file, 2 to 8 in any fraction; 16 and 32 store all matrices as they are. threads:
    None for all cores; the bytes written do not depend on it.

    force: replace an existing file. tokenizer: that of a llama2.c checkpoint, if it is not beside it. revision: branch,
    tag or commit of an org/name source. calibrate: a text in UTF-8, or the one that comes with the package, or none;
    matrices are encoded so that the errors on such text are small, and each gets bits by its sensitivity on that text
    (docs/codec.md, "Deciding bits per tensor"). It needs four bytes per weight of free space beside the output. nested:
    the first plane of every tensor is a model of its own, of about 2 bits. report: a file for what each tensor got and
    why (packing/report.py).
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
    """What was written. bits_per_weight: of the whole file, tokenizer and all, per weight of the source. notes: what of
    the source was left out or read otherwise than it says, a line each for a person. held_out: how far the file is from
    the source on text that it was not calibrated on; None without calibration."""

    path: Path
    name: str
    architecture: str
    parameters: int
    file_bytes: int
    seconds: float
    tensors: tuple[TensorReport, ...]
    notes: tuple[str, ...] = ()
    held_out: HeldOutKl | None = None

    @property
    def bits_per_weight(self) -> float:
        return self.file_bytes * 8 / self.parameters

    @property
    def areas(self) -> dict[str, tuple[int, int]]:
        """Offset and bytes of each tensor's data in the file."""
        return {tensor.name: (tensor.offset, tensor.bytes) for tensor in self.tensors}


def pack(
    source: str | Path, out: Path, options: PackOptions | None = None, progress: Listener | None = None
) -> PackReport:
    """Packs a Hugging Face directory, a GGUF file, a llama2.c checkpoint or `org/name` of the hub into `out`.

    The same source and options give the same bytes. `out` appears when it is complete; on any failure, and when
    `progress` returns True or raises an Exception, nothing is left. Interrupted (KeyboardInterrupt, SIGKILL, power), it
    leaves what is finished in `OUT.partial`, and goes on from there when it is called again with the same source and
    options; the bytes are those of an uninterrupted run. progress(what, done, total): done and total count weights of
    the whole model. Memory: a few tensors, never the model.
    Raises PackError, TokenizerError, Cancelled, and MissingExtra for a download without huggingface_hub.
    """
    with Packing(source, Path(out), options or PackOptions(), Progress(progress)) as packing:
        packing.prepare()
        packing.decide()
        packing.encode()
        return packing.finish()


@dataclass(frozen=True)
class _Subject:
    """What is packed: all that is known of it before anything is written. text: for calibration, "" for none. notes:
    of PackReport."""

    source: Source
    sha256: str
    plan: ModelPlan
    metadata: dict[str, MetadataValue]
    blobs: dict[str, bytes]
    text: str
    notes: tuple[str, ...]

    def seed_of(self, tensor: TensorPlan) -> int:
        """Of the rotation of the activation that a tensor multiplies."""
        return storage.rotation_seed(self.sha256, tensor.reads)


class Packing:
    """One model on its way into one file: prepare(), decide(), encode() and finish(), once each and in this order.

    A context manager: it holds the claim of the output, the journal and the file in the making, and gives them up at
    its end. For one thread. pack() says what it promises and raises.
    """

    # From prepare() on; no copy and no windows without calibration.
    _subject: _Subject
    _claim: NewFile
    _journal: Journal
    _copy: DenseCopy | None
    _windows: Sequence[Sequence[int]]
    _held_out: HeldOut | None
    # From decide() on, by tensor; no decisions where all tensors are dense.
    _decisions: Sequence[Decision | None]
    _stores: Sequence[Storage]
    _file: writer.PackWriter

    def __init__(self, source: str | Path, out: Path, options: PackOptions, progress: Progress) -> None:
        """Raises PackError for what cannot be done, before anything is read."""
        self._started = time.monotonic()
        _check(out, options)
        self._source = source
        self._out = out
        self._options = options
        self._progress = progress
        self._tensors: list[TensorReport] = []  # those that are written
        self._stack = ExitStack()

    def __enter__(self) -> Packing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def prepare(self) -> None:
        """Claims the output, reads the source, and makes the copy of the model that calibration runs."""
        self._claim = self._stack.enter_context(writer.claim(self._out, self._options.force))
        self._subject = subject = _read(self._source, self._options, self._progress)
        self._journal = self._stack.enter_context(Journal(self._out))
        self._copy, self._windows, self._held_out = None, [], None
        if self._options.calibrated:
            self._copy = dense_copy.make(
                self._journal.scratch(), subject.plan, subject.metadata, subject.blobs, self._progress
            )
            self._windows = read_windows(self._copy.path, subject.text, N_TOKENS, WINDOW)
            self._held_out = HeldOut(self._copy.path, subject.text, N_TOKENS, self._options.threads)

    def decide(self) -> None:
        """Decides how each tensor is stored, begins the file, and finds what an interrupted run has finished of it."""
        subject, options = self._subject, self._options
        tensors = subject.plan.tensors
        if options.coded:
            decisions = allocation.decide_for_file(
                subject.plan,
                options.bits,
                options.nested,
                self._sensitivities(),
                lambda stores: self._writer(stores).file_bytes,
            )
            self._decisions = decisions
            self._stores = [decision.choice.storage for decision in decisions]
        else:
            self._decisions = [None] * len(tensors)
            self._stores = [storage.dense(tensor, int(options.bits)) for tensor in tensors]
        self._file = self._stack.enter_context(self._writer(self._stores))
        tables = [trellis.CODEBOOKS[bits] for store in self._stores for bits in store.planes]
        work = [subject.metadata, tables, self._file.entries]
        self._journal.begin([subject.text, SETTINGS, *map(repr, work)])

    def encode(self) -> None:
        """Writes the tensors, in the order of the file."""
        with ExitStack() as stack:
            calibration = None
            if self._copy is not None:
                calibration = stack.enter_context(
                    Calibration(self._copy, self._windows, self._options.threads, progress=self._progress)
                )
            done = 0
            for number, tensor in enumerate(self._subject.plan.tensors):
                self._progress.tell(tensor.name, done)
                if self._stores[number].planes:
                    error = self._write_coded(number, tensor, calibration)
                else:
                    data, error = storage.data_of(tensor, self._stores[number])
                    self._file.write_tensor([data], error)
                self._tensors.append(self._reported(number, tensor, error))
                done += tensor.rows * tensor.cols

    def finish(self) -> PackReport:
        """Gives the file its name, takes away what was needed to make it, and reports."""
        self._progress.tell("writing", self._progress.total)
        self._file.commit()
        self._stack.close()
        held_out = None
        with suppress(ModelError):  # such as too little memory to run what is packed: the file is whole all the same
            held_out = self._held_out.kl_of(self._out) if self._held_out is not None else None
        plan, options = self._subject.plan, self._options
        packed = PackReport(
            self._out,
            self._subject.source.name,
            plan.architecture,
            plan.parameters,
            self._file.file_bytes,
            time.monotonic() - self._started,
            tuple(self._tensors),
            self._subject.notes,
            held_out,
        )
        if options.report is not None:
            coded = [
                reports.Coded(decision, tensor.error)
                for decision, tensor in zip(self._decisions, packed.tensors, strict=True)
                if decision is not None
            ]
            reports.write(options.report, packed.name, options.bits, packed.bits_per_weight, options.calibrated, coded)
        return packed

    def _sensitivities(self) -> Mapping[str, float] | None:
        """By tensor, measured or kept from an earlier run; None without calibration."""
        if self._copy is None:
            return None
        subject = self._subject
        paths = sensitivity.cache_paths(subject.source.directory, subject.sha256, subject.text)
        return sensitivity.known(
            paths,
            self._copy,
            subject.plan.tensors,
            self._windows,
            subject.seed_of,
            self._options.threads,
            self._progress,
        )

    def _writer(self, stores: Sequence[Storage]) -> writer.PackWriter:
        """The file that tensors stored in this way make; nothing is written before it is entered."""
        subject = self._subject
        used = sorted({bits for store in stores for bits in store.planes})
        books = [trellis.CODEBOOKS[bits] for bits in used]
        return writer.PackWriter(
            self._out,
            subject.metadata,
            [writer.CodebookEntry(book.bits, tuple(book.t1), tuple(book.t2)) for book in books],
            subject.blobs,
            [
                storage.entry(tensor, store, used, subject.seed_of(tensor))
                for tensor, store in zip(subject.plan.tensors, stores, strict=True)
            ],
            self._options.force,
            self._claim,
        )

    def _write_coded(self, number: int, tensor: TensorPlan, calibration: Calibration | None) -> float:
        """Encodes a tensor, or takes it from the journal, and writes it; gives its relative squared error."""
        store, seed = self._stores[number], self._file.entries[number].seed
        finished = self._journal.read(number, store.n_bytes)
        if finished is None:
            finished = self._encoded(number, tensor, calibration)
            self._journal.write(number, finished)
        if calibration is not None:  # the same numbers from a journal as from an encoder
            shape = (tensor.rows, tensor.cols)
            decoded = trellis.decode(finished.data, store.planes, *shape, seed, finished.tensor_scale)
            calibration.replace(tensor.name, decoded)
        self._file.write_tensor([finished.data], finished.error, finished.tensor_scale)
        return finished.error

    def _encoded(self, number: int, tensor: TensorPlan, calibration: Calibration | None) -> Finished:
        entry, options = self._file.entries[number], self._options
        values = tensor.read()
        feedback = None
        if calibration is not None:
            feedback = calibration.factor(tensor.name, entry.rotation_block, entry.seed)
        report = self._progress.share(tensor.name, tensor.rows * tensor.cols)
        encoded = trellis.encode(
            values, self._stores[number].planes, entry.seed, options.threads, report, feedback, options.nested
        )
        return Finished(b"".join(encoded.data), encoded.error, encoded.tensor_scale)

    def _reported(self, number: int, tensor: TensorPlan, error: float) -> TensorReport:
        store, decision = self._stores[number], self._decisions[number]
        kl = decision.choice.kl if decision is not None and self._copy is not None else 0.0
        return TensorReport(
            tensor.name,
            storage.KIND_NAMES[store.kind],
            tensor.rows,
            tensor.cols,
            store.planes,
            store.n_bytes,
            error,
            self._file.offset(tensor.name),
            kl,
        )


def _check(out: Path, options: PackOptions) -> None:
    """Refuses what cannot be done, before anything is read."""
    if not (2 <= options.bits <= 8 or options.bits in storage.DENSE_BITS):
        raise PackError(f"--bits {options.bits:g} is not possible; give 2 to 8, fractions too, or 16 or 32")
    if options.threads is not None and not 1 <= options.threads <= MAX_THREADS:
        raise PackError(f"--threads {options.threads} is not possible; give 1 to {MAX_THREADS}, or none for all cores")
    writer.check_target(out, options.force)
    if options.report is not None:
        reports.check(options.report)


def _read(source: str | Path, options: PackOptions, progress: Progress) -> _Subject:
    """Opens a source, and reads of it all but the weights of matrices, which its hash alone sees."""
    opened = open_source(source, options.tokenizer, options.revision)
    plan = plan_model(opened)
    progress.total = sum(tensor.rows * tensor.cols for tensor in plan.tensors)
    vocabulary = plan.metadata["vocabulary"]
    assert isinstance(vocabulary, int)
    tokenizer = source_tokenizer(opened, vocabulary)
    text = read_text(options.calibrate if isinstance(options.calibrate, Path) else None) if options.calibrated else ""
    progress.tell("reading")
    sha256 = opened.sha256(progress.share("reading", 0))
    if options.coded:
        plan = smooth_codes.with_tables(plan, TABLE_PLANES, options.threads, progress)
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
    form = chat_form(metadata, lambda: progress.tell("proving the chat template", 0))
    if form is not None:
        metadata["chat_form"] = form
    notes = (*plan.notes, *tokenizer.notes)
    return _Subject(opened, sha256, plan, metadata, {"tokenizer": write_blob(tokenizer)}, text, notes)
