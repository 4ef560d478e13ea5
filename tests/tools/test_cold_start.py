"""The measurement of a cold process reads what the program in C says. No time is asserted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rbe_edge.bench import shapes
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.sources.tokenizers.directory import read_tokenizer
from tools import cold_start


def test_demo_from_a_cold_process(program: Path) -> None:
    found: dict[str, Any] = cold_start.measure(program, demo_path(), "How do I pack a model?", 128, 1, 2)
    assert 0 < found["open_ms"] < found["first_token_ms"] <= found["first_token_ms_most"]
    assert found["first_token_ms"] < found["outside_ms"]
    memory = found["memory"]
    assert memory["file_mb"] == pytest.approx(demo_path().stat().st_size / 1e6, abs=0.01)
    assert memory["prompt_tokens"] > 2 * found["prompt_tokens"] and memory["threads"] == 1
    # This process is far larger, and must not count.
    assert memory["peak_mb"] > 1 and memory["over_mb"] < 8
    assert "| over file + KV |" in cold_start.table(found)


def test_what_the_program_says_goes_to_the_person(program: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"missing\.rbe"):
        cold_start.run(program, tmp_path / "missing.rbe", ["-p", "x"])


def test_shape_with_a_real_tokenizer(tmp_path: Path, data_dir: Path) -> None:
    tokenizer = read_tokenizer(data_dir / "tokenizers" / "smollm2")
    path = tmp_path / "shape.rbe"
    shape = shapes.Shape("small", "nothing", 1, 64, 2, 1, 32, 128, 49152)
    shapes.write_model(shape, (2,), path, tokenizer=tokenizer)
    with Model.open(path) as model, model.session(context=32) as session:
        tokens = model.tokenize("The history of the city")
        assert 4 <= len(tokens) <= 6 and model.detokenize(tokens) == "The history of the city"
        session.prefill(tokens)
