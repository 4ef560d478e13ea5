"""Packs a model: source -> plan -> one `.rbe` file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rbe_edge._version import __version__
from rbe_edge.errors import PackError
from rbe_edge.packing import codec, storage, writer
from rbe_edge.packing.calibration import (
    N_TOKENS,
    SETTINGS,
    WINDOW,
    Calibration,
    read_text,
    read_windows,
)
from rbe_edge.packing.journal import Finished, Journal
from rbe_edge.packing.mapping import plan_model
from rbe_edge.packing.plan import MetadataValue, TensorPlan
from rbe_edge.packing.sources import Source, open_source
from rbe_edge.packing.storage import Storage
from rbe_edge.packing.tokenizers import Tokenizer, read_gguf, read_llama2c, read_sentencepiece, read_tokenizer

#: progress(what, done, total): done and total count weights of the whole model; what it raises stops the packing.
Progress = Callable[[str, int, int], None]

MAX_THREADS = 64  # of the library


@dataclass(frozen=True)
class PackOptions:
    """bits: 2, 3 or 4 (trellis), 16 or 32 (dense). threads: None for all cores; the bytes written do not depend on it.

    force: replace an existing file. tokenizer: that of a llama2.c checkpoint, if it is not beside it. revision: branch,
    tag or commit of an org/name source. calibrate: a text in UTF-8, or the one that comes with the package, or none;
    matrices are encoded so that the errors that such text feels are small. It needs four bytes per weight of free space
    in the temporary directory.
    """

    bits: float = 4
    threads: int | None = None
    force: bool = False
    tokenizer: Path | None = None
    revision: str | None = None
    calibrate: Path | Literal["built-in", "none"] = "built-in"


@dataclass(frozen=True)
class TensorReport:
    """One tensor of the file. planes: bits of each, () for dense. error: squared, relative to the squared norm. offset:
    of its data in the file."""

    name: str
    kind: str
    rows: int
    cols: int
    planes: tuple[int, ...]
    bytes: int
    error: float
    offset: int


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
    if options.bits not in (*storage.TRELLIS_BITS, *storage.DENSE_BITS):
        known = ", ".join(map(str, (*storage.TRELLIS_BITS, *storage.DENSE_BITS)))
        raise PackError(f"--bits {options.bits:g} is not possible; give one of {known}")
    if options.threads is not None and not 1 <= options.threads <= MAX_THREADS:
        raise PackError(f"--threads {options.threads} is not possible; give 1 to {MAX_THREADS}, or none for all cores")
    out = Path(out)
    writer.check_target(out, options.force)
    opened = open_source(source, options.tokenizer, options.revision)
    plan = plan_model(opened)
    total = sum(tensor.rows * tensor.cols for tensor in plan.tensors)
    report = progress or (lambda what, done, total: None)
    tokenizer = source_tokenizer(opened, plan.metadata["vocabulary"])
    report("reading", 0, total)
    sha256 = opened.sha256(lambda done, of: report("reading", 0, total))
    how = storage.recipe(int(options.bits))
    calibrated = options.calibrate != "none" and how.projections != ()
    metadata: dict[str, MetadataValue] = {
        "name": opened.name,
        **plan.metadata,
        "parameters": plan.parameters,
        "source.name": opened.name,
        "source.sha256": sha256,
        "packer.version": __version__,
        "packer.options": f"{how} calibrated" if calibrated else str(how),
        **tokenizer.metadata(),
    }
    stores = [storage.choose(tensor, how) for tensor in plan.tensors]
    used = sorted({bits for store in stores for bits in store.planes})
    books = [codec.CODEBOOKS[bits] for bits in used]
    entries = [
        _entry(tensor, store, used, storage.rotation_seed(sha256, tensor.reads))
        for tensor, store in zip(plan.tensors, stores, strict=True)
    ]
    tensors: list[TensorReport] = []
    with ExitStack() as stack:
        file = stack.enter_context(
            writer.PackWriter(
                out,
                metadata,
                [writer.CodebookEntry(book.bits, tuple(book.t1), tuple(book.t2)) for book in books],
                {"tokenizer": tokenizer.to_blob()},
                entries,
                options.force,
            )
        )
        text = read_text(options.calibrate if isinstance(options.calibrate, Path) else None) if calibrated else ""
        work = [text, SETTINGS, *map(repr, [metadata, books, entries])]
        journal = stack.enter_context(Journal(out, work))
        done = 0
        calibration = None
        if calibrated:
            report("preparing calibration", 0, total)
            calibration = stack.enter_context(
                _calibration(source, text, options, lambda: report("calibrating", done, total))
            )

        def encoding(weights: int) -> None:
            report(tensor.name, done + weights, total)

        for number, (tensor, store, entry) in enumerate(zip(plan.tensors, stores, entries, strict=True)):
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
                        tensor.name, codec.decode(finished.data, store.planes, *shape, entry.seed, scale)
                    )
                file.write_tensor([finished.data], error, scale)
            else:
                data, error = storage.dense_data(tensor.read(), store.kind)
                file.write_tensor([data], error)
            tensors.append(
                TensorReport(
                    tensor.name, storage.KIND_NAMES[store.kind], tensor.rows, tensor.cols, store.planes, store.n_bytes,
                    error, file.offset(tensor.name),
                )
            )  # fmt: skip
            done += tensor.rows * tensor.cols
        report("writing", done, total)
        file.commit()
    return PackReport(
        out, opened.name, plan.architecture, plan.parameters, file.file_bytes, time.monotonic() - started,
        tuple(tensors),
    )  # fmt: skip


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


@contextmanager
def _calibration(
    source: str | Path, text: str, options: PackOptions, tick: Callable[[], None]
) -> Iterator[Calibration]:
    """Statistics of the model on the calibration text, from a copy with dense weights in the temporary directory."""
    with tempfile.TemporaryDirectory(prefix="rbe-pack-") as directory:
        dense = Path(directory) / "dense.rbe"
        exact = PackOptions(bits=32, tokenizer=options.tokenizer, revision=options.revision)
        copied = pack(source, dense, exact, lambda what, done, total: tick())
        areas = {tensor.name: (tensor.offset, tensor.bytes) for tensor in copied.tensors}
        windows = read_windows(dense, text, N_TOKENS, WINDOW)
        with Calibration(dense, areas, windows, options.threads, tick=tick) as calibration:
            yield calibration


def _entry(tensor: TensorPlan, store: Storage, codebooks: list[int], seed: int) -> writer.TensorEntry:
    if not store.planes:
        return writer.TensorEntry(tensor.name, store.kind, tensor.rows, tensor.cols, store.n_bytes)
    return writer.TensorEntry(
        tensor.name, store.kind, tensor.rows, tensor.cols, store.n_bytes,
        seed=seed, rotation_block=codec.rotation_block(tensor.cols),
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
    encoded = codec.encode(
        values,
        store.planes,
        entry.seed,
        options.threads,
        lambda part, of: report(weights * part // of),
        feedback,
    )
    return Finished(b"".join(encoded.data), encoded.error, encoded.tensor_scale)
