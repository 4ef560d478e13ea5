"""KL divergence between two models, against numpy in double precision on the logits of single passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from rbe_edge import Model
from rbe_edge.errors import OptionError
from rbe_edge.evaluation import divergence as module
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.packing.pack import PackOptions, pack


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny model packed without loss and at 3 bits."""
    directory = tmp_path_factory.mktemp("pair")
    source = tiny_models.write(tiny_models.MODELS["llama"], directory / "source")
    pack(source, directory / "exact.rbe", PackOptions(bits=32))
    pack(source, directory / "packed.rbe", PackOptions(bits=3))
    return directory / "exact.rbe", directory / "packed.rbe"


def _log_softmax(model: Model, tokens: list[int]) -> np.ndarray:
    with model.session(context=len(tokens)) as session:
        logits = session.score(tokens, logits=True).logits.astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def test_kl_and_perplexity(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    with Model.open(pair[0]) as exact, Model.open(pair[1]) as packed:
        tokens = rng.integers(0, exact.info.vocabulary, 41).tolist()
        monkeypatch.setattr(module, "_LOGIT_BYTES", 4 * exact.info.vocabulary * 7)  # pieces of 7 tokens
        found = divergence(packed, exact, tokens, window=16)
        kl, nats, source_nats, agree = [], [], [], []
        for start in (0, 16, 32):
            window = tokens[start : start + 16]
            p, q = _log_softmax(exact, window)[:-1], _log_softmax(packed, window)[:-1]
            rows, next_tokens = np.arange(len(window) - 1), window[1:]
            kl += list((np.exp(p) * (p - q)).sum(1))
            nats += list(-q[rows, next_tokens])
            source_nats += list(-p[rows, next_tokens])
            agree += list(p.argmax(1) == q.argmax(1))
    assert found.n_scored == len(kl) == 38
    assert found.kl == pytest.approx(np.mean(kl), rel=1e-3, abs=1e-6)
    assert found.kl > 1e-4, "3 bits must show"
    assert found.perplexity == pytest.approx(np.exp(np.mean(nats)), rel=1e-4)
    assert found.source_perplexity == pytest.approx(np.exp(np.mean(source_nats)), rel=1e-4)
    assert found.top1_agreement == pytest.approx(np.mean(agree))
    assert found.flipped == pytest.approx(1 - np.mean(agree))
    assert found.kl_p99 == pytest.approx(np.quantile(kl, 0.99), rel=1e-3)
    assert found.kl < found.kl_p99 < max(kl), "99 % of the tokens lie below"


def test_a_model_does_not_diverge_from_itself(pair: tuple[Path, Path]) -> None:
    with Model.open(pair[1]) as packed:
        found = divergence(packed, packed, list(range(20)), window=20)
    assert found.kl == 0 and found.top1_agreement == 1 and found.perplexity_ratio == 1


def test_too_short(pair: tuple[Path, Path]) -> None:
    with Model.open(pair[1]) as packed, pytest.raises(OptionError, match="at least 2"):
        divergence(packed, packed, [1])


def test_command(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abc abd abe " * 20)
    command = [sys.executable, "-m", "rbe_edge", "eval", str(pair[1]), "--text", str(tmp_path / "text.txt"), "--json"]
    alone = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=tmp_path).stdout)
    both = json.loads(
        subprocess.run([*command, "--source", str(pair[0])], check=True, capture_output=True, cwd=tmp_path).stdout
    )
    assert both["perplexity"] == pytest.approx(alone["perplexity"], rel=1e-4)
    assert both["kl"] > 0 and 0 <= both["top1_agreement"] <= 1 and both["stride"] == both["window"]
    assert both["kl_p99"] > both["kl"] and both["flipped"] == pytest.approx(1 - both["top1_agreement"])


def test_command_refuses_what_is_no_text(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "text.bin").write_bytes(b"\xff\xfe\x00")
    command = [sys.executable, "-m", "rbe_edge", "eval", str(pair[1]), "--text", str(tmp_path / "text.bin")]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, text=True)
    assert done.returncode == 2 and "UTF-8" in done.stderr and len(done.stderr.splitlines()) == 1
