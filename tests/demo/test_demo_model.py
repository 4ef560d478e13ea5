"""The shipped demo model, through the engine: it answers at least 50 of the 60 held-out prompts on topic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.demo.checks import held_out
from tools.demo.evaluate import NEEDED, open_packed, score

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "rbe_edge" / "demo" / "demo.rbe"
TRANSCRIPTS = REPOSITORY / "tools" / "demo" / "transcripts.json"
MAX_BYTES = 4_000_000


@pytest.fixture(scope="module")
def transcripts() -> dict:
    if not TRANSCRIPTS.is_file():
        pytest.skip(
            "no transcripts yet; python -m tools.demo.evaluate rbe_edge/demo/demo.rbe --out tools/demo/transcripts"
        )
    return json.loads(TRANSCRIPTS.read_text(encoding="utf-8"))


def test_size() -> None:
    if not DEMO.is_file():
        pytest.skip(f"{DEMO.name} is not built; python -m tools.demo.build makes it")
    assert DEMO.stat().st_size <= MAX_BYTES


def test_committed_transcripts_are_of_these_prompts_and_scored_by_these_checks(transcripts: dict) -> None:
    prompts = held_out()
    assert [(r["id"], tuple(r["turns"])) for r in transcripts["results"]] == [(p.id, p.turns) for p in prompts]
    passed = [
        prompt.check.passes(result["answers"]) for prompt, result in zip(prompts, transcripts["results"], strict=True)
    ]
    assert passed == [result["passed"] for result in transcripts["results"]]
    assert transcripts["passed"] == sum(passed) >= NEEDED
    written = TRANSCRIPTS.with_suffix(".md").read_text(encoding="utf-8")
    assert f"**{sum(passed)} of {len(prompts)} held-out prompts passed.**" in written


def test_the_packed_demo_passes_through_the_engine(transcripts: dict) -> None:
    if not DEMO.is_file():
        pytest.skip(f"{DEMO.name} is not built; python -m tools.demo.build makes it")
    errors = pytest.importorskip("rbe_edge.errors")
    try:
        chat = open_packed(DEMO)
    except (ImportError, OSError, errors.NativeLibraryError) as error:
        pytest.skip(f"the native library is not here: {error}")
    results = score(chat, held_out())
    passed = sum(result["passed"] for result in results)
    assert passed >= NEEDED
    # Other processors round the activations' sums differently, so a few answers may differ in words.
    assert abs(passed - transcripts["passed"]) <= 2
