"""The examples of docs/runtime.md run, on the demo model and a tiny encoder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import encoder_files
import pytest

import rbe_edge
from rbe_edge.runtime.model import demo_path

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "runtime.md"


def _examples() -> list[str]:
    """The indented blocks of the document, without their indent; each is Python."""
    blocks = re.findall(r"(?:^    .*\n(?:^[ ]*\n(?=    ))?)+", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in blocks]


def test_there_are_examples() -> None:
    text = "".join(_examples())
    names = ("session.save", "batch.step", "embedding", "astream", "Conversation", "model.stream", "generate(")
    for name in (*names, "session.configure", "batch.advance", "run_layers", "model.embed", "encoder.pooled"):
        assert name in text, name


@pytest.mark.parametrize("example", _examples())
def test_example_runs(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(demo_path(), tmp_path / "smol.rbe")
    encoder_files.write(tmp_path / "minilm.rbe", encoder_files.Shape(pooling="mean"))
    monkeypatch.chdir(tmp_path)
    with rbe_edge.Model.open("smol.rbe") as model:
        exec(compile(example, str(DOCUMENT), "exec"), {"rbe_edge": rbe_edge, "model": model})
    assert capsys.readouterr().out.strip()
