"""The program that presses Ctrl-C: presses of every command, all obeyed; and it sees what is not."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models

from rbe_edge.packing.pack import PackOptions, pack
from tools import interrupts

_OFTEN = ["run", "piped", "pipe", "chat", "client", "embed", "eval", "bench", "serve", "inspect", "pack", "tune"]
_SELDOM = ["modes", "list", "doctor", "pull", "report", "quick", "fit"]


@pytest.fixture
def trial(tmp_path: Path, tiny_model: Path) -> interrupts.Trial:
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")
    return interrupts.Trial(interrupts.DEMO, source, tmp_path, 0.8)


@pytest.mark.parametrize(("name", "presses"), [*((name, 10) for name in _OFTEN), *((name, 3) for name in _SELDOM)])
def test_presses(trial: interrupts.Trial, name: str, presses: int, tmp_path: Path) -> None:
    if name == "tune":  # of a model that was packed from the source
        assert trial.source is not None
        packed = pack(trial.source, tmp_path / "packed.rbe", PackOptions(bits=4, calibrate="none")).path
        trial = replace(trial, model=packed)
    found = interrupts.run(trial, name, presses, random.Random(name))
    assert found.faults == [] and len(found.seconds) >= presses


def test_deafness_and_tracebacks_are_seen(trial: interrupts.Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    loud = "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: raise OSError('rbe_edge/x.py\", line 1, in f')"
    monkeypatch.setattr(interrupts, "PATIENCE_S", 0.5)
    for code, what in ((deaf, "not obeyed"), (loud, "shows Traceback")):
        monkeypatch.setattr(interrupts, "PROGRAM", [sys.executable, "-c", code])
        outcome = interrupts.Outcome()
        interrupts.press_plain(trial, [], 1.0, outcome)
        assert len(outcome.faults) == 1 and what in outcome.faults[0]
