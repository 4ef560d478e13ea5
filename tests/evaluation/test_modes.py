"""The search of what power modes may leave unread, and the table that `rbe eval --power all` stores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from fixed_planes import fixed_planes

from rbe_edge import Model
from rbe_edge.errors import OptionError
from rbe_edge.evaluation import mode_table
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.evaluation.effort_search import EffortSearch, Judge, Loss, keeps, moves_of, whole_effort
from rbe_edge.format.modes import MODE_NAMES
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.effort import SKIP, Effort
from rbe_edge.runtime.probabilities import Likely, divergences, log_softmax

TEXT = "the rain in an inner then and there on a ring " * 60


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("modes")
    source = tiny_models.write(tiny_models.MODELS["llama"], directory / "source")
    with fixed_planes((2, 2)):
        pack(source, directory / "nested.rbe", PackOptions(bits=2, calibrate="none"))
    return directory / "nested.rbe"


@pytest.fixture
def model(nested: Path) -> Iterator[Model]:
    with Model.open(nested) as opened:
        yield opened


def windows(model: Model, n: int) -> list[list[int]]:
    tokens = model.tokenize(TEXT, special=False)
    return [tokens[48 * i : 48 * (i + 1)] for i in range(n)]


def test_moves(model: Model) -> None:
    """Of each step of each layer the base alone and nothing, of the ends the base."""
    found = {(move.part, move.layer, move.planes) for move in moves_of(model)}
    steps = {
        (part, layer, planes) for part in ("attention", "feed_forward") for layer in (0, 1) for planes in (1, SKIP)
    }
    assert found == steps | {("embedding", 0, 1), ("lm_head", 0, 1)}


@pytest.mark.parametrize("name", ["qwen2_moe_mixed", "granitemoeshared", "qwen3_moe"])
def test_moves_of_mixtures(name: str, tmp_path: Path) -> None:
    """Experts, and what is shared beside them, stand in the place of a feed-forward part; each move saves bytes."""
    source = tiny_models.write(tiny_models.MODELS[name], tmp_path / "source")
    with fixed_planes((2, 2)):
        pack(source, tmp_path / "m.rbe", PackOptions(bits=2, calibrate="none"))
    with Model.open(tmp_path / "m.rbe") as model:
        moves = [move for move in moves_of(model) if move.part == "feed_forward"]
        assert {(move.layer, move.planes) for move in moves} == {(layer, n) for layer in (0, 1) for n in (1, SKIP)}
        for move in moves:
            assert model.read_bytes(move.applied(whole_effort(model))) < model.read_bytes()


def test_losses_are_those_of_the_divergence(model: Model) -> None:
    parts = windows(model, 3)
    effort = Effort((1, 0), (0, SKIP), 1, 0)
    with Judge(model, parts) as judge:
        loss = judge.loss(effort)
        again = judge.loss(Effort())
        assert again.kl < 1e-5 and again.perplexity == judge.whole.perplexity and again.top1_agreement == 1.0
    tokens = [token for part in parts for token in part]
    expected = divergence(model, model, tokens, window=48, effort=effort)
    assert loss.n == expected.n_scored == 3 * 47
    assert loss.kl == pytest.approx(expected.kl, rel=2e-3)  # the reference is kept in half precision
    assert loss.perplexity == pytest.approx(expected.perplexity, rel=1e-6)
    assert abs(loss.top1_agreement - expected.top1_agreement) < 0.02


def test_bounds_are_kept_and_bytes_fall(model: Model) -> None:
    with Judge(model, windows(model, 4)) as judge:
        search = EffortSearch(model, judge)
        before = model.read_bytes()
        for ratio in (1.02, 1.2, 2.0):
            found = search.within(ratio)
            assert found.read_bytes == model.read_bytes(found.effort) <= before
            assert keeps(judge.loss(found.effort), judge.whole, ratio)
            before = found.read_bytes
        assert before < 0.9 * model.read_bytes()
        again = EffortSearch(model, judge)
        assert [again.within(ratio).effort for ratio in (1.02, 1.2, 2.0)][-1] == found.effort


def test_what_keeps_a_bound() -> None:
    whole = Loss(0.0, 0.0, 20.0, 1.0, 100)
    good = Loss(math.log(1.1), 0.0, 21.9, 0.9, 100)
    assert keeps(good, whole, 1.1)
    assert not keeps(Loss(good.kl, 0.0, 22.1, 0.9, 100), whole, 1.1)
    assert not keeps(Loss(2.1 * good.kl, 0.0, 15.0, 0.9, 100), whole, 1.1)  # a text that the model does not know


def test_what_is_kept_of_predictions() -> None:
    noise = np.random.default_rng(5)
    logits = (4 * noise.standard_normal((8, 20000))).astype(np.float32)
    expected, found = log_softmax(logits.copy()), log_softmax(logits + noise.standard_normal((8, 20000), np.float32))
    exact = divergences(expected, found)
    kept = [Likely(row) for row in expected]
    measured = np.array([one.divergence(row) for one, row in zip(kept, found, strict=True)])
    assert np.all(measured <= exact + 1e-6) and np.all(measured > 0.99 * exact)
    assert [one.divergence(row) for one, row in zip(kept, expected, strict=True)] == pytest.approx([0] * 8, abs=1e-6)
    assert [one.first for one in kept] == expected.argmax(axis=1).tolist()
    certain = np.full(5, -200, np.float32)
    certain[3] = 0
    assert Likely(certain).divergence(certain) == pytest.approx(0, abs=1e-9)
    assert Likely(certain).divergence(np.roll(certain, 1)) == pytest.approx(200)
    flat = np.log(np.random.default_rng(4).dirichlet(np.full(30000, 5.0))).astype(np.float32)
    assert Likely(flat).nbytes < 100_000  # every token is more likely than one in a million
    assert Likely(flat).divergence(flat) == pytest.approx(0, abs=1e-6)


def test_windows_are_measured_in_pieces(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with Judge(model, windows(model, 4)) as judge:
        whole = judge.loss(whole_effort(model)), judge.whole
    monkeypatch.setattr("rbe_edge.evaluation.divergence._LOGIT_BYTES", 4 * model.info.vocabulary * 7)
    with Judge(model, windows(model, 4)) as judge:
        assert (judge.loss(whole_effort(model)), judge.whole) == whole


def test_the_table(model: Model) -> None:
    table = mode_table.plan_modes(model, TEXT, "text")
    assert [mode.bytes_per_token for mode in table.modes] == sorted(
        (mode.bytes_per_token for mode in table.modes), reverse=True
    )
    whole = table.modes[0]
    assert whole.reads_all and whole.bytes_per_token == model.read_bytes() and whole.kl == 0
    for name, mode in zip(MODE_NAMES[1:], table.modes[1:], strict=True):
        assert mode.bytes_per_token == model.read_bytes(Effort.of_mode(mode))
        if mode.found:
            assert mode.perplexity <= mode_table.BOUNDS[name] * whole.perplexity
            assert mode.kl <= 2 * math.log(mode_table.BOUNDS[name]) and mode.n_tokens == whole.n_tokens
    against = mode_table.plan_modes(model, TEXT, "text", source=model)
    assert against.against == "source" and against.modes[3].kl == pytest.approx(table.modes[3].kl, rel=2e-3)
    with pytest.raises(OptionError, match=r"the text has .* tokens; give one of 1024 at least"):
        mode_table.plan_modes(model, TEXT[:300], "text")


def test_a_mode_that_finds_nothing_says_so(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode_table, "BOUNDS", {"balanced": 1.0, "saver": 1.0, "emergency": 1.3})
    table = mode_table.plan_modes(model, TEXT, "text")
    for mode in table.modes[1:3]:
        assert not mode.found and "it saves by threads and pace alone" in mode.reason and mode.reads_all
    assert table.modes[3].found


def test_command(nested: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rbe_edge.cli.main import main

    path, text = tmp_path / "model.rbe", tmp_path / "text.txt"
    path.write_bytes(nested.read_bytes())
    text.write_text(TEXT)
    assert main(["eval", str(path), "--power", "saver", "--text", str(text)]) == 2
    assert "has no table of power modes; `rbe eval FILE --power all` makes one" in capsys.readouterr().err
    with Model.open(path) as model:
        tensors = dict(model.tensors)
    assert main(["eval", str(path), "--power", "all", "--text", str(text), "--json"]) == 0
    modes = json.loads(capsys.readouterr().out)["modes"]["modes"]
    with Model.open(path) as model:
        assert model.tensors == tensors and model.modes is not None and model.modes.text == "text.txt"
        assert [mode.perplexity for mode in model.modes.modes] == [mode["perplexity"] for mode in modes]
    found = []
    for mode in MODE_NAMES:
        assert main(["eval", str(path), "--power", mode, "--text", str(text), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["logits_digest"])
    assert len(set(found)) == len({tuple(mode["attention"] + mode["feed_forward"]) for mode in modes}) > 1
    for wrong in (["--power", "saver", "--read-planes", "1"], ["--power", "all", "--windows", "3"], []):
        given = wrong if "all" in wrong or not wrong else [*wrong, "--text", str(text)]
        assert main(["eval", str(path), *given]) == 2
