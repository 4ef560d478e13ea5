"""The program that ends packings: it counts, and it sees a file that differs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import tiny_models

from tools import pack_interrupts


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pack_interrupts.Trial:
    monkeypatch.chdir(tmp_path)  # programs that it starts take the installed package
    (tmp_path / "source").mkdir()
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source" / "tiny")
    (tmp_path / "trial").mkdir()
    return pack_interrupts.Trial(source, ["--bits", "3", "--effort", "quick"], tmp_path / "trial")


def test_three_are_ended(tried: pack_interrupts.Trial) -> None:
    assert pack_interrupts.run(tried, 3, random.Random(3)) >= 3
    assert tried.faults == []


def test_another_file_is_seen(tried: pack_interrupts.Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, files = pack_interrupts.Trial.finish, []

    def differ(self: pack_interrupts.Trial) -> bytes:
        files.append(finish(self))
        return files[-1] + b"x" * len(files)

    monkeypatch.setattr(pack_interrupts.Trial, "finish", differ)
    pack_interrupts.run(tried, 1, random.Random(3))
    assert any("differs" in fault for fault in tried.faults)
