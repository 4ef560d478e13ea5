"""Sessions that read only the first planes of a nested file; planes and threads that change between two calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_models
from fixed_planes import fixed_planes

from rbe_edge import Model, Session
from rbe_edge.errors import ModelError, OptionError, RbeError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.options import PlanesKind

TOKENS = [5, 250, 17, 17, 99, 3, 201, 64, 30, 2]

PackPlanes = Callable[[tuple[int, ...]], Path]


@pytest.fixture
def pack_planes(tmp_path: Path) -> PackPlanes:
    """Packs one model with the given planes in every matrix, embedding and head included."""
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")

    def packed(planes: tuple[int, ...]) -> Path:
        out = tmp_path / f"{'-'.join(map(str, planes))}.rbe"
        with fixed_planes(planes):
            pack(source, out, PackOptions(bits=2, calibrate="none"))
        return out

    return packed


def test_the_base_of_a_nested_file_is_the_file_of_the_base(pack_planes: PackPlanes) -> None:
    nested, base = pack_planes((2, 2)), pack_planes((2,))
    with Model.open(nested) as model, Model.open(base) as alone:
        assert {tensor.plane_bits for tensor in model.tensors.values()} == {(), (2, 2)}
        with alone.session() as session:
            expected = session.score(TOKENS, logits=True).logits
        with model.session(planes=1) as session:
            np.testing.assert_array_equal(session.score(TOKENS, logits=True).logits, expected)
            session.rewind(0)
            for token in TOKENS:  # decoding takes other kernels than a pass of many tokens
                session.prefill([token])
            np.testing.assert_array_equal(session.logits, expected[-1])
        with model.session() as session:
            whole = session.score(TOKENS, logits=True).logits
        assert np.abs(whole - expected).max() > 0.01
        for planes in (2, 4):  # more than there are: all
            with model.session(planes=planes) as session:
                np.testing.assert_array_equal(session.score(TOKENS, logits=True).logits, whole)


@pytest.mark.parametrize("planes", [-1, 5])
def test_planes_out_of_range(tiny_model: Path, planes: int) -> None:
    with Model.open(tiny_model) as model, pytest.raises(OptionError, match="planes must be from 1 to 4"):
        model.session(planes=planes)


def save_header(session: Session, path: Path) -> list[int]:
    """The fewest planes that were read of each kind of matrix, as a saved state says."""
    session.save(path)
    return list(path.read_bytes()[40:44])


def test_planes_change_between_calls(pack_planes: PackPlanes) -> None:
    """What the context holds stays as it was computed, and what follows is as of a session that has these planes."""
    with Model.open(pack_planes((2, 2))) as model, model.session() as session, model.session(planes=1) as base:
        session.prefill(TOKENS[:5])
        base.copy_from(session, 5)
        session.configure(planes=1)
        for one in (session, base):
            one.prefill(TOKENS[5:])
        np.testing.assert_array_equal(session.logits, base.logits)
        with model.session() as whole:
            whole.prefill(TOKENS)
            assert np.abs(whole.logits - session.logits).max() > 0.01
            session.configure()  # all again
            session.rewind()
            session.prefill(TOKENS)
            np.testing.assert_array_equal(session.logits, whole.logits)


def test_planes_by_kind_of_matrix(tmp_path: Path) -> None:
    """Of a nested file as of a file in which these matrices have the base alone."""
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")

    def logits_of(
        planes: tuple[int, ...], ends: tuple[int, ...], by_kind: dict[PlanesKind, int]
    ) -> npt.NDArray[np.float32]:
        out = tmp_path / f"{'-'.join(map(str, (*planes, 0, *ends)))}.rbe"
        if not out.exists():
            with fixed_planes(planes, ends):
                pack(source, out, PackOptions(bits=2, calibrate="none"))
        with Model.open(out) as model, model.session() as session:
            session.configure(planes=by_kind)
            session.prefill(TOKENS)
            return session.logits

    both = (2, 2)
    layers: dict[PlanesKind, int] = {"attention": 1, "feed_forward": 1}
    ends: dict[PlanesKind, int] = {"embedding": 1, "lm_head": 1}
    np.testing.assert_array_equal(logits_of(both, both, layers), logits_of((2,), both, {}))
    np.testing.assert_array_equal(logits_of(both, both, ends), logits_of(both, (2,), {}))
    np.testing.assert_array_equal(logits_of(both, both, {**layers, **ends}), logits_of((2,), (2,), {}))
    kinds: list[PlanesKind] = ["attention", "feed_forward", "embedding", "lm_head"]
    found = [logits_of(both, both, {}), *(logits_of(both, both, {kind: 1}) for kind in kinds)]
    for i, first in enumerate(found):
        for second in found[:i]:
            assert np.abs(first - second).max() > 1e-3


def test_a_state_says_the_fewest_planes_and_goes_to_any_session(pack_planes: PackPlanes, tmp_path: Path) -> None:
    with Model.open(pack_planes((2, 2))) as model, model.session() as session, model.session(planes=1) as base:
        session.prefill(TOKENS[:4])
        assert save_header(session, tmp_path / "all") == [4, 4, 4, 4]
        session.configure(planes={"attention": 2, "feed_forward": 1})
        session.prefill(TOKENS[4:5])
        session.configure()
        session.prefill(TOKENS[5:])
        assert save_header(session, tmp_path / "state") == [2, 1, 4, 4]
        before = session.logits
        assert base.restore(tmp_path / "state") == TOKENS
        np.testing.assert_array_equal(base.logits, before)
        assert save_header(base, tmp_path / "again") == [2, 1, 4, 4]
        session.configure(planes=1)
        for one in (session, base):
            one.prefill([1])
        np.testing.assert_array_equal(session.logits, base.logits)
        assert save_header(base, tmp_path / "again") == [1, 1, 1, 1]


def test_planes_of_a_batch_are_its_own(pack_planes: PackPlanes) -> None:
    """Sessions that read different numbers of planes step together, with those of the batch."""
    with Model.open(pack_planes((2, 2))) as model:
        for planes in (0, 1):
            together = [model.session(planes=own) for own in (0, 1)]
            alone = [model.session(planes=own) for own in (0, 1)]
            for one in (*together, *alone):
                one.prefill(TOKENS[:6])
            with model.batch(max_sessions=2, planes=planes) as batch:
                assert batch.step(together, TOKENS[6:8]) == [None, None]
            for one, token in zip(alone, TOKENS[6:8], strict=True):
                one.configure(planes=planes)
                one.prefill([token])
            for own, one, same in zip((0, 1), together, alone, strict=True):
                np.testing.assert_array_equal(one.logits, same.logits)
                same.configure(planes=own)
                for session in (one, same):  # its own passes read what they read before
                    session.prefill(TOKENS[8:])
                np.testing.assert_array_equal(one.logits, same.logits)
            assert np.abs(together[0].logits - together[1].logits).max() > 0.01


def test_threads_change_between_calls(tiny_model: Path) -> None:
    with Model.open(tiny_model) as model, model.session(threads=1) as session, model.session(threads=2) as other:
        other.prefill(TOKENS)
        memory = session.info.arena_bytes
        for threads in (3, 1, 0, 64, 2):
            session.configure(threads=threads)
            session.rewind()
            session.prefill(TOKENS)
            np.testing.assert_array_equal(session.logits, other.logits)
            assert session.info.threads == (threads or 1)
        assert session.info.arena_bytes > memory  # each thread has scratch memory, and keeps it


def test_what_cannot_be_configured(tiny_model: Path) -> None:
    with Model.open(tiny_model) as model, model.session(threads=2) as session, model.session(threads=2) as other:
        wrong: list[dict[str, Any]] = [
            {"threads": -1}, {"threads": 65}, {"threads": 2**32 + 1}, {"planes": -1}, {"planes": 5}, {"planes": 2**32},
            {"planes": {"attention": 5}}, {"planes": {"attention": 1, "lm_head": -1}}, {"planes": {"head": 1}},
            {"threads": 1, "planes": 5}, {"threads": 65, "planes": 1},
        ]  # fmt: skip
        for options in wrong:
            with pytest.raises(OptionError):
                session.configure(**options)
            assert session.info.threads == 2
        for one in (session, other):
            one.prefill(TOKENS)
        np.testing.assert_array_equal(session.logits, other.logits)
        refused: list[str] = []

        def configure(done: int, total: int) -> None:
            with pytest.raises(RbeError, match="in use") as error:
                session.configure(threads=1)
            refused.append(str(error.value))

        session.prefill(TOKENS, progress=configure)
        assert refused and session.info.threads == 2
        session.close()
        with pytest.raises(ModelError, match="closed"):
            session.configure(threads=1)
