"""What the matrices of an encoder-decoder read, and how much it suffers from errors in each: feedback factors and
sensitivities, from pairs of a text and its answer (pairs.py).

Factors come from E[x x^T] as those of other models do (calibration.py). For sensitivities one matrix after the other
gets noise of the size that a code of 2 bits has, and the KL divergence of the answers is taken; of that stays as much
as feedback leaves of an error. The gradients of curvature.py know no cross attention.

Memory: the sums of some inputs at a time, MOST_BYTES; the model runs once for each such group of inputs. And keys and
values of the texts that are measured on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbe_edge import _native
from rbe_edge.codes import trellis
from rbe_edge.packing import schedule
from rbe_edge.packing.allocation import GAUSSIAN_ERROR
from rbe_edge.packing.array_store import ArrayStore
from rbe_edge.packing.calibration import DAMPING, POINTS, add_moment, feedback_factor
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.packing.forecast import Forecast
from rbe_edge.packing.kept import Keeping, key_of
from rbe_edge.packing.pairs import Pair, Pairs
from rbe_edge.packing.schedule import factor_units
from rbe_edge.packing.survey import MOST_KEPT, kept_share
from rbe_edge.packing.whole_texts import first
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import MAX_PASS_TOKENS
from rbe_edge.runtime.probabilities import divergences, log_softmax
from rbe_edge.runtime.session import Session
from rbe_edge.sources.plan import TensorPlan

FloatArray = npt.NDArray[np.float32]

MOST_BYTES = 512 << 20
"""Of sums at a time, or one input's."""

TOKENS = {True: 384, False: 1024}
"""Of the answers and texts that each matrix is measured on, of a quick packing and of others."""

_POINTS = {
    **POINTS,
    "cross.q": _native.CAPTURE_CROSS_Q, "cross.o": _native.CAPTURE_CROSS_O,
    "cross.k": _native.CAPTURE_CROSS_KV, "cross.v": _native.CAPTURE_CROSS_KV,
}  # fmt: skip
_PROBE = (2,)
_DIGITS = 4
_SIDE = 4096  # rows that get noise at a time

Place = tuple[int, int]
"""Layer and point, as Session.run_layers() and Session.encode_shown() show them."""


@dataclass(frozen=True)
class PairSurvey:
    """copy: of the source with dense weights. tensors: that may be coded. kept: by input of matrices
    (TensorPlan.reads), what feedback leaves of an error."""

    copy: DenseCopy
    tensors: Sequence[TensorPlan]
    seed_of: Callable[[TensorPlan], int]
    threads: int | None
    forecast: Forecast
    keeping: Keeping | None
    kept: dict[str, float]
    factors: ArrayStore

    @classmethod
    def made(
        cls, copy: DenseCopy, tensors: Sequence[TensorPlan], pairs: Pairs, seed_of: Callable[[TensorPlan], int],
        threads: int | None, forecast: Forecast, keeping: Keeping | None,
    ) -> PairSurvey:  # fmt: skip
        """Runs the model for the factors, unless an earlier packing has kept them."""
        n_bytes = sum(2 * cols**2 for _, cols in {(tensor.reads, tensor.cols) for tensor in tensors})
        factors = ArrayStore(copy.path.parent, keeping, "pairs", n_bytes)
        kept = factors.restore("all")
        survey = cls(copy, tensors, seed_of, threads, forecast, keeping, dict(kept or {}), factors)
        if kept is None:
            survey._look(pairs.seen)
            factors.save("all", survey.kept, survey.kept)
        return survey

    def factor(self, name: str) -> FloatArray | None:
        """For the feedback of a matrix; None for one whose input has none."""
        reads = next((tensor.reads for tensor in self.tensors if tensor.name == name), None)
        return self.factors.get_factor(reads) if reads in self.kept and reads is not None else None

    def _look(self, pairs: Sequence[Pair]) -> None:
        with ExitStack() as stack:
            model = stack.enter_context(Model.open(self.copy.path, verify=False))
            session = stack.enter_context(_session(model, pairs, self.threads))
            groups = _groups(self._places(model))
            units = _pass_units(self.copy, pairs) / 1e9
            for group in groups:
                with self.forecast.doing("passing", "calibrating", 2 * units) as report:
                    moments, n_rows = self._moments(session, pairs, set(group), report)
                for place, tensors in group.items():
                    self._keep(tensors, moments.pop(place), n_rows[place])

    def _places(self, model: Model) -> dict[Place, dict[str, TensorPlan]]:
        """Where the inputs of matrices are shown, and one matrix for each of the inputs."""
        layers = model.info.layers
        found: dict[Place, dict[str, TensorPlan]] = {}
        for tensor in self.tensors:
            name, first = tensor.name, 0
            if name.startswith("encoder."):
                name, first = name.removeprefix("encoder."), layers + 1
            layer, part = schedule.layer_and_part(name)
            point = _POINTS.get(part)
            if tensor.name == self.copy.lm_head:
                layer, point = layers, _native.CAPTURE_LM_HEAD
            if layer is not None and point is not None:
                found.setdefault((first + layer, point), {})[tensor.reads] = tensor
        return found

    def _moments(
        self, session: Session, pairs: Sequence[Pair], places: set[Place], report: Callable[[int, int], object]
    ) -> tuple[dict[Place, FloatArray], dict[Place, int]]:
        """Sums of x^T x at the places, lower triangles, and of how many rows."""
        moments: dict[Place, FloatArray] = {}
        n_rows: dict[Place, int] = {}

        def gather(layer: int, point: int, x: FloatArray) -> None:
            if (layer, point) in places:
                cols = x.shape[1]
                sums = moments.setdefault((layer, point), np.zeros((cols, cols), np.float32))
                add_moment(sums, np.ascontiguousarray(x), self.threads)
                n_rows[layer, point] = n_rows.get((layer, point), 0) + len(x)

        for number, pair in enumerate(pairs):
            session.encode_shown(pair.text, gather)
            session.run_layers(0, session.model.info.layers, session.embed(pair.answer), gather)
            report(number + 1, len(pairs))
        return moments, n_rows

    def _keep(self, tensors: Mapping[str, TensorPlan], moment: FloatArray, n_rows: int) -> None:
        """The factors of what reads the same activation, which differ in the rotation alone."""
        moment /= np.float32(n_rows)
        trace = float(np.trace(moment, dtype=np.float64))
        for reads, tensor in tensors.items():
            cols = len(moment)
            with self.forecast.doing("factoring", "calibrating", factor_units(cols)):
                block, seed = trellis.rotation_block(cols), self.seed_of(tensor)
                factor = feedback_factor(moment.copy(), block, seed, DAMPING, self.threads)
            self.kept[reads] = kept_share(factor, cols, trace)
            self.factors.put_factor(reads, factor)

    # ---- sensitivities ----

    def sensitivities(self, pairs: Sequence[Pair], quick: bool) -> dict[str, float]:
        """Nats per token of an answer and unit of relative squared error, by tensor. The copy is as before when this
        returns, not when it raises."""
        found: dict[str, float] = {}
        key = None if self.keeping is None else key_of("pair sensitivity", self.keeping.key, _PROBE, TOKENS[quick])
        if self.keeping is not None and key and (content := self.keeping.kept.read(key)) is not None:
            found = {name: float(value) for name, value in json.loads(content).items()}
        missing = [tensor for tensor in self.tensors if tensor.name not in found]
        if missing:
            with ExitStack() as stack:
                answers = stack.enter_context(_Answers(self.copy, first(pairs, TOKENS[quick])[0], self.threads))
                for number, tensor in enumerate(missing, len(self.tensors) - len(missing) + 1):
                    what = f"measuring {number} of {len(self.tensors)}"
                    with self.forecast.doing("passing", what, answers.units(tensor.name)):
                        found[tensor.name] = self._measured(answers, tensor)
                    if self.keeping is not None and key:
                        self.keeping.kept.write(key, json.dumps(found).encode())
        return found

    def _measured(self, answers: _Answers, tensor: TensorPlan) -> float:
        exact = tensor.read()
        self.copy.write(tensor.name, _noisy(exact))
        found = answers.divergence(tensor.name) / GAUSSIAN_ERROR[_PROBE]
        self.copy.write(tensor.name, exact)
        answers.restore(tensor.name)
        left = 1.0 if tensor.role == "embedding" else self.kept.get(tensor.reads, MOST_KEPT) / MOST_KEPT
        return float(f"{max(found, 0.0) * left:.{_DIGITS}g}")


class _Answers:
    """What the model says to texts, again and again, while matrices are replaced. A context manager. The texts stay
    encoded where a matrix of the decoder alone has changed."""

    def __init__(self, copy: DenseCopy, pairs: Sequence[Pair], threads: int | None) -> None:
        self._pairs = pairs
        self._copy = copy
        with ExitStack() as stack:
            model = stack.enter_context(Model.open(copy.path, verify=False))
            self._sessions = [stack.enter_context(_session(model, [pair], threads)) for pair in pairs]
            self._stack = stack.pop_all()
        try:
            self._encode()
            self._expected = self._said()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> _Answers:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def units(self, name: str) -> float:
        """Of "passing", of a measurement of a matrix."""
        decoding = _pass_units(self._copy, self._pairs, "decoder") / 1e9
        return decoding + (2 * _pass_units(self._copy, self._pairs, "encoder") / 1e9 if _moves_text(name) else 0.0)

    def divergence(self, name: str) -> float:
        """Mean KL divergence of a token, with the matrix of that name as it is in the copy now."""
        self.restore(name)
        each = [divergences(one, other) for one, other in zip(self._expected, self._said(), strict=True)]
        return float(np.mean(np.concatenate(each)))

    def restore(self, name: str) -> None:
        """What depends on a matrix that has changed, but for the answers."""
        if _moves_text(name):
            self._encode()

    def _encode(self) -> None:
        for session, pair in zip(self._sessions, self._pairs, strict=True):
            session.encode(pair.text)

    def _said(self) -> list[FloatArray]:
        found = []
        for session, pair in zip(self._sessions, self._pairs, strict=True):
            session.rewind(0)
            logits = session.score(pair.answer, logits=True).logits
            assert logits is not None
            found.append(log_softmax(logits))
        return found


def _moves_text(name: str) -> bool:
    """Whether what is kept of a text depends on a matrix."""
    return name.startswith(("encoder.", "embedding")) or name.endswith((".cross.k", ".cross.v"))


def _session(model: Model, pairs: Sequence[Pair], threads: int | None) -> Session:
    context = max(max(len(pair.text), len(pair.answer)) for pair in pairs)
    return model.session(context=context, threads=threads or 0, pass_tokens=min(context, MAX_PASS_TOKENS), kv="f32")


def _noisy(exact: FloatArray) -> FloatArray:
    """With noise of the relative size that the probe's error has, row by row."""
    found: FloatArray = exact.copy()
    random = np.random.default_rng(1)
    for at in range(0, len(found), _SIDE):
        rows = found[at : at + _SIDE]
        size = np.sqrt(GAUSSIAN_ERROR[_PROBE] * np.mean(rows**2, axis=1, keepdims=True, dtype=np.float32))
        rows += random.standard_normal(rows.shape, np.float32) * size
    return found


def _groups(places: Mapping[Place, dict[str, TensorPlan]]) -> list[dict[Place, dict[str, TensorPlan]]]:
    """Of so many that their sums fit."""
    groups: list[dict[Place, dict[str, TensorPlan]]] = []
    room = 0
    for place, tensors in places.items():
        n_bytes = 4 * next(iter(tensors.values())).cols ** 2
        if not groups or n_bytes > room:
            groups.append({})
            room = MOST_BYTES
        groups[-1][place] = tensors
        room -= n_bytes
    return groups


def _pass_units(copy: DenseCopy, pairs: Sequence[Pair], stack: str = "both") -> float:
    """Multiplications of the pairs' tokens."""
    texts, answers = sum(len(pair.text) for pair in pairs), sum(len(pair.answer) for pair in pairs)
    total = 0
    for name, n in copy.weights.items():
        if name.startswith("encoder."):
            total += n * texts if stack != "decoder" else 0
        elif stack != "encoder" and (name != "embedding" or copy.lm_head == name):
            total += n * answers
    return total


def expected(weights: schedule.Weights, tensors: Sequence[TensorPlan], n_tokens: int, quick: bool) -> dict[str, float]:
    """What a PairSurvey and its sensitivities have to do, about (schedule.py)."""
    total, inputs = sum(weights.values()), {(tensor.reads, tensor.cols) for tensor in tensors}
    groups = max(1, -(-sum(4 * cols**2 for _, cols in inputs) // MOST_BYTES))
    passing = (groups * n_tokens + len(tensors) * TOKENS[quick] / 2) * total / 1e9
    return {"passing": passing, "factoring": sum(factor_units(cols) for _, cols in inputs)}
