"""Mixtures of experts: what a file says of them, what a damaged one gives, what a token reads, a limit of memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from index_reader import read_index
from test_memory import logits_behind, most_resident, resident_bytes, stays_within

from rbe_edge import Model, _native
from rbe_edge.bench import shapes
from rbe_edge.errors import RbeError
from rbe_edge.format import writer
from rbe_edge.format.experts import PART, is_of_expert
from rbe_edge.format.parts import Part
from rbe_edge.packing.pack import PackOptions, pack

TOKENS = [(37 * i * i + 11 * i + 5) % 268 for i in range(40)]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    directory = tmp_path_factory.mktemp("packed")

    def of(name: str, bits: int = 32) -> Path:
        out = directory / f"{name}-{bits}.rbe"
        if not out.exists():
            source = tiny_models.write(tiny_models.MODELS[name], directory / name)
            pack(source, out, PackOptions(bits=bits, calibrate="none"))
        return out

    return of


def rewritten(
    path: Path,
    out: Path,
    metadata: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray | None] | None = None,
    parts: list[Part] | None = None,
) -> Path:
    """A file with all tensors in fp32 and some of it changed; None: it goes."""
    index = read_index(path)
    with Model.open(path) as model:
        values = {name: model.tensor_rows(name, 0, info.rows) for name, info in model.tensors.items()}
    changed = {name: value for name, value in {**values, **(tensors or {})}.items() if value is not None}
    said = {key: value for key, value in {**index.metadata, **(metadata or {})}.items() if value is not None}
    entries = [
        writer.TensorEntry(name, writer.KIND_FP32, *value.shape, 4 * value.size) for name, value in changed.items()
    ]
    own = [PART] if parts is None else parts
    with writer.PackWriter(out, said, [], index.blobs, entries, force=True, parts=own) as file:
        for value in changed.values():
            file.write_tensor([value.astype("<f4")], 0.0)
        file.commit()
    return out


def logits_of(model: Model, tokens: list[int], **options: Any) -> np.ndarray:
    with model.session(**{"kv": "f32", "context": 64, **options}) as session:
        found = session.score(tokens, logits=True).logits
        assert found is not None
        return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experts.used": 7}, r"`experts.used` is 7; it must be 1 to 6"),
        ({"experts.used": 0}, "`experts.used` is 0"),
        ({"experts.used": None}, "`experts.used` is missing"),
        ({"experts": 0}, "`experts` is 0; it must be 1 to 4096"),
        ({"experts": 2**40}, "`experts` is 1099511627776"),
        ({"experts": "six"}, "`experts` is missing or no whole number"),
        ({"experts": None}, "`experts` is missing, and `experts.used` is there"),
        ({"experts": 7}, r"tensor `layers.0.experts.router` is 6 x 64"),
        ({"experts": 4096}, "its layers have 8192 experts and the file has"),
        ({"experts.feed_forward": 47}, "tensor `layers.0.experts.0.gate` is 48 x 64"),
        ({"experts.feed_forward": 0}, "`experts.feed_forward` is 0"),
        ({"experts.score": "largest"}, "`experts.score`"),
        ({"experts.normalize": 2}, "`experts.normalize` is 2"),
        ({"experts.scale": -1.0}, "`experts.scale` is no number from 0"),
        ({"experts.scale": 1e300}, "`experts.scale` is no number from 0"),
        ({"experts.layers": (1,)}, "`experts.layers` is no array of 2 numbers"),
        ({"experts.layers": (1, 2)}, "`experts.layers`: 2 for layer 1 is more than 1"),
        ({"experts.layers": (0, 1)}, "tensor `layers.0.feed_forward.gate` is missing"),
    ],
)
def test_metadata_that_say_something_else(
    packed: Callable[[str], Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RbeError, match=message) as failure:
        Model.open(rewritten(packed("qwen3_moe"), tmp_path / "m.rbe", changes))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers.1.experts.4.down", None, "tensor `layers.1.experts.4.down` is missing"),
        ("layers.1.experts.0.gate", None, "tensor `layers.1.experts.0.gate` is missing"),
        ("layers.0.experts.router", None, "tensor `layers.0.experts.router` is missing"),
        ("layers.0.experts.router", np.zeros((5, 64), np.float32), "is 5 x 64"),
        ("layers.0.experts.router.bias", np.zeros((1, 5), np.float32), "is 1 x 5"),
        ("layers.1.experts.3.up", np.zeros((64, 48), np.float32), "is 64 x 48"),
    ],
)
def test_tensors_that_do_not_fit(
    packed: Callable[[str], Path], tmp_path: Path, name: str, value: np.ndarray | None, message: str
) -> None:
    with pytest.raises(RbeError, match=message):
        Model.open(rewritten(packed("qwen3_moe"), tmp_path / "m.rbe", tensors={name: value}))


def test_the_part_and_the_metadata_belong_together(packed: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(RbeError, match="name experts, and it lacks the part `experts`"):
        Model.open(rewritten(packed("qwen3_moe"), tmp_path / "m.rbe", parts=[]))
    with pytest.raises(RbeError, match="has the part `experts`, and its metadata say nothing"):
        Model.open(rewritten(packed("qwen3"), tmp_path / "m.rbe"))
    later = Part("experts", 2, b"", required=True)
    with pytest.raises(RbeError, match="part `experts`"):
        Model.open(rewritten(packed("qwen3_moe"), tmp_path / "m.rbe", parts=[later]))


@pytest.mark.parametrize("name", ["layers.1.experts.router", "layers.1.experts.router.bias"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_router_of_no_numbers(packed: Callable[[str], Path], tmp_path: Path, name: str, value: float) -> None:
    with Model.open(packed("lfm2_moe")) as model:
        weights = model.tensor_rows(name, 0, model.tensors[name].rows).copy()
    weights[0, 3] = value
    with (
        Model.open(rewritten(packed("lfm2_moe"), tmp_path / "m.rbe", tensors={name: weights})) as model,
        model.session() as session,
        pytest.raises(RbeError, match="layer 1: the router gives scores that are not finite") as failure,
    ):
        session.prefill(TOKENS)
    assert "\n" not in str(failure.value)


def test_of_equal_scores_the_lower_number_is_chosen(packed: Callable[[str], Path], tmp_path: Path) -> None:
    router = np.zeros((6, 64), np.float32)
    changed = {"layers.0.experts.router": router, "layers.1.experts.router": router}
    seen = set()
    with (
        Model.open(rewritten(packed("qwen3_moe"), tmp_path / "m.rbe", tensors=changed)) as model,
        model.session(context=64) as session,
    ):
        session.run_layers(0, 2, session.embed(TOKENS), lambda layer, point, x: seen.add((layer, point)))
    inputs = {point & 0xFFFF for _, point in seen if point >= _native.CAPTURE_EXPERT_INPUT}
    assert inputs == {0, 1}


def test_what_experts_read_is_shown(packed: Callable[[str], Path]) -> None:
    """Each token is shown to as many experts as it uses, with what the router reads."""
    rows: list[np.ndarray] = []
    wholes: list[np.ndarray] = []

    def show(layer: int, point: int, x: np.ndarray) -> None:
        if layer == 1 and point == _native.CAPTURE_UP:
            wholes.append(x.copy())
        if layer == 1 and _native.CAPTURE_EXPERT_INPUT <= point < _native.CAPTURE_EXPERT_DOWN:
            rows.append(x.copy())

    with Model.open(packed("qwen3_moe")) as model, model.session(context=64, pass_tokens=16) as session:
        session.run_layers(0, 2, session.embed(TOKENS), show)
    shown, whole = np.concatenate(rows), np.concatenate(wholes)
    assert len(whole) == len(TOKENS) and len(shown) == 2 * len(TOKENS)
    assert sorted(map(bytes, shown)) == sorted([*map(bytes, whole), *map(bytes, whole)])


@pytest.mark.parametrize("name", ["qwen3_moe", "lfm2_moe"])
def test_threads_sets_and_passes_change_no_bit(packed: Callable[[str, int], Path], name: str) -> None:
    path = packed(name, 4)
    with Model.open(path, kernel_set="scalar") as model:
        expected = logits_of(model, TOKENS, threads=1)
    with Model.open(path) as model:
        for options in ({"threads": 3}, {"threads": 2, "pass_tokens": 7}, {"threads": 1, "pass_tokens": 1}):
            np.testing.assert_array_equal(logits_of(model, TOKENS, **options), expected)


def test_more_experts_than_one_round_takes(tmp_path: Path) -> None:
    """Of one row, 16 experts share a round of the threads, and no more than a pass has rows."""
    config = {**tiny_models.MODELS["qwen3_moe"].config, "num_experts": 21, "num_experts_per_tok": 19}
    source = tiny_models.write(tiny_models.TinyModel("many", config), tmp_path / "source")
    pack(source, tmp_path / "m.rbe", PackOptions(bits=4, calibrate="none"))
    with Model.open(tmp_path / "m.rbe") as model:
        expected = logits_of(model, TOKENS, pass_tokens=40)
        for pass_tokens in (1, 3):
            np.testing.assert_array_equal(logits_of(model, TOKENS, pass_tokens=pass_tokens), expected)
        with model.session(kv="f32", context=64, threads=3) as session:
            for token, logits in zip(TOKENS, expected, strict=True):
                session.prefill([token])
                np.testing.assert_array_equal(session.logits, logits)


def test_packed_is_its_dense_reconstruction(packed: Callable[[str, int], Path], tmp_path: Path) -> None:
    """But for activations, which are rounded to 8 bits where a matrix is packed."""
    path = packed("qwen3_moe_normalized", 4)
    with Model.open(path) as model, Model.open(rewritten(path, tmp_path / "dense.rbe")) as dense:
        found, expected = logits_of(model, TOKENS), logits_of(dense, TOKENS)
    distances = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert np.median(distances) < 0.03


def test_a_token_reads_the_experts_that_it_uses(packed: Callable[[str], Path]) -> None:
    index = read_index(packed("qwen3_moe"))
    sizes = {name: tensor.n_bytes for name, tensor in index.tensors.items()}
    matrices = {name: n for name, n in sizes.items() if index.tensors[name].rows > 1 and name != "embedding"}
    experts = sum(n for name, n in matrices.items() if is_of_expert(name))
    with Model.open(packed("qwen3_moe")) as model:
        row = sizes["embedding"] // model.info.vocabulary
        assert model.read_bytes() == sum(matrices.values()) - experts + experts * 2 // 6 + row


def test_experts_lie_together_behind_all_else(packed: Callable[[str, int], Path]) -> None:
    tensors = read_index(packed("qwen3_moe_mixed", 4)).tensors
    order = sorted(tensors, key=lambda name: tensors[name].offset)
    first = next(number for number, name in enumerate(order) if is_of_expert(name))
    assert order[first:] == [
        f"layers.1.experts.{expert}.{part}" for expert in range(6) for part in ("gate", "up", "down")
    ]


MIXTURE = shapes.Mixture("mixture", "nothing", 4, 512, 8, 2, 64, 1024, 4096, experts=16, used=2, hot=4, advantage=0.4)
"""100 M weights of experts: 52 MB of 57."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixture") / "mixture.rbe"
    shapes.write_model(MIXTURE, (4,), path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
def test_experts_stay_within_a_limit(wide: Path) -> None:
    tokens = [(index * 997) % 4096 for index in range(48)]

    with most_resident(wide) as most, Model.open(wide) as model:
        expected = logits_behind(model, tokens)
        most[0] = max(most[0], resident_bytes(wide))
    size = wide.stat().st_size
    assert most[0] > size * 3 // 4
    for limit in (size // 2, size // 3):
        stays_within(wide, limit, tokens, expected)


def test_the_least_limit_of_a_mixture(wide: Path) -> None:
    with pytest.raises(RbeError, match="needs at least") as failure:
        Model.open(wide, max_memory=1000)
    least = int(str(failure.value).rsplit(" ", 1)[1])
    with Model.open(wide, max_memory=least) as model, model.session(context=16, threads=1) as session:
        session.prefill([1, 2, 3])
        assert np.isfinite(session.logits).all()
