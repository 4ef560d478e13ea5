"""tools/mode_speed.py: which changes it measures, and that its threads are the governor's. No speed is asserted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_shape import TINY, write_tiny

from rbe_edge.bench import shapes
from rbe_edge.machine.power import Mode
from rbe_edge.runtime.governor import Governor, mode_workers
from rbe_edge.runtime.model import Model
from tools import mode_speed


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("shape"))


def test_every_change_is_measured() -> None:
    walk = [Mode.PERFORMANCE, *mode_speed.order()]
    changes = list(zip(walk, walk[1:], strict=False))  # noqa: RUF007
    assert len(changes) == mode_speed.CHANGES and len(set(changes)) == 12
    assert all(before != after for before, after in changes)


def test_threads_are_those_of_the_governor(tiny: Path) -> None:
    for threads in (1, 3, 4):
        with Model.open(tiny) as model, model.session(threads=threads) as session, Governor(model) as governor:
            governor.govern(session)
            for mode in Mode:
                governor.override(mode)
                session.prefill((1,))
                assert session.info.threads == mode_workers(mode, threads).threads


def test_a_file_without_a_table_is_given_one(tiny: Path, tmp_path: Path) -> None:
    before = tiny.read_bytes()
    with Model.open(mode_speed.with_table(tiny, tmp_path)) as model:
        assert model.modes is not None
        assert [mode.skipped[0] for mode in model.modes.modes] == [0, 1, 1, 1]
    assert tiny.read_bytes() == before


def test_tables(tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(mode_speed, "CHANGES", 24)
    monkeypatch.setattr(mode_speed, "MOST_MS", 1e9)
    monkeypatch.setattr("sys.argv", ["mode_speed.py", "change", str(tiny), "-t", "2"])
    assert mode_speed.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        f"| tiny.rbe, 2 threads: {what}" for what in ("calls", "processor", "token", "noise")
    ]
    monkeypatch.setattr(mode_speed, "MOST_MS", 0.0)
    assert mode_speed.main() == 1 and "less than 0 is wanted" in capsys.readouterr().out
    monkeypatch.setitem(shapes.SHAPES, "tiny", TINY)
    monkeypatch.setattr("sys.argv", ["mode_speed.py", "promise", "--shape", "tiny", "-t", "1", "--seconds", "0.1"])
    monkeypatch.setattr(mode_speed, "LEAST_KEPT", 0.0)
    assert mode_speed.main() == 0 and "| tiny, 2+2 | 1 | 1.9" in capsys.readouterr().out
    monkeypatch.setattr(mode_speed, "LEAST_KEPT", 9.0)
    assert mode_speed.main() == 1 and "9 is wanted" in capsys.readouterr().out
