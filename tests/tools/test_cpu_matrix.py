"""tools/cpu_matrix.py: what it would run, and what it says of runs that fail or differ."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import cpu_matrix


def build(tmp_path: Path) -> Path:
    native = tmp_path / "native"
    native.mkdir()
    for name in ("kernels", "tokenizer", "session", "faults", "amx"):
        (native / f"test_{name}").touch()
    (native / "test_kernels.dir").mkdir()
    return tmp_path


def test_runs(tmp_path: Path) -> None:
    found = list(cpu_matrix.runs("arm64", build(tmp_path), ["cortex-a53"], ["kernels"]))
    assert [(run.cpu, run.what) for run in found] == [("cortex-a53", "text"), ("cortex-a53", "kernels")]
    assert found[1].command[:3] == ("qemu-aarch64-static", "-cpu", "cortex-a53")


def test_all_tests_but_those_that_an_emulator_cannot_run(tmp_path: Path) -> None:
    found = [run.what for run in cpu_matrix.runs("x86", build(tmp_path), ["Nehalem"], ["all"])]
    assert found == ["text", "kernels", "session", "tokenizer"]


@pytest.mark.parametrize(
    ("codes", "texts", "status"), [((0, 0), ("a", "a"), 0), ((0, 1), ("a", "a"), 1), ((0, 0), ("a", "b"), 1)]
)
def test_the_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, codes: tuple[int, int], texts: tuple[str, str], status: int
) -> None:
    def runs(*_: object) -> list[cpu_matrix.Run]:
        command = "import sys; print(sys.argv[1], end=''); sys.exit(int(sys.argv[2]))"
        pairs = zip(codes, texts, strict=True)
        return [cpu_matrix.Run("arm", "x", "text", (sys.executable, "-c", command, t, str(c))) for c, t in pairs]

    monkeypatch.setattr(cpu_matrix, "runs", runs)
    monkeypatch.setattr(sys, "argv", ["cpu_matrix.py", "--arm", str(tmp_path)])
    assert cpu_matrix.main() == status
