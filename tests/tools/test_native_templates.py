"""The library's list of known templates is the one that is proven, and a measurement counts what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import native_templates


def test_the_known_templates_are_the_proven_ones() -> None:
    assert native_templates.SOURCE.read_text(encoding="utf-8") == native_templates.known_source()


def test_measurement(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = dict(native_templates.known_templates())
    (tmp_path / "a.jinja").write_text(known["chatml"], encoding="utf-8")
    (tmp_path / "b.jinja").write_text("{{ strftime_now('%d') }}" + known["chatml"], encoding="utf-8")
    assert native_templates.main(["measure", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| 2 | 1 | 1 | 0 | 1 |" in printed and "b: refused (line 1 writes the date" in printed
    assert native_templates.main(["show", str(tmp_path / "a.jinja")]) == 0
    assert "knows this template by itself" in capsys.readouterr().out
