"""A feed-forward part beside experts, which every token goes through: what a file says of it, what a damaged one gives,
what it reads, its gradients where norms stand around it, a limit of memory."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from index_reader import read_index
from test_expert_memory import TOKENS, logits_of, rewritten
from test_gradients import LABELS, moved
from test_gradients import TOKENS as GRADIENT_TOKENS
from test_memory import logits_behind, stays_within
from whole_gradient import whole_gradient

from rbe_edge import Model, _native
from rbe_edge.bench import shapes
from rbe_edge.errors import RbeError
from rbe_edge.format.experts import PART, SHARED, is_of_expert
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.parts import Part
from rbe_edge.format.reader import read_file
from rbe_edge.format.writer import PackWriter
from rbe_edge.packing import storage
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

Packed = Callable[..., Path]
PARTS = [PART, SHARED]
WITH_SHARE, WITHOUT = "qwen2_moe", "granitemoeshared"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    directory = tmp_path_factory.mktemp("packed")

    def of(name: str, bits: int = 32) -> Path:
        out = directory / f"{name}-{bits}.rbe"
        if not out.exists():
            source = tiny_models.write(tiny_models.MODELS[name], directory / name)
            pack(source, out, PackOptions(bits=bits, calibrate="none"))
        return out

    return of


def test_what_a_file_says(packed: Packed) -> None:
    for name, width, share in ((WITH_SHARE, 40, 1), (WITHOUT, 56, None), ("qwen3_moe", None, None)):
        index = read_index(packed(name))
        assert (index.metadata.get("experts.shared"), index.metadata.get("experts.shared.share")) == (width, share)
        assert ("shared_expert" in index.parts) == (width is not None)
        assert ("layers.1.shared.share" in index.tensors) == bool(share)
    tensors = read_index(packed("qwen2_moe_mixed", 4)).tensors
    assert not any(name.startswith("layers.0.shared") for name in tensors)
    order = sorted(tensors, key=lambda name: tensors[name].offset)
    assert all(is_of_expert(name) for name in order[order.index("layers.1.experts.0.gate") :])  # it stands before them


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (WITH_SHARE, {"experts.shared": 0}, "`experts.shared` is 0; it must be 1"),
        (WITH_SHARE, {"experts.shared": 41}, "tensor `layers.0.shared.gate` is 40 x 64"),
        (WITH_SHARE, {"experts.shared": 2**40}, "`experts.shared` is 1099511627776"),
        (WITH_SHARE, {"experts.shared": "forty"}, "`experts.shared` is missing or no whole number"),
        (WITH_SHARE, {"experts.shared": None}, "`experts.shared` is missing, and `experts.shared.share` is there"),
        (WITH_SHARE, {"experts.shared.share": 2}, "`experts.shared.share` is 2"),
        (WITHOUT, {"experts.shared.share": 1}, "tensor `layers.0.shared.share` is missing"),
        (WITHOUT, {"experts.shared": None}, "has the part `shared_expert`, and its metadata say nothing"),
        ("qwen3_moe", {}, "has the part `shared_expert`, and its metadata say nothing"),
        ("qwen3", {"experts.shared": 8}, "`experts` is missing, and `experts.shared` is there"),
        ("qwen3", {"experts.shared.share": 0}, "`experts` is missing, and `experts.shared.share` is there"),
    ],
)
def test_metadata_that_say_something_else(
    packed: Packed, tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RbeError, match=message) as failure:
        Model.open(rewritten(packed(name), tmp_path / "m.rbe", changes, parts=PARTS))
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layers.1.shared.down", None, "tensor `layers.1.shared.down` is missing"),
        ("layers.0.shared.gate", None, "tensor `layers.0.shared.gate` is missing"),
        ("layers.0.shared.share", None, "tensor `layers.0.shared.share` is missing"),
        ("layers.0.shared.share", np.zeros((2, 64), np.float32), "is 2 x 64"),
        ("layers.0.shared.share", np.zeros((1, 63), np.float32), "is 1 x 63"),
        ("layers.1.shared.up", np.zeros((64, 40), np.float32), "is 64 x 40"),
        ("layers.1.shared.up.bias", np.zeros((1, 41), np.float32), "is 1 x 41"),
    ],
)
def test_tensors_that_do_not_fit(
    packed: Packed, tmp_path: Path, name: str, value: np.ndarray | None, message: str
) -> None:
    with pytest.raises(RbeError, match=message):
        Model.open(rewritten(packed(WITH_SHARE), tmp_path / "m.rbe", tensors={name: value}, parts=PARTS))


@pytest.mark.parametrize("name", ["layers.0.experts.router", "layers.1.shared.share"])
def test_what_decides_for_tokens_is_dense(packed: Packed, tmp_path: Path, name: str) -> None:
    """No packer stores these in planes; a file that does is refused."""
    packed(WITH_SHARE)
    plan = plan_model(open_source(packed(WITH_SHARE).parent / WITH_SHARE))
    changed = [dataclasses.replace(one, role="matrix") if one.name == name else one for one in plan.tensors]
    stores = [storage.in_planes(one, (2,)) if one.name == name else storage.dense(one, 32) for one in changed]
    books, entries = storage.described(changed, stores, lambda one: 7)  # type: ignore[arg-type]
    metadata = {key: value for key, value in plan.metadata.items() if value is not None}
    with PackWriter(tmp_path / "m.rbe", metadata, books, {}, entries, parts=PARTS) as file:
        for entry in entries:
            file.write_tensor([np.zeros(entry.n_bytes, np.uint8)], 0.0)
        file.commit()
    with pytest.raises(RbeError, match=rf"{name}. is neither fp32 nor of 16 bits"):
        Model.open(tmp_path / "m.rbe")


def test_a_reader_that_does_not_know_the_part_says_its_name(packed: Packed, tmp_path: Path) -> None:
    with pytest.raises(RbeError, match="name a shared expert, and it lacks the part `shared_expert`"):
        Model.open(rewritten(packed(WITHOUT), tmp_path / "m.rbe", parts=[PART]))
    with pytest.raises(RbeError, match="lacks the part `shared_expert`"):
        Model.open(rewritten(packed(WITHOUT), tmp_path / "m.rbe", parts=[PART, Part("shared_expert", 1, b"")]))
    later = Part("shared_expert", 2, b"", required=True)
    with pytest.raises(RbeError, match="part `shared_expert`"):
        Model.open(rewritten(packed(WITHOUT), tmp_path / "m.rbe", parts=[PART, later]))


@pytest.mark.parametrize("name", [WITH_SHARE, WITHOUT])
def test_what_it_reads_is_shown(packed: Packed, name: str) -> None:
    """Its gate and up read what the router reads, and what its down reads comes of that."""
    rows: dict[int, list[np.ndarray]] = {}

    def show(layer: int, point: int, x: np.ndarray) -> None:
        if layer == 1:
            rows.setdefault(point, []).append(x.copy())

    with Model.open(packed(name)) as model, model.session(context=64, pass_tokens=16) as session:
        session.run_layers(0, 2, session.embed(TOKENS), show)
        gate, up = (model.tensor_rows(f"layers.1.shared.{part}") for part in ("gate", "up"))
    x, active = (np.concatenate(rows[point]) for point in (_native.CAPTURE_UP, _native.CAPTURE_DOWN))
    assert len(x) == len(active) == len(TOKENS)
    gates = x @ gate.T
    np.testing.assert_allclose(active, gates / (1 + np.exp(-gates)) * (x @ up.T), atol=1e-4)


@pytest.mark.parametrize("name", [WITH_SHARE, WITHOUT])
def test_threads_sets_and_passes_change_no_bit(packed: Packed, name: str) -> None:
    path = packed(name, 4)
    with Model.open(path, kernel_set="scalar") as model:
        expected = logits_of(model, TOKENS, threads=1)
    with Model.open(path) as model:
        for options in ({"threads": 3}, {"threads": 2, "pass_tokens": 7}, {"threads": 1, "pass_tokens": 1}):
            np.testing.assert_array_equal(logits_of(model, TOKENS, **options), expected)


def test_a_share_multiplies_what_it_gives(packed: Packed, tmp_path: Path) -> None:
    """1 as if there were no share, 1/2 as half of its last matrix, 0 as none of it. The first value that layers read is
    made 1 for all tokens, so that one weight says the share of all."""
    first = np.eye(1, 64, dtype=np.float32)
    with Model.open(packed(WITH_SHARE)) as model:
        changed = {f"layers.{layer}.feed_forward.norm.bias": first for layer in (0, 1)}
        for name in ("layers.0.feed_forward.norm", "layers.1.feed_forward.norm"):
            changed[name] = model.tensor_rows(name) * (1 - first)
        downs = {name: model.tensor_rows(name) for name in ("layers.0.shared.down", "layers.1.shared.down")}

    def logits(metadata: dict[str, Any], shares: np.ndarray | None, factor: float) -> np.ndarray:
        tensors = {**changed, **{name: factor * down for name, down in downs.items()}}
        tensors |= {f"layers.{layer}.shared.share": shares for layer in (0, 1)}
        with Model.open(rewritten(packed(WITH_SHARE), tmp_path / "m.rbe", metadata, tensors, PARTS)) as model:
            return logits_of(model, TOKENS)

    seen = []
    for weight, factor in ((100.0, 1.0), (0.0, 0.5), (-100.0, 0.0)):
        seen.append(logits({}, weight * first, 1.0))
        np.testing.assert_allclose(seen[-1], logits({"experts.shared.share": None}, None, factor), atol=1e-5)
    assert all(np.abs(one - other).max() > 0.1 for one, other in itertools.pairwise(seen))


def test_a_token_reads_all_of_it(packed: Packed) -> None:
    index = read_index(packed(WITH_SHARE))
    sizes = {name: tensor.n_bytes for name, tensor in index.tensors.items()}
    matrices = {name: n for name, n in sizes.items() if index.tensors[name].rows > 1 and name != "embedding"}
    experts = sum(n for name, n in matrices.items() if is_of_expert(name))
    shares = sum(n for name, n in sizes.items() if name.endswith(".share"))
    with Model.open(packed(WITH_SHARE)) as model:
        row = sizes["embedding"] // model.info.vocabulary
        assert shares == 2 * 4 * 64
        assert model.read_bytes() == sum(matrices.values()) - experts + experts * 2 // 6 + shares + row


@pytest.mark.parametrize("name", [WITH_SHARE, WITHOUT])
def test_gradients_behind_norms_of_the_sum(packed: Packed, tmp_path: Path, name: str) -> None:
    """A norm before the sum is of the experts and the shared part together; one before its down is its own."""
    random = np.random.default_rng(5)

    def vector(n: int) -> np.ndarray:
        return (1 + 0.3 * random.uniform(-1, 1, (1, n))).astype(np.float32)

    with Model.open(packed(name)) as model:
        width, inner = model.tensors["layers.0.shared.down"].rows, model.tensors["layers.0.shared.down"].cols
    added = {
        f"layers.{layer}.{part}.post_norm": vector(width) for layer in (0, 1) for part in ("attention", "feed_forward")
    }
    added |= {f"layers.{layer}.shared.inner_norm": vector(inner) for layer in (0, 1)}
    parts = [*PARTS, Part("inner_norms", 1, b"", required=True)]
    path = rewritten(packed(name), tmp_path / "m.rbe", {"norm.place": "sandwich"}, added, parts)
    tokens = GRADIENT_TOKENS
    with Model.open(path) as model, model.gradients(tokens=len(tokens), context=64) as gradients:
        found, _ = whole_gradient(model, gradients, tokens, LABELS, len(tokens), 64)
        weights = {tensor: model.tensor_rows(tensor) for tensor in found}
    offsets = {tensor: stored.offset for tensor, stored in read_file(path).tensors.items()}
    wanted = [tensor for tensor in found if ".shared." in tensor or "feed_forward" in tensor]
    assert len([tensor for tensor in wanted if ".shared." in tensor]) == 2 * (5 if name == WITH_SHARE else 4)
    for tensor in wanted:
        norm = float(np.linalg.norm(found[tensor]))
        step = np.float32(0.002 / norm**2) * found[tensor]
        up, down = (moved(path, offsets[tensor], weights[tensor], change) for change in (step, -step))
        assert (up - down) / (2 * 0.002 / norm) == pytest.approx(norm, rel=2e-2), tensor


@dataclass(frozen=True)
class WithShared(shapes.Mixture):
    """As wide as two experts."""

    @property
    def metadata(self) -> dict[str, MetadataValue]:
        return {**super().metadata, "experts.shared": 2 * self.feed_forward, "experts.shared.share": 1}

    def feed_forward_part(self, layer: int) -> Iterator[tuple[str, int, int]]:
        yield from super().feed_forward_part(layer)
        yield f"layers.{layer}.shared.gate", 2 * self.feed_forward, self.width
        yield f"layers.{layer}.shared.up", 2 * self.feed_forward, self.width
        yield f"layers.{layer}.shared.down", self.width, 2 * self.feed_forward
        yield f"layers.{layer}.shared.share", 1, self.width


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mixture") / "mixture.rbe"
    shape = WithShared("mixture", "nothing", 2, 512, 8, 2, 64, 1024, 4096, experts=12, used=2, hot=4, advantage=0.4)
    shapes.write_model(shape, (4,), path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
def test_it_stays_within_a_limit(wide: Path) -> None:
    """Of the file what is no expert stays in memory, and the answers are the same at every limit."""
    tokens = [(index * 997) % 4096 for index in range(40)]

    with Model.open(wide) as model:
        expected = logits_behind(model, tokens)
    tensors, size = read_index(wide).tensors, wide.stat().st_size
    first = min(tensor.offset for name, tensor in tensors.items() if is_of_expert(name))
    assert all(tensor.offset < first for name, tensor in tensors.items() if ".shared." in name)
    with pytest.raises(RbeError, match="needs at least") as failure:
        Model.open(wide, max_memory=1000)
    for limit in (size * 3 // 4, int(str(failure.value).rsplit(" ", 1)[1])):
        stays_within(wide, limit, tokens, expected)
