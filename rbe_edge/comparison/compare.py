"""Whole files side by side: llama.cpp's quantiser and this project's packer on one model, both calibrated on the same
tokens, both measured on the same tokens in windows of the same length, each engine against itself in fp32.

Every KL divergence is from the fp32 model in the engine that runs the file: so rounding in which the engines differ
counts for neither. Both keep keys and values in fp16, as they do by default.

A source that is quantised itself, a GGUF file, lies on the grid of its type. What that type costs once more is measured
as well and reported first; rows of the type are marked and compared with nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import OptionError
from rbe_edge.evaluation.divergence import Divergence, Sums, pieces, summary
from rbe_edge.evaluation.perplexity import DEFAULT_WINDOW, windows_of
from rbe_edge.llama_cpp import export, quantiser
from rbe_edge.llama_cpp.importance import importance
from rbe_edge.packing.calibration import N_TOKENS, WINDOW, read_windows
from rbe_edge.packing.calibration import read_text as calibration_text
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.progress import Listener, Progress
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.probabilities import log_softmax
from rbe_edge.runtime.session import Session
from rbe_edge.sources.gguf.own_type import OwnType, own_type
from rbe_edge.sources.open import open_source
from rbe_edge.sources.tokenizers.of_source import source_tokenizer

FloatArray = npt.NDArray[np.float32]

GGML, RBE = "llama.cpp", "rbe"

DEFAULT_BITS = (2.5, 3.2, 4.25, 5.0)
DEFAULT_TYPES = (
    "IQ2_XS", "IQ2_M", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K_M", "IQ4_XS", "Q4_0", "Q4_K_M", "Q5_0", "Q5_K_M", "Q6_K"
)  # fmt: skip
DEFAULT_NARROW_TYPES = ("Q4_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0")


@dataclass(frozen=True)
class CompareOptions:
    """calibrate: the text that both sides are calibrated on, None for the one that comes with the package. bits, types:
    what is measured; None for types: a choice that suits the widths of the model. files: .rbe files of this model that
    are measured too. window: tokens, 0 for 1024 or the context. n_windows: the first so many. threads: 0 for all."""

    calibrate: Path | None = None
    bits: tuple[float, ...] = DEFAULT_BITS
    types: tuple[str, ...] | None = None
    files: tuple[Path, ...] = ()
    window: int = 0
    n_windows: int | None = None
    threads: int = 0
    tokenizer: Path | None = None


@dataclass(frozen=True)
class Row:
    """One file. bits_per_weight: of the whole of it (for projections, of their tensors alone), per weight. own: of the
    type that the source's weights had already."""

    engine: str
    name: str
    bytes: int
    bits_per_weight: float
    measured: Divergence
    own: bool = False


@dataclass(frozen=True)
class Comparison:
    """rows: by engine and size. perplexity: of the fp32 model, in this project's engine. engines_kl: the divergence
    between the two engines in fp32, None where only one ran. own_type: in which the source is, of llama.cpp's names;
    None where it is not quantised."""

    model: str
    parameters: int
    perplexity: float
    engines_kl: float | None
    calibration_tokens: int
    n_windows: int
    window: int
    llama_cpp_python: str
    rows: tuple[Row, ...]
    own_type: str | None = None


class Scorer(Protocol):
    """A model that continues one window at a time."""

    def clear(self) -> None: ...

    def logits(self, tokens: Sequence[int]) -> FloatArray: ...


class RbeScorer:
    """A session of this project's engine."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def clear(self) -> None:
        self._session.rewind(0)

    def logits(self, tokens: Sequence[int]) -> FloatArray:
        logits = self._session.score(tokens, logits=True).logits
        assert logits is not None
        return logits


@contextmanager
def rbe_scorer(path: Path, context: int, threads: int) -> Iterator[Scorer]:
    """A .rbe file, its checksums not read."""
    with Model.open(path, verify=False) as model, model.session(context=context, threads=threads) as session:
        yield RbeScorer(session)


@dataclass(frozen=True)
class Prepared:
    """What both sides start from: the source in fp32 as a .rbe file, and the tokens of both texts in windows. own: the
    type of a source that is quantised."""

    dense: Path
    packed: PackReport
    vocabulary: int
    calibration: list[Sequence[int]]
    windows: list[Sequence[int]]
    own: OwnType | None = None

    @property
    def longest(self) -> int:
        return max(map(len, self.windows))


def prepare(source: str, text: str, options: CompareOptions, directory: Path, progress: Progress) -> Prepared:
    """Packs the source without loss into `directory` and tokenizes both texts.

    Raises OptionError for a text too short or unreadable, PackError for a source that cannot be packed.
    """
    dense = directory / "fp32.rbe"
    packed = pack(source, dense, PackOptions(bits=32, tokenizer=options.tokenizer), progress.tell)
    with Model.open(dense, verify=False) as model:
        if model.encoder_info.is_encoder:
            raise OptionError("an encoder has no perplexity to compare; measure it with `rbe eval --glue`")
    calibration = read_windows(dense, calibration_text(options.calibrate), N_TOKENS, WINDOW)
    with Model.open(dense, verify=False) as model:
        vocabulary = model.info.vocabulary
        window = options.window or min(DEFAULT_WINDOW, model.info.context)
        if not 2 <= window <= model.info.context:
            raise OptionError(f"--window {window} is not possible; give 2 to {model.info.context} tokens")
        windows = windows_of(model, text, window, options.n_windows)
    own = own_type(open_source(source, options.tokenizer))
    return Prepared(dense, packed, vocabulary, calibration, windows, own)


def types_for(model: Model, types: tuple[str, ...] | None, own: str | None = None) -> tuple[str, ...]:
    """The types to measure, the source's own among them. llama.cpp stores a matrix whose width 256 does not divide in
    another type than asked, or refuses; such models get types of blocks of 32."""
    if types is None:
        narrow = any(info.cols % 256 for name, info in model.tensors.items() if export.is_projection(name))
        types = DEFAULT_NARROW_TYPES if narrow else DEFAULT_TYPES
    unknown = [name for name in types if name not in quantiser.FILE_TYPES]
    if unknown:
        raise quantiser.unknown_type(unknown[0], quantiser.FILE_TYPES)
    return types if own is None or own in types else (own, *types)


def check_file(path: Path, source: Model) -> None:
    """Raises OptionError for a .rbe file that was packed from another model."""
    with Model.open(path) as model:
        if model.metadata.get("source.sha256") != source.metadata["source.sha256"]:
            raise OptionError(f"{path} was packed from another model; give files of {source.metadata['name']}")


def export_model(
    source: str, prepared: Prepared, options: CompareOptions, directory: Path, progress: Progress
) -> tuple[Path, dict[str, FloatArray]]:
    """The fp32 model as a GGUF file, and its importance matrix."""
    full = directory / "fp32.gguf"
    with Model.open(prepared.dense, verify=False) as model:
        tokenizer = source_tokenizer(open_source(source, options.tokenizer), model.info.vocabulary)
        progress.tell("writing GGUF", 0, 1)
        export.write_gguf(model, tokenizer, full, prepared.longest)
        columns = importance(model, prepared.calibration, options.threads, progress.of("importance matrix"))
    return full, columns


def compare(
    source: str, text: str, options: CompareOptions, directory: Path, progress: Listener | None = None
) -> Comparison:
    """Makes every file in `directory` (which must be empty; the files stay) and measures all of them on `text`.

    Raises MissingExtra without gguf and llama-cpp-python, PackError for a model that llama.cpp computes otherwise,
    OptionError for a type it refuses, and what pack() raises.
    """
    steps = Progress(progress)
    version = quantiser.version()
    export.require_gguf()
    prepared = prepare(source, text, options, directory, steps)
    with Model.open(prepared.dense, verify=False) as model:
        own = quantiser.mixture_of(prepared.own)
        types = types_for(model, options.types, own)
        for path in options.files:
            check_file(path, model)
    full, columns = export_model(source, prepared, options, directory, steps)
    ggml: dict[Path, str] = {}
    for done, name in enumerate(types):
        steps.tell(f"quantising {name}", done, len(types))
        out = directory / f"{name}.gguf"
        quantiser.quantize(full, out, name, columns, threads=options.threads)
        ggml[out] = name
    rbe = {path: path.stem for path in options.files}
    for bits in options.bits:
        name, out = f"{bits:g}", directory / f"{bits:g}.rbe"
        how = PackOptions(
            bits=bits,
            calibrate=options.calibrate or "built-in",
            tokenizer=options.tokenizer,
            threads=options.threads or None,
        )
        pack(source, out, how, _labelled(steps, f"{name} bits: "))
        rbe[out] = name
    references, found = _measure(prepared, full, ggml, rbe, options.threads, steps)
    parameters = prepared.packed.parameters

    def row(engine: str, name: str, path: Path, measured: Divergence) -> Row:
        size = path.stat().st_size
        on_grid = engine == GGML and prepared.own is not None and (name == own or prepared.own.on_grid(name))
        return Row(engine, name, size, 8 * size / parameters, measured, on_grid)

    rows = [row(GGML, name, path, found[path]) for path, name in ggml.items()]
    rows += [row(RBE, name, path, found[path]) for path, name in rbe.items()]
    rows.sort(key=lambda row: (row.engine, row.bytes))
    return Comparison(
        prepared.packed.name,
        parameters,
        references.source_perplexity,
        references.kl,
        sum(map(len, prepared.calibration)),
        len(prepared.windows),
        prepared.longest,
        version,
        tuple(rows),
        own,
    )


def _labelled(progress: Progress, label: str) -> Listener:
    return lambda what, done, total: progress.tell(label + what, done, total)


def _measure(
    prepared: Prepared, full: Path, ggml: Iterable[Path], rbe: Iterable[Path], threads: int, progress: Progress
) -> tuple[Divergence, dict[Path, Divergence]]:
    """The two fp32 models against each other, and every file against the fp32 model of its engine."""
    longest = prepared.longest
    with ExitStack() as stack:

        def llama(path: Path) -> Scorer:
            return stack.enter_context(quantiser.LlamaCpp(path, longest, threads))

        def ours(path: Path) -> Scorer:
            return stack.enter_context(rbe_scorer(path, longest, threads))

        families = [
            (ours(prepared.dense), {path: ours(path) for path in rbe}),
            (llama(full), {path: llama(path) for path in ggml}),
        ]
        references, found = measure(prepared, families, progress)
    return summary(references, longest), {path: summary(parts, longest) for path, parts in found.items()}


def measure(
    prepared: Prepared, families: Sequence[tuple[Scorer, dict[Path, Scorer]]], progress: Progress
) -> tuple[list[Sums], dict[Path, list[Sums]]]:
    """Runs all models on the same windows. families: each a reference and the models that are measured against it. The
    last reference is also compared with the first."""
    references: list[Sums] = []
    found: dict[Path, list[Sums]] = {path: [] for _, models in families for path in models}
    n_windows = len(prepared.windows)
    for done, window in enumerate(prepared.windows):
        progress.tell("evaluating", done, n_windows)
        for reference, models in families:
            for scorer in (reference, *models.values()):
                scorer.clear()
        between = Sums()
        sums = {path: Sums() for path in found}
        for given, followed in pieces(window, prepared.vocabulary):
            exact = [log_softmax(reference.logits(given)) for reference, _ in families]
            between.add(exact[0], exact[-1], followed)
            for source, (_, models) in zip(exact, families, strict=True):
                for path, scorer in models.items():
                    sums[path].add(source, log_softmax(scorer.logits(given)), followed)
        references.append(between)
        for path, part in sums.items():
            found[path].append(part)
    progress.tell("evaluating", n_windows, n_windows)
    return references, found
