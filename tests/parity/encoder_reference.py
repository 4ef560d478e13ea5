"""The reference for encoders: transformers on torch, fp32, eager attention, all texts in one batch with padding.
Imported only where both are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from encoder_cases import Outputs, masked, texts
from safetensors.numpy import load_file
from tiny_encoders import VOCABULARY, TinyEncoder

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def outputs(encoder: TinyEncoder, directory: Path) -> Outputs:
    """What transformers gives for a directory that tiny_encoders.write has made, and where it has modules what
    sentence-transformers makes of it."""
    name = encoder.config["architectures"][0]
    model, loading = getattr(transformers, name).from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(loading.values()), loading
    given = texts(encoder)
    longest = max(len(text.tokens) for text in given)
    tokens, mask, segments = (torch.zeros((len(given), longest), dtype=torch.long) for _ in range(3))
    for row, text in enumerate(given):
        n = len(text.tokens)
        tokens[row, :n] = torch.tensor(text.tokens)
        mask[row, :n] = 1
        segments[row, text.second : n] = 1
    inputs = {"input_ids": tokens, "attention_mask": mask}
    if encoder.config.get("type_vocab_size", 1) > 1:
        inputs["token_type_ids"] = segments
    with torch.no_grad():
        whole = model.eval()(**inputs)
        inner = model if name.endswith("Model") else getattr(model, model.base_model_prefix)
        last = whole.last_hidden_state if name.endswith("Model") else inner(**inputs).last_hidden_state
    rows = [last[row, : len(text.tokens)] for row, text in enumerate(given)]
    words = np.empty((0, VOCABULARY), np.float32)
    pooled = np.empty((len(given), 0), np.float32)
    if name.endswith("ForMaskedLM"):
        words = torch.cat([whole.logits[row, masked(text)] for row, text in enumerate(given)]).numpy()
    if name.endswith("ForSequenceClassification"):
        pooled = whole.logits.numpy()
    if encoder.modules:
        pooled = torch.stack([_sentence(encoder, directory, x) for x in rows]).numpy()
    return Outputs(torch.cat(rows).numpy(), words, pooled)


def _sentence(encoder: TinyEncoder, directory: Path, x: Any) -> Any:
    """The modules of sentence-transformers on the hidden states of a text, as that package defines them."""
    for number, (kind, settings) in enumerate(encoder.modules, 1):
        if kind == "Pooling":
            (mode,) = (key for key, value in settings.items() if value is True)
            x = {
                "pooling_mode_cls_token": x[0], "pooling_mode_mean_tokens": x.mean(0),
                "pooling_mode_max_tokens": x.max(0).values, "pooling_mode_lasttoken": x[-1],
            }[mode]  # fmt: skip
        elif kind == "Dense":
            weights = load_file(directory / f"{number}_Dense" / "model.safetensors")
            x = torch.tanh(torch.from_numpy(weights["linear.weight"]) @ x + torch.from_numpy(weights["linear.bias"]))
        else:
            x = torch.nn.functional.normalize(x, dim=0)
    return x
