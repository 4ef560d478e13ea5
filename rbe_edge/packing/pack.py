"""Packs a model: source -> plan -> one `.rbe` file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from rbe_edge.codes import trellis
from rbe_edge.errors import ModelError, PackError
from rbe_edge.files.new_file import NewFile
from rbe_edge.format import writer
from rbe_edge.format.bands import PART, is_band
from rbe_edge.format.encoder import parts_of
from rbe_edge.format.ternary import ternary_parts
from rbe_edge.packing import allocation, bands, dense_copy, schedule, sensitivity, storage
from rbe_edge.packing import report as reports
from rbe_edge.packing.allocation import Decision
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.encoded_tensors import EncodedTensors, Finished
from rbe_edge.packing.encoder_held_out import HeldOutDistance
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.held_out import HeldOutKl
from rbe_edge.packing.kept import Keeping, Kept, key_of
from rbe_edge.packing.kinds import Found, Kind, Look, kind_of
from rbe_edge.packing.options import MAX_THREADS as MAX_THREADS
from rbe_edge.packing.options import PackOptions as PackOptions
from rbe_edge.packing.storage import Storage
from rbe_edge.packing.subject import Subject, read_subject
from rbe_edge.progress import Listener
from rbe_edge.runtime.model import Model
from rbe_edge.sources.hub import Fetched
from rbe_edge.sources.plan import ModelPlan, TensorPlan


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
    held_out: HeldOutKl | HeldOutDistance | None = None

    @property
    def bits_per_weight(self) -> float:
        return self.file_bytes * 8 / self.parameters

    @property
    def areas(self) -> dict[str, tuple[int, int]]:
        """Offset and bytes of each tensor's data in the file."""
        return {tensor.name: (tensor.offset, tensor.bytes) for tensor in self.tensors}


def pack(
    source: str | Path | Fetched, out: Path, options: PackOptions | None = None, progress: Listener | None = None
) -> PackReport:
    """Packs a Hugging Face directory, a GGUF file, a llama2.c checkpoint or `org/name` of the hub (or what was fetched
    of it) into `out`.

    The same source and options give the same bytes. `out` appears when it is complete; whatever ends the work before,
    nothing of it lies there. What is finished by then is kept in the user's cache (kept.py): the same call goes on from
    it, after a kill too, and the bytes are those of an uninterrupted run. Another size of the same source takes its
    sensitivities from there. progress(what, done, total): done and total are milliseconds, as a Forecast tells them.
    Memory: a few tensors, never the model.
    Raises PackError, TokenizerError, Cancelled, and MissingExtra for a download without huggingface_hub.
    """
    with Packing(source, Path(out), options or PackOptions(), progress) as packing:
        packing.prepare()
        packing.decide()
        packing.encode()
        return packing.finish()


class Packing:
    """One model on its way into one file: prepare(), decide(), encode() and finish(), once each and in this order.

    A context manager: it holds the claim of the output and the file in the making, and gives them up at its end. For
    one thread. pack() says what it promises and raises.
    """

    # From prepare() on; no copy and no text without calibration.
    _subject: Subject
    _claim: NewFile
    _kept: Kept | None
    _copy: DenseCopy | None
    _text: Kind | None
    # From decide() on: the plan with its bands; by tensor, no decisions where all tensors are dense.
    _plan: ModelPlan
    _decisions: Sequence[Decision | None]
    _stores: Sequence[Storage]
    _file: writer.PackWriter
    _encoded_tensors: EncodedTensors

    def __init__(
        self, source: str | Path | Fetched, out: Path, options: PackOptions, progress: Listener | None
    ) -> None:
        """Raises PackError for what cannot be done, before anything is read."""
        self._started = time.monotonic()
        options.check(out)
        self._source = source
        self._out = out
        self._options = options
        self._forecast = Forecast(progress, schedule.RATES)
        self._tensors: list[TensorReport] = []  # those that are written
        self._found: Found | None = None  # from decide() on; None without calibration
        self._stack = ExitStack()

    def __enter__(self) -> Packing:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def prepare(self) -> None:
        """Claims the output, reads the source, and makes the copy of the model that calibration runs."""
        options = self._options
        self._claim = self._stack.enter_context(writer.claim(self._out, options.force))
        self._subject = subject = read_subject(self._source, options, self._forecast)
        self._copy, self._text = None, None
        self._kept = Kept() if options.coded else None
        if self._kept is not None and options.calibrated and sensitivity.coded(subject.plan.tensors):
            try:
                scratch = self._stack.enter_context(self._kept.scratch())
            except OSError as reason:
                raise PackError(
                    f"no place for a copy of the model while it is packed ({reason.strerror}); set XDG_CACHE_HOME"
                ) from None
            self._copy = dense_copy.make(
                scratch / "dense.rbe", subject.plan, subject.metadata, subject.blobs, self._forecast
            )
            with Model.open(self._copy.path, verify=False) as model:
                self._text = kind_of(subject.plan)(model, self._copy.path, subject.text, options.work, options.threads)

    def decide(self) -> None:
        """Decides how each tensor is stored, begins the file, and finds what an interrupted run has finished of it."""
        subject, options = self._subject, self._options
        self._plan = subject.plan
        if options.coded:
            self._found = self._looked()
            sensitivities = self._in_bands(self._found)
            decisions = allocation.decide_for_file(
                self._plan, options.bits, options.nested, sensitivities, lambda stores: self._writer(stores).file_bytes
            )
            self._decisions = decisions
            self._stores = [decision.choice.storage for decision in decisions]
        else:
            self._decisions = [None] * len(self._plan.tensors)
            self._stores = [storage.dense(tensor, int(options.bits)) for tensor in self._plan.tensors]
        self._file = self._stack.enter_context(self._writer(self._stores))
        tables = [trellis.CODEBOOKS[bits] for store in self._stores for bits in store.planes]
        work = [subject.metadata, tables, self._file.entries]
        self._encoded_tensors = EncodedTensors(self._kept, key_of("encoding", self._original(), *map(repr, work)))
        left = [
            (tensor, store.planes)
            for number, (tensor, store) in enumerate(zip(self._plan.tensors, self._stores, strict=True))
            if store.planes and not self._encoded_tensors.has(number)
        ]
        self._forecast.plan(schedule.encoding(left, self._file.file_bytes, options.work.quick))

    def encode(self) -> None:
        """Writes the tensors, in the order of the file."""
        for number, tensor in enumerate(self._plan.tensors):
            if self._stores[number].planes:
                error = self._write_coded(number, tensor)
            else:
                with self._forecast.doing("writing", f"encoding {tensor.name}", self._stores[number].n_bytes / 1e9):
                    data, error = storage.data_of(tensor, self._stores[number])
                    self._file.write_tensor([data], error)
            self._tensors.append(self._reported(number, tensor, error))

    def finish(self) -> PackReport:
        """Measures the file, gives it its name, takes away what was needed to make it, and reports. Who stops it while
        it measures has no file, and the next run goes on from there."""
        held_out = None
        with self._forecast.doing("writing", "writing", self._file.file_bytes / 1e9):
            whole = self._file.complete()
            with suppress(ModelError):  # such as too little memory to run what is packed: it is whole all the same
                held_out = self._text.held_out.of(whole) if self._text is not None else None
            self._file.commit()
        self._encoded_tensors.forget()
        self._stack.close()
        plan, options, subject = self._subject.plan, self._options, self._subject
        problem = self._kept.problem if self._kept is not None else None
        packed = PackReport(
            self._out,
            subject.source.name,
            plan.architecture,
            plan.parameters,
            self._file.file_bytes,
            time.monotonic() - self._started,
            tuple(self._tensors),
            (*subject.notes, *([problem] if problem is not None else [])),
            held_out,
        )
        if options.report is not None:
            coded = [
                reports.Coded(decision, tensor.error)
                for decision, tensor in zip(self._decisions, packed.tensors, strict=True)
                if decision is not None
            ]
            unit = self._found.unit if self._found is not None else None
            reports.write(options.report, packed.name, options.bits, packed.bits_per_weight, unit, coded)
        return packed

    def _original(self) -> str:
        """Of all that the statistics of the unpacked model depend on."""
        subject = self._subject
        tokenizer = sha256(subject.blobs["tokenizer"]).hexdigest()
        model = (subject.sha256, sorted(subject.plan.metadata.items()), tokenizer)
        return key_of("original", *model, subject.text, self._options.work.settings, *kind_of(subject.plan).settings)

    def _looked(self) -> Found | None:
        """None without calibration."""
        if self._copy is None or self._kept is None or self._text is None:
            return None
        options, copy, plan, text = self._options, self._copy, self._subject.plan, self._text
        coded = sensitivity.coded(plan.tensors)
        planes = schedule.guessed_planes(options.bits)
        encoding = schedule.encoding(
            [(tensor, planes) for tensor in coded], plan.parameters * options.bits / 8, options.work.quick
        )
        looking = text.expected(copy.weights, coded, text.n_tokens, plan.vocabulary, options.work)
        self._forecast.plan(schedule.added(looking, encoding))
        keeping = Keeping(self._kept, self._original())
        seed_of, forecast = self._subject.seed_of, self._forecast
        return text.look(
            Look(copy, coded, plan.vocabulary, seed_of, options.threads, options.work, forecast, keeping, encoding)
        )

    def _in_bands(self, found: Found | None) -> Mapping[str, float] | None:
        """Sensitivities of the tensors of the file, after what has a row for each token was cut into bands where it is
        known what these cost; None without calibration."""
        if found is None or found.energies is None or self._options.bits > bands.MOST_BITS:
            return None if found is None else found.sensitivities
        tensors, of_bands = bands.split(self._plan.tensors, found.sensitivities, found.energies)
        self._plan = replace(self._plan, tensors=tensors)
        return of_bands

    def _writer(self, stores: Sequence[Storage]) -> writer.PackWriter:
        """The file that tensors stored in this way make; nothing is written before it is entered."""
        subject, tensors = self._subject, self._plan.tensors
        codebooks, entries = storage.described(tensors, stores, subject.seed_of)
        parts = parts_of(subject.metadata, [tensor.name for tensor in tensors])
        parts += [PART] if any(is_band(tensor.name) for tensor in tensors) else []
        parts += ternary_parts(entries)
        return writer.PackWriter(
            self._out, subject.metadata, codebooks, subject.blobs, entries, self._options.force, self._claim, parts
        )

    def _write_coded(self, number: int, tensor: TensorPlan) -> float:
        """Encodes a tensor, or takes it from what is kept, and writes it; gives its relative squared error."""
        finished = self._encoded_tensors.read(number, self._stores[number].n_bytes)
        if finished is None:
            finished = self._encoded(number, tensor)
            self._encoded_tensors.write(number, finished)
        with self._forecast.doing("writing", f"encoding {tensor.name}", self._stores[number].n_bytes / 1e9):
            self._file.write_tensor([finished.data], finished.error, finished.tensor_scale)
        return finished.error

    def _encoded(self, number: int, tensor: TensorPlan) -> Finished:
        entry, options, planes = self._file.entries[number], self._options, self._stores[number].planes
        values = tensor.read()
        feedback = self._found.factor(tensor.name) if self._found is not None else None
        quick = options.work.quick
        units = schedule.encode_units(values.size, planes, quick)
        with self._forecast.doing("encoding", f"encoding {tensor.name}", units) as report:
            encoded = trellis.encode(
                values, planes, entry.seed, options.threads, report, feedback, options.nested, quick
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
