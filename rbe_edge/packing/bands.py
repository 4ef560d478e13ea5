"""Bands of rows: an embedding, or an lm_head, gets more bits for tokens that occur often (docs/codec.md, "Bands").

Vocabularies begin with the tokens that were merged first, which are those that occur most. So the rows that count lie
together, and consecutive rows may share a rate. A band is a tensor of the file, named NAME#0, NAME#1, ...; the engine
joins them (docs/format.md, "Bands").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from rbe_edge.format.bands import band_name
from rbe_edge.sources.plan import TensorPlan

MOST_BANDS = 32
UNIT_ROWS = 256
"""Bands have a multiple of it, and LEAST_ROWS at least: strips are not cut, and lanes stay as long."""

LEAST_ROWS = 1024
MOST_BITS = 6.0
"""Of a file in bands: where there is room for more, matrices as they are may be better, which bands cannot be."""

EVEN_SHARE = 0.1
"""Of what errors cost, taken as spread over all rows alike: a text uses few of the tokens that other texts use."""

ROLES = ("embedding", "head")
"""Of matrices with a row for each token."""

Energies = npt.NDArray[np.float64]


def rows_of_band(rows: int) -> int:
    """Of a matrix of so many rows; the last band may have fewer."""
    return max(LEAST_ROWS, -(-rows // (MOST_BANDS * UNIT_ROWS)) * UNIT_ROWS)


def count(rows: int) -> int:
    """The bands of a matrix of so many rows."""
    return -(-rows // rows_of_band(rows))


def by_band(rows: npt.NDArray[np.int64], energies: npt.NDArray[np.float64], of_rows: int) -> Energies:
    """The sum of what rows have, for each band of a matrix of of_rows rows."""
    sums: Energies = np.bincount(rows // rows_of_band(of_rows), energies, count(of_rows)).astype(np.float64)
    return sums


def shares(energies: Energies) -> Energies:
    """Of each band in the sum, even where there is none."""
    total = float(energies.sum())
    return energies / total if total > 0 else np.full(len(energies), 1 / len(energies))


def split(
    tensors: Sequence[TensorPlan], sensitivities: Mapping[str, float], energies: Mapping[str, Sequence[float]]
) -> tuple[tuple[TensorPlan, ...], dict[str, float]]:
    """Tensors with bands in place of the matrices of which energies are known, and their sensitivities.

    energies: by matrix, what errors in each of its bands cost, in any unit. Matrices that cannot be cut by rows, or
    have one band, stay whole.
    """
    found: list[TensorPlan] = []
    of_bands = dict(sensitivities)
    for tensor in tensors:
        bands = _cut(tensor) if tensor.name in energies else []
        if len(bands) < 2:
            found.append(tensor)
            continue
        size = np.array([band.rows for band in bands], np.float64) / tensor.rows
        share = EVEN_SHARE * size + (1 - EVEN_SHARE) * shares(np.array(energies[tensor.name], np.float64))
        whole = of_bands.pop(tensor.name)
        of_bands |= {band.name: whole * float(part) for band, part in zip(bands, share, strict=True)}
        found += bands
    return tuple(found), of_bands


def _cut(tensor: TensorPlan) -> list[TensorPlan]:
    """Its bands; none where its rows cannot be read apart."""
    source = tensor.source
    if source is None or tensor.stored is not None or tensor.transposed:
        return []
    if tensor.axis != 0 or len(source.shape) != 2 or source.data.ndim != 2 or len(source.data) != source.shape[0]:
        return []
    step, bands = rows_of_band(tensor.rows), []
    for number, first in enumerate(range(0, tensor.rows, step)):
        rows = min(step, tensor.rows - first)
        start = tensor.start + first
        name = band_name(tensor.name, number)
        bands.append(replace(tensor, name=name, rows=rows, start=start, stop=start + rows))
    return bands
