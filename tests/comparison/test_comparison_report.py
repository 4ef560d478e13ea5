"""Tables, JSON and interpolation of a comparison that is written down here."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree

import pytest

from rbe_edge.comparison import report
from rbe_edge.comparison.compare import GGML, RBE, Comparison, Row
from rbe_edge.evaluation.divergence import Divergence


def _row(engine: str, name: str, bits: float, kl: float, perplexity: float) -> Row:
    return Row(engine, name, int(1000 * bits), bits, Divergence(kl, kl / 20, 0.9, perplexity, 100.0, 1000, 512, 8 * kl))


@pytest.fixture
def comparison() -> Comparison:
    rows = (
        _row(GGML, "Q4_0", 4.5, 0.01, 101.0),
        _row(GGML, "Q8_0", 8.5, 0.0001, 99.9),
        _row(RBE, "2", 2.0, 0.1, 110.0),
        _row(RBE, "4", 4.0, 0.001, 100.1),
    )
    return Comparison("m|odel", 8000, 100.0, 1e-9, 65536, 24, 512, "0.3.36", rows)


def test_bits_at_the_same_kl(comparison: Comparison) -> None:
    ours = [row for row in comparison.rows if row.engine == RBE]
    assert report.bits_at(ours, 0.01, lambda row: row.measured.kl) == pytest.approx(3.0)
    assert report.bits_at(ours, 0.001, lambda row: row.measured.kl) == pytest.approx(4.0)
    assert report.bits_at(ours, 1.0, report.excess) == pytest.approx(3.0)
    for outside in (0.2, 0.0001, 0.0, -1.0):
        assert report.bits_at(ours, outside, lambda row: row.measured.kl) is None
    assert report.bits_at([], 0.01, report.excess) is None


def test_json(comparison: Comparison) -> None:
    found = json.loads(json.dumps(report.as_json(comparison)))
    assert found["engines_kl"] == 1e-9 and found["window"] == 512 and found["parameters"] == 8000
    first = found["rows"][0]
    assert first["engine"] == "llama.cpp" and first["rbe_bits_at_this_kl"] == pytest.approx(3.0)
    assert first["kl"] == 0.01 and first["perplexity_ratio"] == pytest.approx(1.01)
    assert "rbe_bits_at_this_kl" not in found["rows"][2]


def test_markdown(comparison: Comparison) -> None:
    lines = report.markdown(comparison).splitlines()
    cells = [line.count("|") for line in lines[:6]]
    assert len(set(cells)) == 1, "every row has every column"
    assert [line.split("|")[1].strip() for line in lines[2:6]] == ["**RBE 2**", "**RBE 4**", "ggml Q4_0", "ggml Q8_0"]
    assert lines[4].count("3.00 (-1.50)") == 2 and "+1.00 %" in lines[4] and "0.010 ± 0.00050" in lines[4]
    assert lines[4].split("|")[5:7] == [" 0.080 ", " 10.0 % "], "the 99th percentile and flipped choices"
    assert "24 windows of 512 tokens" in lines[-1] and "1.0e-09" in lines[-1]


def test_a_source_that_is_quantised(comparison: Comparison) -> None:
    """Its own type is reported first, marked, and compared with nothing."""
    rows = tuple(dataclasses.replace(row, own=row.name == "Q4_0") for row in comparison.rows)
    own = dataclasses.replace(comparison, rows=rows, own_type="Q4_0")
    lines = report.markdown(own).splitlines()
    assert lines[0].startswith(
        "The source is Q4_0 already. Requantised to its own type: KL 0.010, 10.0 % flipped, perp"
    )
    assert "| ggml Q4_0 * |" in lines[6] and "own type" in lines[6] and "(-" not in lines[6]
    assert "| ggml Q8_0 |" in lines[7] and len({line.count("|") for line in lines[2:8]}) == 1
    found = report.as_json(own)
    assert found["own_type"] == "Q4_0" and [row["own"] for row in found["rows"]] == [True, False, False, False]
    assert "rbe_bits_at_this_kl" not in found["rows"][0] and "rbe_bits_at_this_kl" in found["rows"][1]


def test_plot(comparison: Comparison) -> None:
    pytest.importorskip("matplotlib")
    picture = report.plot(comparison)
    assert picture == report.plot(comparison) and "Q4_0" in picture
    xml.etree.ElementTree.fromstring(picture)
