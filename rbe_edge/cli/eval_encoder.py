"""`rbe eval FILE --sts FILE`: a sentence encoder on pairs of sentences, beside its source; and `rbe eval FILE --text T
--source S` of an encoder: how far what it gives is from its source."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rbe_edge.cli.opened_source import opened_source
from rbe_edge.cli.output import ProgressBar
from rbe_edge.errors import OptionError
from rbe_edge.progress import Progress

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model


def evaluate_pairs(arguments: argparse.Namespace) -> dict[str, Any]:
    """What --sts measures, by name."""
    from rbe_edge.evaluation.glue_file import read_glue, task_named
    from rbe_edge.evaluation.sentence_pairs import beside, scores, vectors
    from rbe_edge.runtime.model import Model

    check_flags(arguments, "--sts", "--glue")
    pairs = read_glue(arguments.sts, task_named("sts-b"), arguments.limit)
    how = {"threads": arguments.threads, "planes": arguments.read_planes}
    with ExitStack() as stack:
        model = stack.enter_context(Model.open(arguments.file))
        known: dict[str, Any] = {"file": str(arguments.file), "pairs_file": arguments.sts.name, "pairs": len(pairs)}
        known |= {"file_bytes": model.info.file_bytes, "bits_per_weight": model.info.bits_per_weight}
        source = stack.enter_context(opened_source(arguments.source)) if arguments.source else None
        bar = stack.enter_context(ProgressBar())
        progress = Progress(bar.show, "the file", 2 * len(pairs) * (1 if source is None else 2))
        found = vectors(model, pairs, progress, **how)
        if source is None:
            alone = scores(found, pairs)
            return known | {"spearman": alone.spearman, "pearson": alone.pearson}
        progress.what = "the source"
        both = beside(found, vectors(source, pairs, progress, threads=arguments.threads), pairs)
    return known | {
        "spearman": both.found.spearman, "source_spearman": both.source.spearman,
        "pearson": both.found.pearson, "source_pearson": both.source.pearson,
        "cosine_distance": both.distance, "cosine_distance_error": both.error, "cosine_distance_p99": both.p99,
    }  # fmt: skip


def check_flags(arguments: argparse.Namespace, flag: str, other: str) -> None:
    """flag: --sts or --glue, which was given; other: the other one. Raises OptionError for what does not go with it."""
    of_decoders = arguments.text is not None or arguments.choices or arguments.gsm8k or arguments.power
    if of_decoders or (arguments.sts is not None and arguments.glue is not None):
        raise OptionError(f"{flag} measures an encoder; leave out --text, --choices, --gsm8k, {other} and --power")
    if arguments.window or arguments.windows is not None or arguments.shots is not None:
        raise OptionError(f"--window, --windows and --shots are not for {flag}; leave them out")
    if arguments.limit is not None and arguments.limit < 1:
        raise OptionError("--limit is a count, 1 or more")


def evaluate_encoder(
    model: Model, source: Model | None, text: str, arguments: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    """What an encoder gives for the paragraphs of a text, beside its source: KL of masked words or of classes, or
    cosine distances."""
    import numpy as np

    from rbe_edge.runtime.encoder_agreement import encoder_outputs
    from rbe_edge.runtime.probabilities import standard_error

    if source is None:
        raise OptionError(
            "an encoder predicts no text, so there is no perplexity; give --source SRC, or "
            "--sts FILE or --glue TASK FILE in place of --text"
        )
    paragraphs = [part.strip() for part in text.splitlines() if part.strip()][: arguments.windows]
    with model.encoder() as reader:
        texts = [list(one.tokens) for one in reader.read(paragraphs, cut=True)]
    how: dict[str, Any] = {"threads": arguments.threads, "most_words": 4096, "progress": progress}
    expected = encoder_outputs(source, texts, **how)
    found = expected.agreement(encoder_outputs(model, texts, planes=arguments.read_planes, **how))
    name = "kl" if found.is_kl else "cosine_distance"
    known: dict[str, Any] = {"file": str(arguments.file), "text": arguments.text.name, "paragraphs": len(texts)}
    known |= {"file_bytes": model.info.file_bytes, "bits_per_weight": model.info.bits_per_weight}
    return known | {
        found.of.replace(" ", "_"): len(found.each), name: float(found.each.mean()),
        f"{name}_error": standard_error(found.each), f"{name}_p99": float(np.quantile(found.each, 0.99)),
    }  # fmt: skip
