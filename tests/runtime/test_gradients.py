"""Gradients without PyTorch: finite differences of every architecture; bits, threads and kernels; what is refused."""

from __future__ import annotations

import dataclasses
import math
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from whole_gradient import states, whole_gradient

from rbe_edge import Model, _native
from rbe_edge.errors import Cancelled, ContextFull, OptionError, RbeError
from rbe_edge.format.reader import read_file
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.gradient_values import Gradient
from rbe_edge.runtime.gradients import DRAW, NONE
from rbe_edge.runtime.probabilities import log_softmax

FloatArray = npt.NDArray[np.float32]

TOKENS = [(37 * i * i + 11 * i + 5) % 268 for i in range(20)]  # longer than the windows of the tiny models
LABELS = [*TOKENS[1:], NONE]
CONTEXT = tiny_models.CONTEXT


ALL_EXPERTS = ("qwen3_next", "granite4_moe")
"""With these tokens some router is so near to another choice that any step makes it: each token uses all experts."""


def dense(name: str, directory: Path) -> Path:
    model = tiny_models.MODELS[name]
    if name in ALL_EXPERTS:
        model = dataclasses.replace(model, config={**model.config, "num_experts_per_tok": 6})
    source = tiny_models.write(model, directory / name)
    return pack(source, directory / f"{name}.rbe", PackOptions(bits=32)).path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dense("llama", tmp_path_factory.mktemp("dense"))


def loss(path: Path) -> float:
    with Model.open(path, verify=False) as model, model.session(kv="f32", context=CONTEXT, threads=1) as session:
        return -math.fsum(session.score(TOKENS).log_probabilities)


def moved(path: Path, offset: int, values: FloatArray, step: FloatArray) -> float:
    """The loss with one tensor moved by a step."""
    with path.open("r+b") as file:
        for content in (values + step, values):
            file.seek(offset)
            file.write(content.astype("<f4").tobytes())
            file.flush()
            if content is not values:
                found = loss(path)
    return found


NOT_LEARNED = re.compile(r"rope\.|layers\.\d+\.scale$")


# A token of lfm2_moe_unbiased is so near a tie of two experts that any step chooses another one.
@pytest.mark.parametrize("name", [name for name in tiny_models.MODELS if name != "lfm2_moe_unbiased"])
def test_finite_differences(name: str, tmp_path: Path) -> None:
    """A step along the gradient of a tensor changes the loss by its norm; so does one along the gains of a matrix."""
    path = dense(name, tmp_path)
    with Model.open(path) as model:
        with model.gradients(tokens=len(TOKENS), context=CONTEXT, gains=True) as gradients:
            found, nats = whole_gradient(model, gradients, TOKENS, LABELS, len(TOKENS), CONTEXT)
        weights = {tensor: model.tensor_rows(tensor) for tensor in model.tensors if not NOT_LEARNED.match(tensor)}
    assert nats.sum() == pytest.approx(loss(path), rel=1e-4)
    offsets = {tensor: stored.offset for tensor, stored in read_file(path).tensors.items()}
    missing = weights.keys() - {name for name in found if not name.endswith(".gains")}
    assert all(".experts." in name for name in missing)  # a bias for the choice, and experts that no token uses
    for tensor, gradient in found.items():
        matrix = tensor.removesuffix(".gains")
        norm = float(np.linalg.norm(gradient))
        if norm < 1e-4 and matrix.endswith("k.bias"):  # it moves all scores of a query alike
            continue
        if norm == 0 and ".experts." in tensor:  # only tokens without a label use it
            continue
        if tensor == "embedding.gains":  # of the head alone, and the embedding is looked up too
            continue
        size = (0.002 if "moe" in name else 0.01) / norm  # a larger step would choose other experts
        step = np.float32(size / norm) * (gradient if tensor == matrix else gradient.T * weights[matrix])
        up, down = (moved(path, offsets[matrix], weights[matrix], change) for change in (step, -step))
        assert (up - down) / (2 * size) == pytest.approx(norm, rel=1e-2), tensor


def digest(path: Path, threads: int, kernel_set: str, hidden: list[FloatArray]) -> dict[str, bytes]:
    kept: dict[str, bytes] = {}

    def keep(gradient: Gradient) -> None:
        kept[gradient.name] = gradient.d.tobytes() + (b"" if gradient.x is None else gradient.x.tobytes())

    with Model.open(path, kernel_set=kernel_set) as model, model.gradients(threads=threads, context=CONTEXT) as made:
        head = made.head(hidden[-1], seed=7, show=keep, window=9)
        for layer in reversed(range(model.info.layers)):
            made.layer(layer, hidden[layer], head.d_hidden, keep, window=9)
        if "layer_embedding" in model.tensors:
            made.layer_embeddings(TOKENS, head.d_hidden, None, keep, window=9)
    return kept | {"labels": head.labels.tobytes(), "hidden": head.d_hidden.tobytes(), "nats": head.nats.tobytes()}


@pytest.mark.parametrize(
    "name", ["gemma2", "gemma4", "gpt2", "llama_gelu", "qwen3", "qwen2_moe", "lfm2_bias", "qwen3_5", "granite4"]
)
def test_bits_depend_on_neither_threads_nor_kernels(name: str, tmp_path: Path) -> None:
    path = dense(name, tmp_path)
    with Model.open(path) as model:
        hidden = states(model, TOKENS, 9, CONTEXT)
    expected = digest(path, 1, "scalar", hidden)
    best = [name for name, available in _native.kernel_sets().items() if available][-1]
    for threads in (1, 2, 3):
        assert digest(path, threads, best, hidden) == expected


def test_labels_are_drawn_again_alike(path: Path) -> None:
    hidden = np.random.default_rng(1).standard_normal((30, 64)).astype(np.float32)
    labels = np.full(30, DRAW, np.uint32)
    labels[3:5] = 7, NONE
    with Model.open(path) as model, model.gradients(tokens=30) as gradients:
        one, other = (gradients.head(hidden, labels, seed=seed) for seed in (1, 2))
        again = gradients.head(hidden, one.labels, seed=5)
    assert one.labels[3] == 7 and one.labels[4] == NONE and one.nats[4] == 0 and not one.d_hidden[4].any()
    assert (one.labels[[*range(3), *range(5, 30)]] < 272).all()
    assert (one.labels != other.labels).any()
    np.testing.assert_array_equal(again.d_hidden, one.d_hidden)
    np.testing.assert_array_equal(again.nats, one.nats)


def test_what_does_not_fit(path: Path, tmp_path: Path) -> None:
    packed = pack(
        tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source"), tmp_path / "half.rbe", PackOptions(bits=16)
    ).path
    with Model.open(packed) as model, pytest.raises(OptionError, match="--bits 32"):
        model.gradients()
    hidden, d = np.zeros((4, 64), np.float32), np.zeros((4, 64), np.float32)
    with Model.open(path) as model, model.gradients(tokens=8, context=5) as made:
        calls: list[tuple[type[RbeError], Callable[[], object]]] = [
            (OptionError, lambda: model.gradients(tokens=65537)),
            (OptionError, lambda: model.gradients(context=65)),
            (OptionError, lambda: model.gradients(threads=65)),
            (OptionError, lambda: made.layer(2, hidden, d)),
            (OptionError, lambda: made.layer(-1, hidden, d)),
            (OptionError, lambda: made.layer(0, hidden[:, :5], d)),
            (OptionError, lambda: made.layer(0, hidden[:3], d)),
            (OptionError, lambda: made.layer(0, hidden[:0], d[:0])),
            (ContextFull, lambda: made.layer(0, np.zeros((9, 64), np.float32), np.zeros((9, 64), np.float32))),
            (ContextFull, lambda: made.layer(0, np.zeros((6, 64), np.float32), np.zeros((6, 64), np.float32))),
            (OptionError, lambda: made.head(hidden, [272, 0, 0, 0])),
            (OptionError, lambda: made.head(hidden, [-1, 0, 0, 0])),
            (OptionError, lambda: made.head(hidden, [1])),
            (OptionError, lambda: made.head(hidden, np.array([-1, 0, 0, 0]))),  # which NumPy casts to NONE
            (OptionError, lambda: made.head(hidden, np.array([2**32, 0, 0, 0]))),
            (OptionError, lambda: made.head(hidden, np.array([1.7, 0, 0, 0]))),
            (OptionError, lambda: made.head(hidden, [1.7, 0, 0, 0])),  # type: ignore[list-item]
            (OptionError, lambda: made.head(hidden, [2**70, 0, 0, 0])),
            (OptionError, lambda: made.head(hidden, [[1], [1, 2], [3], [4]])),  # type: ignore[list-item]
            (OptionError, lambda: made.head(hidden[:0], [])),
            (OptionError, lambda: made.head(hidden, seed=-1)),
            (OptionError, lambda: made.head(hidden, window=-1)),
            (OptionError, lambda: made.head_toward(hidden, model, hidden, window=2**32 + 5)),
            (OptionError, lambda: made.layer(0, hidden, d, window=2**32 + 5)),
            (OptionError, lambda: made.embedding([0, 0, 0, 0], d, None, window=-1)),
            (OptionError, lambda: made.embedding(np.array([-1, 0, 0, 0]), d, None)),
            (OptionError, lambda: made.embedding(np.zeros((4, 2), np.int64), d, None)),
            (OptionError, lambda: made.embedding([300, 0, 0, 0], d, np.zeros((272, 64), np.float32))),
            (OptionError, lambda: made.embedding([0, 0, 0, 0], d, np.zeros((271, 64), np.float32))),
            (OptionError, lambda: made.embedding([0, 0, 0, 0], d, None, np.zeros((64, 64), np.float32))),
        ]
        for error, call in calls:
            with pytest.raises(error) as raised:
                call()
            assert "\n" not in str(raised.value)
        with pytest.raises(TypeError):
            made.layer(0, hidden, d.astype(np.float64))  # type: ignore[arg-type]
        for labels in [NONE, 0, DRAW, 1], np.array([NONE, 0, DRAW, 1]), np.array([NONE, 0, DRAW, 1], np.uint64):
            assert made.head(hidden, labels).labels[0] == NONE and labels[2] == DRAW, "its own copy is written"
        made.layer(0, hidden, d)


def test_what_is_read_only_is_not_written(path: Path) -> None:
    def read_only(rows: int, cols: int) -> FloatArray:
        array = np.zeros((rows, cols), np.float32)
        array.flags.writeable = False
        return array

    hidden = np.ones((4, 64), np.float32)
    locked, table = read_only(4, 64), read_only(272, 64)
    seen: list[str] = []

    def show(gradient: Gradient) -> None:
        if gradient.x is not None:
            seen.append(gradient.name)
            for add, shape in (made.add, gradient.rows), (made.add_curvature, gradient.cols):
                with pytest.raises(TypeError, match="read-only"):
                    add(gradient, read_only(shape, gradient.cols))

    with Model.open(path) as model, model.gradients(tokens=4) as made, model.session(kv="f32", context=4) as session:
        calls: list[Callable[[], object]] = [
            lambda: made.layer(0, hidden, locked),
            lambda: made.embedding([1, 2, 3, 4], hidden, table),
            lambda: session.run_layers(0, 1, locked),
        ]
        for call in calls:
            with pytest.raises(TypeError, match="read-only"):
                call()
        made.layer(0, hidden, hidden.copy(), show)
    assert len(seen) == 7 and not locked.any() and not table.any()


def test_gradients_of_single_windows(path: Path) -> None:
    """The gradient of each text by itself; their sum is that of all, and each is that of a call of its own."""
    random = np.random.default_rng(2)
    hidden, behind = (random.standard_normal((10, 64)).astype(np.float32) for _ in range(2))
    name = "layers.0.feed_forward.down"
    whole, alone = np.zeros((64, 96), np.float32), np.zeros((64, 96), np.float32)
    each = [np.zeros((64, 96), np.float32) for _ in range(3)]

    def gather(gradient: Gradient) -> None:
        if gradient.name == name:
            made.add(gradient, whole)
            for window, total in enumerate(each):
                made.add(gradient, total, window)
            for window in (3, -1):
                with pytest.raises(OptionError, match="3 windows"):
                    made.add(gradient, whole, window)

    with Model.open(path) as model, model.gradients(tokens=10) as made:
        made.layer(0, hidden, behind.copy(), gather, window=4)
        made.layer(
            0, hidden[8:], behind[8:].copy(), lambda shown: made.add(shown, alone) if shown.name == name else None
        )
    np.testing.assert_allclose(sum(each), whole, atol=1e-5)
    np.testing.assert_array_equal(each[2], alone)
    assert whole.any()


def test_a_part_of_the_layers(path: Path) -> None:
    """Layers of a model that was opened in part have the gradients of the whole; others are refused."""
    hidden, whole, part = (np.ones((4, 64), np.float32) for _ in range(3))
    with Model.open(path) as model, model.gradients(tokens=4) as made:
        made.layer(1, hidden, whole)
    with Model.open(path, layers=(1, 1)) as model, model.gradients(tokens=4) as made:
        made.layer(1, hidden, part)
        with pytest.raises(OptionError, match="layers 1 to 1, not 0"):
            made.layer(0, hidden, part)
    np.testing.assert_array_equal(part, whole)
    assert not (part == 1).any()


def test_stopping(path: Path) -> None:
    """By an exception in a callback, and by cancel(); the next call goes on."""
    hidden, d = np.ones((4, 64), np.float32), np.ones((4, 64), np.float32)
    shown: list[Gradient] = []

    def fail(gradient: Gradient) -> None:
        shown.append(gradient)
        raise KeyError(gradient.name)

    refused: list[str] = []

    def add_elsewhere(gradient: Gradient) -> None:
        """On another thread, while this one shows it: the library serves one at a time."""

        def add() -> None:
            with pytest.raises(OptionError, match="while they are shown"):
                made.add(gradient, np.zeros((gradient.rows, gradient.cols), np.float32))
            refused.append(gradient.name)

        if gradient.x is not None:
            thread = threading.Thread(target=add)
            thread.start()
            thread.join()

    with Model.open(path) as model, model.gradients(tokens=4) as made:
        with pytest.raises(KeyError, match=r"layers\.1\.feed_forward\.down"):
            made.layer(1, hidden, d, fail)
        with pytest.raises(Cancelled):
            made.layer(1, hidden, d, lambda gradient: made.cancel())
        made.cancel()
        with pytest.raises(Cancelled):
            made.head(hidden)
        made.head(hidden)
        with pytest.raises(RbeError, match="in use"):
            made.layer(1, hidden, d, lambda gradient: made.head(hidden))
        with pytest.raises(OptionError, match="while they are shown"):
            made.add(shown[0], np.zeros((64, 96), np.float32))
        made.layer(1, hidden, d, add_elsewhere)
    assert len(refused) == 7
    with pytest.raises(RbeError, match="closed"):
        made.head(hidden)


def test_toward_a_source(path: Path, tmp_path: Path) -> None:
    """The divergence is that of the two models' logits; what does not fit is refused."""
    other = tiny_models.write(dataclasses.replace(tiny_models.MODELS["llama"], seed=2), tmp_path / "other")
    half = pack(other, tmp_path / "half.rbe", PackOptions(bits=16)).path
    with (
        Model.open(path) as model,
        Model.open(pack(other, tmp_path / "other.rbe", PackOptions(bits=32)).path) as source,
        Model.open(half) as coded,
        model.gradients(context=CONTEXT) as made,
    ):
        both, logs = [], []
        for one in (model, source):
            both.append(states(one, TOKENS, len(TOKENS), CONTEXT)[-1])
            with one.session(kv="f32", context=CONTEXT, threads=1) as session:
                logits = session.score(TOKENS, logits=True).logits
            assert logits is not None
            logs.append(log_softmax(logits).astype(np.float64))
        found = made.head_toward(both[0], source, both[1])
        np.testing.assert_allclose(found.kl, (np.exp(logs[1]) * (logs[1] - logs[0])).sum(1), rtol=1e-3)
        alone = made.head_toward(both[0], source, both[1], gradient=False)
        assert alone.d_hidden is None and alone.kl.tobytes() == found.kl.tobytes()
        with pytest.raises(OptionError, match="--bits 32"):
            made.head_toward(both[0], coded, both[1])
        with pytest.raises(OptionError, match="hidden states"):
            made.head_toward(both[0], source, both[1][:3])
        with pytest.raises(RbeError, match="cannot be closed from its own"):
            made.head_toward(both[0], source, both[1], show=lambda gradient: source.close())
        made.head_toward(both[0], source, both[1])
        source.close()  # which closes nothing else once the call is over
        with pytest.raises(RbeError, match="closed"):
            made.head_toward(both[0], source, both[1])
        made.head_toward(both[0], model, both[0])
