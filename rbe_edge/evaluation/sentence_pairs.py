"""How well a sentence encoder orders pairs of sentences by likeness, and how far it is from its source on them.

The pairs are those of STS-B: their likeness, 0 to 5, is what people said. What counts is the correlation of ranks
(Spearman) of the cosines of the vectors with them, times 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import OptionError
from rbe_edge.evaluation.glue_file import GlueExample
from rbe_edge.evaluation.scores import pearson, spearman
from rbe_edge.progress import Progress
from rbe_edge.runtime.encoder_agreement import cosine_distances
from rbe_edge.runtime.encoder_tasks import prompt_text, scaled
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.probabilities import standard_error

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PairScores:
    """Both correlations times 100, of n pairs."""

    spearman: float
    pearson: float
    n: int


@dataclass(frozen=True)
class PairsBesideSource:
    """distance: one minus the cosine of the vectors of a text in both models, the mean over all texts. error: its
    standard error; p99: 99 of 100 texts are nearer."""

    found: PairScores
    source: PairScores
    distance: float
    error: float
    p99: float


def vectors(
    model: Model, pairs: Sequence[GlueExample], progress: Progress, *, threads: int = 0, planes: int = 0
) -> FloatArray:
    """Of the first texts of all pairs, then of the second ones, float32 [2 n][numbers] of length 1. Texts that are too
    long are cut. Raises OptionError for a model that gives no vector of a text."""
    if not model.encoder_info.embeds:
        raise OptionError(f"{model.info.path}: gives no vector of a text; --sts measures a sentence encoder")
    texts = [pair.texts[number] for number in (0, 1) for pair in pairs]
    begun = progress.done
    with model.encoder(threads=threads, planes=planes) as encoder:
        read = encoder.read(texts, cut=True, prefix=prompt_text(model, None))
        found = encoder.pooled(read, progress=progress.share(progress.what, len(texts)))
        progress.done = begun + len(texts)
    return scaled(found)


def scores(found: FloatArray, pairs: Sequence[GlueExample]) -> PairScores:
    """Of what vectors() gave."""
    n = len(pairs)
    cosines = np.einsum("ij,ij->i", found[:n], found[n:], dtype=np.float64).tolist()
    said = [pair.answer for pair in pairs]
    return PairScores(100 * spearman(cosines, said), 100 * pearson(cosines, said), n)


def beside(found: FloatArray, source: FloatArray, pairs: Sequence[GlueExample]) -> PairsBesideSource:
    """Of a file and its source. Raises OptionError where their vectors have other sizes."""
    if found.shape != source.shape:
        raise OptionError(f"the vectors have {found.shape[1]} numbers, those of the source {source.shape[1]}")
    each = cosine_distances(source, found)
    return PairsBesideSource(
        scores(found, pairs), scores(source, pairs), float(each.mean()), standard_error(each),
        float(np.quantile(each, 0.99)),
    )  # fmt: skip
