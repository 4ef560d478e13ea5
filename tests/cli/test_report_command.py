"""`rbe report extremes`: a table for people, for Markdown and for programs; errors of one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Rbe, one_line
from safetensors.numpy import save_file


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The smooth matrix of the report takes seconds; a small one shows the same."""
    from rbe_edge.packing import smooth_codes

    whole = smooth_codes.smooth_matrix
    assert whole().shape == (512, 256)
    monkeypatch.setattr(smooth_codes, "smooth_matrix", lambda: whole(48, 32))


def test_json_and_the_matrices_of_a_file(rbe_here: Rbe, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal((40, 48)).astype(np.float32)
    save_file({"w": noise, "vector": np.ones(5, np.float32)}, tmp_path / "t.safetensors")
    done = rbe_here("report", "extremes", "--json", "t.safetensors")
    assert done.returncode == 0 and done.stderr == ""
    rows = json.loads(done.stdout)["rows"]
    assert {row["matrix"] for row in rows} == {"smooth", "w"}
    for row in rows:
        assert row["ratio"] == pytest.approx(4 * row["rows"] * row["cols"] / row["bytes"])
    by_code = {(row["matrix"], row["code"]): row for row in rows}
    assert by_code["w", "seed64"]["error"] > 0.9 > 0.5 > by_code["smooth", "seed64"]["error"]
    assert by_code["w", "trellis K=4"]["error"] < 0.1


@pytest.mark.parametrize("form", [[], ["--markdown"]])
def test_tables(rbe_here: Rbe, form: list[str]) -> None:
    done = rbe_here("report", "extremes", *form)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[1].startswith("|---|" if form else "smooth 48x32") and "Shannon limit" in lines[0]
    assert any("seed64" in line and line.rstrip(" |").endswith("%") for line in lines)


def test_errors(rbe_here: Rbe, tmp_path: Path) -> None:
    save_file({"vector": np.ones(5, np.float32)}, tmp_path / "vector.safetensors")
    save_file({"w": np.full((4, 4), np.nan, np.float32)}, tmp_path / "nan.safetensors")
    save_file({"w": np.ones((4, 4), np.int32)}, tmp_path / "int.safetensors")
    (tmp_path / "no.safetensors").write_bytes(b"no")
    assert "holds no matrix" in one_line(rbe_here("report", "extremes", "vector.safetensors"), 2)
    assert "not finite" in one_line(rbe_here("report", "extremes", "nan.safetensors"), 2)
    assert "give fp32" in one_line(rbe_here("report", "extremes", "int.safetensors"), 2)
    assert "not a complete safetensors" in one_line(rbe_here("report", "extremes", "no.safetensors"), 1)
    assert "not a complete safetensors" in one_line(rbe_here("report", "extremes", "absent.safetensors"), 1)
    assert "--threads 0" in one_line(rbe_here("report", "extremes", "--threads", "0"), 2)
    assert one_line(rbe_here("report"), 2)
