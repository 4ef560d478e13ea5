"""What is packed: all that is known of a source before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rbe_edge._version import __version__
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.packing import schedule, sensitivity, smooth_codes, storage
from rbe_edge.packing.calibration import read_text
from rbe_edge.packing.chat_proof import chat_form
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.grouped_matrices import with_grouped
from rbe_edge.packing.kinds import kind_of
from rbe_edge.packing.options import PackOptions
from rbe_edge.progress import Progress
from rbe_edge.sources.generation_config import generation_metadata
from rbe_edge.sources.hub import Fetched
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import ModelPlan, TensorPlan
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.of_source import source_tokenizer
from rbe_edge.sources.tokenizers.pairs import between_texts
from rbe_edge.sources.types import Source

TABLE_PLANES = (4, 2)
"""Of the trellis that a smooth code has to beat to be used for a table of positions: 6 bits."""


@dataclass(frozen=True)
class Subject:
    """text: for calibration, "" for none. notes: what of the source was left out or read otherwise than it says, a
    line each for a person."""

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


def read_subject(source: str | Path | Fetched, options: PackOptions, forecast: Forecast) -> Subject:
    """Opens a source, and reads of it all but the weights of matrices, which its hash alone sees. Raises as pack()."""
    forecast.tell("reading")
    opened = open_source(source, options.tokenizer, options.revision)
    plan = plan_model(opened)
    tokenizer = source_tokenizer(opened, plan.vocabulary)
    text = read_text(options.calibrate if isinstance(options.calibrate, Path) else None) if options.calibrated else ""
    n_bytes = sum(path.stat().st_size for path in opened.weight_files)
    forecast.plan(schedule.added({"reading": n_bytes / 1e9}, _work_ahead(plan, options, text)))
    with forecast.doing("reading", "reading", n_bytes / 1e9) as report:
        sha256 = opened.sha256(report)
    if options.coded:
        telling = Progress(lambda what, done, total: forecast.tell(f"reading {what}"))
        plan = smooth_codes.with_tables(plan, TABLE_PLANES, options.threads, telling)
        plan = with_grouped(plan, telling)
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
    between = between_texts(opened) if plan.is_encoder else None
    if between and between != tokenizer.after and max(between) < tokenizer.size:
        metadata["pair.between"] = between
    if any(path.suffix == ".safetensors" for path in opened.weight_files):  # else the directory is of other files too
        metadata.update(generation_metadata(opened.directory))
    form = chat_form(metadata, lambda: forecast.tell("proving the chat template"))
    if form is not None:
        metadata["chat_form"] = form
    notes = (*plan.notes, *tokenizer.notes)
    return Subject(opened, sha256, plan, metadata, {"tokenizer": write_blob(tokenizer)}, text, notes)


_BYTES_PER_TOKEN = 3  # of a calibration text, before there is a tokenizer


def _work_ahead(plan: ModelPlan, options: PackOptions, text: str) -> dict[str, float]:
    """What there is to do once the source is read, about."""
    weights, effort = schedule.weights_of(plan), options.work
    file_bytes = plan.parameters * options.bits / 8
    coded = sensitivity.coded(plan.tensors) if options.coded else []
    planes = schedule.guessed_planes(options.bits)
    work = schedule.encoding([(tensor, planes) for tensor in coded], file_bytes, effort.quick)
    if not options.calibrated:
        return work
    n_tokens = min(effort.tokens, len(text) // _BYTES_PER_TOKEN)
    work = schedule.added(work, {"copying": sum(weights.values()) / 1e9})
    return schedule.added(work, kind_of(plan).expected(weights, coded, n_tokens, plan.vocabulary, effort))
