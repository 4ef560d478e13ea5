"""The list of models: its numbers agree with one another and with what the packer takes."""

from __future__ import annotations

import pytest
from packaging.licenses import canonicalize_license_expression

from rbe_edge.bench.shapes import Shape
from rbe_edge.cli import pull_table
from rbe_edge.machine import hardware
from rbe_edge.models import curated
from rbe_edge.models.curated import Offer
from rbe_edge.sources.architectures import ARCHITECTURES
from rbe_edge.sources.hub import is_repository
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source


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


@pytest.mark.parametrize("offer", curated.offers(), ids=lambda offer: offer.name)
def test_each_can_be_packed_and_has_a_licence(offer: Offer) -> None:
    assert offer.architecture in {row.model_type for row in ARCHITECTURES}
    assert canonicalize_license_expression(offer.licence) == offer.licence
    assert offer.gated == offer.licence.startswith("LicenseRef-")  # those with terms of their own ask for consent
    assert offer.heads % offer.kv_heads == 0 and offer.context >= 2048


@pytest.mark.parametrize("offer", curated.offers(), ids=lambda offer: offer.name)
def test_sizes_and_memory_agree(offer: Offer) -> None:
    """The memory is that of the file, of keys and values of 4096 tokens at most, and less than a quarter more."""
    assert [8 * offer.file_bytes(bits) for bits in (3, 4, 5)] == pytest.approx(
        [bits * offer.parameters for bits in (3, 4, 5)], abs=8
    )
    cache = 2 * 2 * min(offer.context, 4096) * offer.layers * offer.kv_heads * offer.head_dim  # float16
    memory = pull_table.memory_of(offer, 4)
    assert offer.file_bytes(4) < memory < 1.25 * (offer.file_bytes(4) + cache)


@pytest.mark.parametrize(("name", "fixture"), [("smollm2-135m", "smollm2"), ("gemma3-270m", "gemma")])
def test_the_facts_are_those_of_the_model_itself(name: str, fixture: str, request: pytest.FixtureRequest) -> None:
    offer = curated.named(name)
    assert offer is not None
    plan = plan_model(open_source(request.getfixturevalue(fixture)))
    assert plan.architecture == offer.architecture
    names = ("layers", "width", "heads", "kv_heads", "head_dim", "feed_forward", "vocabulary", "context")
    assert {name: plan.metadata[name] for name in names} == {name: getattr(offer, name) for name in names}
    assert sum(tensor.rows * tensor.cols for tensor in plan.tensors) == pytest.approx(offer.parameters, rel=1e-6)
    assert any(tensor.role == "head" for tensor in plan.tensors) != offer.tied


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
