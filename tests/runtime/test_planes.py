"""Sessions that read only the first planes of a nested file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from fixed_planes import fixed_planes

from rbe_edge import Model
from rbe_edge.errors import OptionError
from rbe_edge.packing.pack import PackOptions, pack

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
