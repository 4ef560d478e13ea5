"""Gradients of encoders against those of transformers in double precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tiny_encoder_decoders
import tiny_encoders
from whole_gradient import states

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.gradient_values import Gradient
from rbe_edge.runtime.gradients import NONE
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 1e-4  # of the gradient's norm; about 1e-6 is usual
WINDOW = 11
MASKED = ("bert_masked", "bert_relu", "roberta_masked", "xlm_roberta", "modernbert", "nomic_masked")
TOKENS = [(7 * place + place * place // 3) % (tiny_encoders.VOCABULARY - 5) + 5 for place in range(2 * WINDOW + 6)]
LABELS = [(11 * place + 3) % tiny_encoders.VOCABULARY if place % 3 else NONE for place in range(len(TOKENS))]

Gradients = dict[str, npt.NDArray[np.float64]]


def written(name: str, directory: Path) -> Path:
    if name in tiny_encoder_decoders.ENCODER_DECODERS:
        return tiny_encoder_decoders.write(tiny_encoder_decoders.ENCODER_DECODERS[name], directory)
    return tiny_encoders.write(tiny_encoders.ENCODERS[name], directory)


def reference(directory: Path) -> Any:
    config = json.loads((directory / "config.json").read_text())
    kind = getattr(transformers, config["architectures"][0])
    return kind.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32).double().eval()


def as_tensors(name: str, directory: Path, model: Any) -> Gradients:
    """The gradients of a model by the names of the file's tensors: written as if they were weights, read as these."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
    target = written(name, directory / "gradients")
    model.float().save_pretrained(target)
    return {tensor.name: tensor.read().astype(np.float64) for tensor in plan_model(open_source(target)).tensors}


def expected(name: str, directory: Path) -> tuple[Gradients, float]:
    model = reference(directory / "source")
    loss = torch.zeros((), dtype=torch.float64)
    for start in range(0, len(TOKENS), WINDOW):
        labels = [label if label != NONE else -100 for label in LABELS[start : start + WINDOW]]
        logits = model(torch.tensor([TOKENS[start : start + WINDOW]])).logits[0]
        loss = loss + torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum")
    loss.backward()
    return as_tensors(name, directory, model), float(loss.detach())


@pytest.mark.parametrize("name", MASKED)
def test_words_that_are_filled_in(tmp_path: Path, name: str) -> None:
    source = written(name, tmp_path / "source")
    pack(source, tmp_path / "model.rbe", PackOptions(bits=32))
    exact, loss = expected(name, tmp_path)
    found: dict[str, npt.NDArray[np.float32]] = {}

    def gather(gradient: Gradient) -> None:
        into = found.setdefault(gradient.name, np.zeros((gradient.rows, gradient.cols), np.float32))
        if gradient.x is None:
            into += gradient.d
        else:
            into[gradient.first_row : gradient.first_row + gradient.d.shape[1]] += gradient.d.T @ gradient.x

    with (
        Model.open(tmp_path / "model.rbe") as model,
        model.gradients(tokens=len(TOKENS), context=len(TOKENS), threads=2) as gradients,
    ):
        hidden = states(model, TOKENS, WINDOW, len(TOKENS))
        head = gradients.head(hidden[-1], LABELS, window=WINDOW, show=gather)
        d_hidden = head.d_hidden
        for layer in reversed(range(model.info.layers)):
            gradients.layer(layer, hidden[layer], d_hidden, gather, window=WINDOW)
        assert abs(head.nats.sum() - loss) < 1e-4 * loss
        names = {key for key in model.tensors if key.startswith(("layers.", "head", "norm"))}
    assert names <= found.keys() | {"head"}, names - found.keys()
    for key in sorted(found.keys() - {"embedding"}):
        # a key's bias moves all scores of a query alike, which changes nothing
        norm = np.linalg.norm(exact[key.replace("attention.k.bias", "attention.k")])
        assert norm > 0, key
        assert np.linalg.norm(found[key].reshape(exact[key].shape) - exact[key]) < TOLERANCE * norm, key


@pytest.mark.parametrize("name", ["bert", "modernbert_cls", "nomic_classes", "t5_encoder"])
def test_hidden_states(tmp_path: Path, name: str) -> None:
    """The gradient of a weighed sum of what stands behind the last norm; there is no head of words."""
    source = written(name, tmp_path / "source")
    pack(source, tmp_path / "model.rbe", PackOptions(bits=32))
    tokens = [token % tiny_encoder_decoders.VOCABULARY for token in TOKENS]
    model = reference(tmp_path / "source")
    body = getattr(model, "base_model", model)
    output = body(torch.tensor([tokens])).last_hidden_state[0]
    weights = np.sin(np.arange(output.numel())).reshape(output.shape)
    (output * torch.tensor(weights)).sum().backward()
    exact = as_tensors(name, tmp_path, model)
    found: dict[str, npt.NDArray[np.float32]] = {}

    def gather(gradient: Gradient) -> None:
        found[gradient.name] = gradient.d.copy() if gradient.x is None else gradient.d.T @ gradient.x

    with (
        Model.open(tmp_path / "model.rbe") as packed,
        packed.gradients(tokens=len(TOKENS), threads=1) as gradients,
    ):
        hidden = states(packed, tokens, len(TOKENS), len(TOKENS))
        d_hidden = weights.astype(np.float32)
        gradients.norm(hidden[-1], d_hidden, gather)
        for layer in reversed(range(packed.info.layers)):
            gradients.layer(layer, hidden[layer], d_hidden, gather)
    assert any(key.startswith("layers.0") for key in found)
    for key, value in found.items():
        norm = np.linalg.norm(exact[key.replace("attention.k.bias", "attention.k")])
        assert np.linalg.norm(value.reshape(exact[key].shape) - exact[key]) < TOLERANCE * norm, key
