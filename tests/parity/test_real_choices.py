"""Answers to questions on a real model: our likelihoods beside those of transformers on the same weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbe_edge import Model
from rbe_edge.evaluation.choices import Pick, SessionReader, encoded, pick
from rbe_edge.evaluation.choices_file import Question
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.progress import Progress
from rbe_edge.sources.open import open_source

QUESTIONS = (
    Question("Question: What do plants take in from the air?\nAnswer:", ("carbon dioxide", "gold", "iron", "salt"), 0),
    Question("Question: Which animal barks?\nAnswer:", ("a fish", "a dog", "a very old tree in the garden"), 1),
    Question("Water: A man turns a tap on. He", ("holds a glass under it", "eats the tap and the wall"), 0),
)


_NAMES = {
    "attention.norm": "input_layernorm", "feed_forward.norm": "post_attention_layernorm",
    "attention.q": "self_attn.q_proj", "attention.k": "self_attn.k_proj", "attention.v": "self_attn.v_proj",
    "attention.o": "self_attn.o_proj", "feed_forward.gate": "mlp.gate_proj", "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj", "embedding": "embed_tokens", "norm": "norm",
}  # fmt: skip


def _reference(source: Path, model: Model) -> Any:
    """transformers' Llama with the weights of a model that was packed without loss."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**dict(open_source(source).config))
    reference = transformers.LlamaForCausalLM(config).eval()
    weights = {}
    for name, info in model.tensors.items():
        if name.startswith("rope."):
            continue
        layer = re.match(r"layers\.\d+\.", name)
        start = layer[0] if layer else ""
        values = torch.from_numpy(model.tensor_rows(name))
        weights[f"model.{start}{_NAMES[name[len(start) :]]}.weight"] = values[0] if info.rows == 1 else values
    lost = reference.load_state_dict(weights, strict=False)
    assert not lost.unexpected_keys and set(lost.missing_keys) <= {"lm_head.weight"}, "it is tied"
    reference.tie_weights()
    return reference


def test_likelihoods_are_those_of_transformers(smollm2: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = pack(smollm2, tmp_path / "dense.rbe", PackOptions(bits=32)).path
    with Model.open(path, verify=False) as model, SessionReader(model, QUESTIONS) as reader:
        reference = _reference(smollm2, model)
        expected = []
        for question in QUESTIONS:
            exact_sums = []
            texts = [f" {choice}" for choice in question.choices]
            ours = reader.log_likelihoods(question.context, texts)
            for text, nats in zip(texts, ours, strict=True):
                tokens, start = encoded(model, question.context, text)
                with torch.no_grad():
                    logits = reference(torch.tensor([tokens])).logits[0].double().numpy()
                logits -= logits.max(1, keepdims=True)
                exact = logits - np.log(np.exp(logits).sum(1, keepdims=True))
                theirs = sum(exact[at - 1, tokens[at]] for at in range(start, len(tokens)))
                exact_sums.append(theirs)
                assert nats == pytest.approx(theirs, abs=0.02), (question.context, text)
            per_letter = [nats / len(choice) for nats, choice in zip(exact_sums, question.choices, strict=True)]
            expected.append(Pick(int(np.argmax(exact_sums)), int(np.argmax(per_letter))))
        assert pick(reader, QUESTIONS, Progress()) == expected
    assert expected[0] == Pick(0, 0), "plants take in carbon dioxide"
