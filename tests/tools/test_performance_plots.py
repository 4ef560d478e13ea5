"""Pictures of benchmark reports say what the reports say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools import performance_plots

REPORT: dict[str, Any] = {
    "results": [
        {"program": "rbe", "model": "135M, planes 2", "workload": "tg64", "threads": 1, "tokens_per_s_median": 260.0,
         "ratio": None, "of_bandwidth": 0.42},
        {"program": "llama.cpp", "model": "Q2_K", "workload": "tg64", "threads": 1, "tokens_per_s_median": 160.0,
         "ratio": 1.62, "of_bandwidth": None},
        {"program": "rbe", "model": "135M, planes 2", "workload": "pp512", "threads": 1, "tokens_per_s_median": 990.0,
         "ratio": None, "of_bandwidth": None},
        {"program": "llama.cpp", "model": "Q2_K", "workload": "pp512", "threads": 1, "tokens_per_s_median": 400.0,
         "ratio": 2.48, "of_bandwidth": None},
        {"program": "rbe", "model": "135M, planes 2", "workload": "tg64@4096", "threads": 1,
         "tokens_per_s_median": 50.0, "ratio": None, "of_bandwidth": 0.3},
        {"program": "rbe", "model": "135M, planes 2", "workload": "tg64@4096", "threads": 1,
         "tokens_per_s_median": 999.0, "ratio": None, "of_bandwidth": None, "speculate": "lookup"},
    ]
}  # fmt: skip


def texts(path: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))


def test_pictures_hold_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    report = tmp_path / "report.json"
    report.write_text(json.dumps(REPORT), encoding="utf-8")
    performance_plots.main([str(report), "--out", str(tmp_path)])
    written = [Path(line) for line in capsys.readouterr().out.split()]
    assert [path.name for path in written] == [f"performance-{n}.svg" for n in ("ratios", "context", "bandwidth")]
    ratios, context, bandwidth = map(texts, written)
    axes = [f"{kind}, times llama.cpp (dashed: 2.0)" for kind in ("decode", "prefill")]
    assert {"1.62", "2.48", *axes} <= set(ratios)
    assert "135M, planes 2 / Q2_K, 1 thread, tg64" in ratios
    assert "135M, planes 2, 1 thread" in context and "999" not in "".join(context)
    assert "42 %" in bandwidth and "30 %" not in bandwidth
    assert all(path.stat().st_size < 40_000 for path in written)
    before = written[0].read_bytes()
    performance_plots.main([str(report), "--out", str(tmp_path)])
    assert written[0].read_bytes() == before


def test_shapes_that_one_type_ran_beside_are_not_joined(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    other = [{**row, "model": row["model"].replace("135M", "1B")} for row in REPORT["results"][:2]]
    for row in other:
        row["workload"] = "tg16"
    reports = [tmp_path / "small.json", tmp_path / "large.json"]
    for path, rows in zip(reports, (REPORT["results"], other), strict=True):
        path.write_text(json.dumps({"results": rows}), encoding="utf-8")
    performance_plots.main([*map(str, reports), "--out", str(tmp_path / "made")])
    assert not any("Q2_K" in text for text in texts(tmp_path / "made" / "performance-context.svg"))


def test_what_is_missing_is_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"results": [REPORT["results"][2]]}), encoding="utf-8")
    performance_plots.main([str(report), "--out", str(tmp_path)])
    assert capsys.readouterr().out == "nothing to draw\n" and not list(tmp_path.glob("*.svg"))


@pytest.mark.parametrize("content", ["", "{}", '{"results": [{"workload": "tg"}]}', "[1]", '{"results": [1]}'])
def test_what_is_no_report_is_said(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit, match="no report"):
        performance_plots.main([str(tmp_path / "x.json")])
