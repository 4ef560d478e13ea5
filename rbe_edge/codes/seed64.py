"""The `seed64` code: a whole matrix from one 64-bit number and a scale (docs/smooth_codes.md).

`weights` is the formula, `gradient` its derivatives, `fit` looks for the seed of a given matrix.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge.codes import small_systems

Floats = npt.NDArray[np.float64]

DATA_BYTES = 12
_TURN = 2 * np.pi
_N_PEAKS = 6


@dataclass(frozen=True)
class _Field:
    """Bits of the seed: value = (n + offset) / per_unit, n signed or not."""

    name: str
    first: int
    bits: int
    per_unit: float
    signed: bool = False
    offset: float = 0.0
    wraps: bool = False  # a phase: whole turns make no difference

    @property
    def least(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def most(self) -> int:
        return self.least + (1 << self.bits) - 1

    def value(self, n: int) -> float:
        return (n + self.offset) / self.per_unit

    def nearest(self, value: float) -> int:
        return self.into_range(int(np.rint(value * self.per_unit - self.offset)))

    def into_range(self, n: int) -> int:
        return n % (1 << self.bits) if self.wraps else min(max(n, self.least), self.most)


# In the order of the columns of `gradient`, behind the scale.
FIELDS = (
    _Field("radius", 56, 8, 256.0, offset=0.5),
    _Field("depth", 50, 6, 63.0),
    _Field("phase", 29, 7, 128.0, wraps=True),
    _Field("phase_u", 36, 7, 8.0, signed=True),
    _Field("phase_v", 43, 7, 8.0, signed=True),
    _Field("angle", 0, 9, 512.0, wraps=True),
    _Field("angle_u", 9, 10, 32.0, signed=True),
    _Field("angle_v", 19, 10, 32.0, signed=True),
)
_LOW = np.array([1e-3, 0, -np.inf, -8, -8, -np.inf, -16, -16])
_HIGH = np.array([1 - 1e-3, 1, np.inf, 8 - 1 / 8, 8 - 1 / 8, np.inf, 16 - 1 / 32, 16 - 1 / 32])


@dataclass(frozen=True)
class Encoded:
    """A tensor as its file holds it. error: relative, |W - W'| / |W|."""

    rows: int
    cols: int
    seed: int
    scale: float
    error: float

    @property
    def data(self) -> bytes:
        return struct.pack("<Qf", self.seed, self.scale)


def pack_fields(numbers: tuple[int, ...]) -> int:
    """The seed with these numbers in FIELDS."""
    seed = 0
    for field, n in zip(FIELDS, numbers, strict=True):
        assert field.least <= n <= field.most, field.name
        seed |= (n & ((1 << field.bits) - 1)) << field.first
    return seed


def unpack_fields(seed: int) -> tuple[int, ...]:
    """What a seed has in FIELDS."""
    found = []
    for field in FIELDS:
        n = seed >> field.first & ((1 << field.bits) - 1)
        found.append(n - (1 << field.bits) if field.signed and n >> (field.bits - 1) else n)
    return tuple(found)


def parameters(seed: int) -> Floats:
    """float64[8]: the values of FIELDS."""
    return np.array([field.value(n) for field, n in zip(FIELDS, unpack_fields(seed), strict=True)])


def coordinates(rows: int, cols: int) -> tuple[Floats, Floats]:
    """u [rows][1] and v [1][cols]."""
    u = (np.arange(rows)[:, None] + 0.5) / rows - 0.5
    v = (np.arange(cols)[None, :] + 0.5) / cols - 0.5
    return u, v


def field_of(values: Floats, u: Floats, v: Floats) -> Floats:
    """The weights at u, v for a scale of 1 and real parameters float64[8] in the order of FIELDS."""
    radius, depth, phase, phase_u, phase_v, angle, angle_u, angle_v = values
    r = radius * (1 + depth * np.cos(_TURN * (phase + phase_u * u + phase_v * v))) / (1 + depth)
    weights: Floats = 2 * r / (1 + r * r) * np.sin(_TURN * (angle + angle_u * u + angle_v * v))
    return weights


def gradient(values: Floats, scale: float, u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """The weights and their derivatives [9][...] by the scale and the parameters of FIELDS, in that order."""
    radius, depth, phase, phase_u, phase_v, angle, angle_u, angle_v = values
    turned = _TURN * (phase + phase_u * u + phase_v * v)
    theta = _TURN * (angle + angle_u * u + angle_v * v)
    cosine, sine = np.cos(turned), np.sin(turned)
    relative = (1 + depth * cosine) / (1 + depth)  # r / R
    r = radius * relative
    h = 2 * r / (1 + r * r)
    slope = scale * np.sin(theta) * 2 * (1 - r * r) / (1 + r * r) ** 2
    by_phase = -_TURN * slope * radius * depth * sine / (1 + depth)
    by_angle = _TURN * scale * h * np.cos(theta)
    unit = h * np.sin(theta)
    derivatives = [
        unit, slope * relative, slope * radius * (cosine - 1) / (1 + depth) ** 2,
        by_phase, by_phase * u, by_phase * v, by_angle, by_angle * u, by_angle * v,
    ]  # fmt: skip
    return scale * unit, np.stack(derivatives)


def weights(seed: int, scale: float, rows: int, cols: int) -> npt.NDArray[np.float32]:
    """The matrix, float32[rows][cols], within 1e-6 of its largest weight of what the engine computes."""
    return (float(np.float32(scale)) * field_of(parameters(seed), *coordinates(rows, cols))).astype(np.float32)


@dataclass
class _Sample:
    """The matrix at some of its rows and columns."""

    u: Floats
    v: Floats
    values: Floats

    @classmethod
    def of(cls, matrix: npt.NDArray[np.floating], most: int) -> _Sample:
        rows, cols = matrix.shape
        u, v = coordinates(rows, cols)
        r = np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))
        c = np.unique(np.linspace(0, cols - 1, min(cols, most)).astype(np.int64))
        return cls(u[r], v[:, c], matrix[np.ix_(r, c)].astype(np.float64))

    def best_scale(self, values: Floats) -> tuple[float, float]:
        """Least squares, and the squared error that it leaves."""
        unit = field_of(values, self.u, self.v)
        square = float(np.einsum("ij,ij->", unit, unit))
        scale = float(np.einsum("ij,ij->", unit, self.values)) / square if square > 0 else 0.0
        left = self.values - scale * unit
        return scale, float(np.einsum("ij,ij->", left, left))


def _descend(sample: _Sample, values: Floats, steps: int) -> tuple[Floats, float]:
    """Levenberg-Marquardt from given parameters: the best found and their squared error."""
    scale, error = sample.best_scale(values)
    damping = 1e-2
    for _ in range(steps):
        fitted, derivatives = gradient(values, scale, sample.u, sample.v)
        left = sample.values - fitted
        # einsum, not BLAS: its order of additions does not depend on the number of threads.
        matrix = np.einsum("aij,bij->ab", derivatives, derivatives)
        right = np.einsum("aij,ij->a", derivatives, left)
        diagonal = np.diag(matrix)
        if not diagonal.max() > 0:
            break
        damped = matrix + np.diag(damping * diagonal + 1e-12 * diagonal.max())
        move = small_systems.solve(damped, right)
        trial = np.clip(values + move[1:], _LOW, _HIGH)
        trial_scale, trial_error = sample.best_scale(trial)
        if trial_error < error:
            done = error - trial_error <= 1e-9 * error
            values, scale, error, damping = trial, trial_scale, trial_error, damping / 3
            if done:
                break
        else:
            damping *= 4
            if damping > 1e8:
                break
    return values, error


def _starts(matrix: npt.NDArray[np.floating], seed: int, count: int) -> list[Floats]:
    """The angle from the strongest plane waves, the radius at random."""
    rows, cols = matrix.shape
    spectrum = np.fft.fft2(matrix.astype(np.float64))
    f, g = np.fft.fftfreq(rows, 1 / rows), np.fft.fftfreq(cols, 1 / cols)
    near = (np.abs(f)[:, None] < 16) & (np.abs(g)[None, :] < 16) & ((f[:, None] > 0) | ((f[:, None] == 0) & (g >= 0)))
    strength = np.where(near, np.abs(spectrum), -1.0)
    order = np.argsort(-strength, axis=None, kind="stable")[:_N_PEAKS]
    peaks = np.array([(f[p], g[q]) for p, q in (np.unravel_index(place, strength.shape) for place in order)])
    rng = np.random.default_rng(seed)
    starts = []
    for i in range(count):
        angle, turns, depth = peaks[i % len(peaks)], rng.uniform(-2, 2, 2), 0.05
        if i >= len(peaks):
            # A radius that comes and goes makes of one wave several, apart by how often it does.
            depth = rng.uniform(0.1, 0.9)
            other = peaks[rng.integers(len(peaks))] * rng.choice([-1, 1])
            if i % 2:
                turns = other - angle + rng.uniform(-0.4, 0.4, 2)
            angle = angle + rng.uniform(-0.5, 0.5, 2)
        values = np.array([rng.uniform(0.1, 0.9), depth, rng.uniform(0, 1), *turns, rng.uniform(0, 1), *angle])
        starts.append(np.clip(values, _LOW, _HIGH))
    return starts


def _round(sample: _Sample, values: Floats) -> tuple[tuple[int, ...], float]:
    """The fields nearest to the parameters, then moved one by one while that helps."""
    numbers = [field.nearest(value) for field, value in zip(FIELDS, values, strict=True)]

    def error_of(candidate: list[int]) -> float:
        real = np.array([field.value(n) for field, n in zip(FIELDS, candidate, strict=True)])
        return sample.best_scale(real)[1]

    best = error_of(numbers)
    moved = True
    while moved:
        moved = False
        for place, field in enumerate(FIELDS):
            for step in (-2, -1, 1, 2):
                trial = numbers.copy()
                trial[place] = field.into_range(trial[place] + step)
                error = error_of(trial)
                if error < best * (1 - 1e-9):
                    numbers, best, moved = trial, error, True
    return tuple(numbers), best


def fit(
    matrix: npt.NDArray[np.floating], seed: int = 1, starts: int = 90, hopeless: float | None = None
) -> Encoded | None:
    """Looks for the seed of a matrix, finite float[rows][cols]. The same arguments give the same result. With
    `hopeless` it gives up, with None, where the six strongest plane waves all lead to a larger relative error."""
    rows, cols = matrix.shape
    coarse, fine = _Sample.of(matrix, 48), _Sample.of(matrix, 256)
    places = _starts(matrix, seed, starts)
    found = [_descend(coarse, start, 12) for start in places[:_N_PEAKS]]
    if hopeless is not None:
        square = float(np.einsum("ij,ij->", coarse.values, coarse.values))
        if min(error for _, error in found) > hopeless**2 * square:
            return None
    found += [_descend(coarse, start, 12) for start in places[_N_PEAKS:]]
    found.sort(key=lambda one: one[1])
    found = [_descend(coarse, values, 30) for values, _ in found[:8]]
    found.sort(key=lambda one: one[1])
    best: tuple[tuple[int, ...], float] | None = None
    for values, _ in found[:3]:
        rounded = _round(fine, _descend(fine, values, 25)[0])
        if best is None or rounded[1] < best[1]:
            best = rounded
    assert best is not None
    number = pack_fields(best[0])
    whole = _Sample.of(matrix, max(rows, cols))
    scale = float(np.float32(whole.best_scale(parameters(number))[0]))
    left = whole.values - scale * field_of(parameters(number), whole.u, whole.v)
    norm = float(np.einsum("ij,ij->", whole.values, whole.values))
    error = float(np.sqrt(np.einsum("ij,ij->", left, left) / norm)) if norm > 0 else 0.0
    return Encoded(rows, cols, number, scale, error)
