"""The list of models: its numbers agree with one another and with what the packer takes."""

from __future__ import annotations

import pytest

from rbe_edge.bench.shapes import Shape
from rbe_edge.cli import pull_table
from rbe_edge.machine import hardware
from rbe_edge.models import curated
from rbe_edge.models.curated import Offer
from rbe_edge.sources.hub import is_repository


@pytest.mark.parametrize("offer", curated.offers(), ids=lambda offer: offer.name)
def test_the_shape_has_the_weights(offer: Offer) -> None:
    """But for biases and norms that some have beside."""
    shape = Shape(
        offer.name, "", offer.layers, offer.width, offer.heads, offer.kv_heads, offer.head_dim, offer.feed_forward,
        offer.vocabulary,
    )  # fmt: skip
    head = 0 if offer.tied else offer.vocabulary * offer.width
    assert shape.parameters + head == pytest.approx(offer.parameters, rel=2e-4)
    assert is_repository(offer.repository) and offer.source == f"https://huggingface.co/{offer.repository}"
    assert curated.named(offer.name.upper()) is offer and curated.of_repository(offer.repository) is offer


def test_names_differ() -> None:
    assert len(set(curated.names())) == len(curated.offers()) >= 10
    sizes = [offer.file_bytes(4) for offer in curated.offers()]
    assert sizes == sorted(sizes)


def test_what_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "read_bandwidth", lambda threads: 1e-3)  # slower than any processor: it decides
    small, large = curated.offers()[0], curated.offers()[-1]
    found = pull_table.expectations([small, large], (4,))
    assert [expected.offer for expected in found] == [small, large]
    assert found[0].memory < found[1].memory and found[0].memory > small.file_bytes(4)
    assert found[0].tokens_per_second == pytest.approx(1e6 / small.file_bytes(4))
    monkeypatch.setattr(pull_table.fit, "available", lambda: pull_table.fit.Available(0, 10**8, 0, None, "a test"))
    assert [expected.fits for expected in pull_table.expectations([small, large], (4,))] == [False, False]
