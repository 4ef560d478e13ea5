"""Windows of a text begin as the model wants a text to begin: of evaluation, of packing, of tuning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models

from rbe_edge import Model
from rbe_edge.evaluation import mode_table
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.evaluation.effort_search import Judge
from rbe_edge.evaluation.perplexity import perplexity, score_windows
from rbe_edge.packing import effort, held_out
from rbe_edge.packing.effort import EFFORTS
from rbe_edge.packing.held_out import HeldOut
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.text_windows import beginning, text_windows

TEXT = "the cat and the dog sat on the mat. a hat and a rat ran to the cat. " * 40


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose tokenizer puts a token before every text."""
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path_factory.mktemp("begun") / "source")
    path = source / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    bos = next(token for token in tokenizer["added_tokens"] if token["content"] == "<|endoftext|>")
    special = {"SpecialToken": {"id": bos["content"], "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [special, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {bos["content"]: {"id": bos["content"], "ids": [bos["id"]], "tokens": [bos["content"]]}},
    }
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return pack(source, source.parent / "dense.rbe", PackOptions(bits=32)).path


def test_of_a_text(begun: Path) -> None:
    with Model.open(begun) as model:
        (bos,), tokens = beginning(model), model.tokenize(TEXT, special=False)
        assert model.tokenize(TEXT) == [bos, *tokens]
        windows = text_windows(model, TEXT, 32)
        assert all(window[0] == bos and len(window) <= 32 for window in windows)
        assert [token for window in windows for token in window[1:]] == tokens
        by_hand = score_windows(model, windows)
        assert perplexity(model, TEXT, window=32) == by_hand
        assert perplexity(model, tokens, window=32) != by_hand, "tokens that are given are read as they are"
        assert divergence(model, model, TEXT, window=32).perplexity == pytest.approx(by_hand.perplexity, rel=1e-4)


def test_of_packing_and_modes(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    class Watched(Judge):
        def __init__(self, model: Model, windows: list[list[int]], **how: int) -> None:
            seen.extend(windows)
            super().__init__(model, windows, **how)

    monkeypatch.setattr(mode_table, "Judge", Watched)
    with Model.open(begun) as model:
        (bos,) = beginning(model)
        mode_table.plan_modes(model, TEXT, "text")
    assert seen and all(window[0] == bos for window in seen)
    for work in EFFORTS.values():
        windows = [*work.windows(begun, TEXT).seen, *work.windows(begun, TEXT).unseen]
        assert all(window[0] == bos for window in windows)
        assert max(map(len, windows)) <= (effort.WINDOW if work.quick else effort.BACKWARD_WINDOW)


def test_of_held_out_text(begun: Path) -> None:
    packed = HeldOut(begun, TEXT, 10).of(begun)
    with Model.open(begun) as model:
        assert packed.n == min(held_out.N_TOKENS, model.info.context) and packed.kl < 1e-4
