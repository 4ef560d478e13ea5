"""What is compared with transformers: tiny models and token sequences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tiny_llama_like
from tiny_models import CONTEXT, MODELS, TinyModel

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "logits"

# Of logits, between fp32 computations in another order; what is measured is about 1e-5.
TOLERANCE = 1e-3
RELATIVE = 1e-4  # of the largest logit; what is measured is 3e-6 at most


@dataclass(frozen=True)
class Case:
    """A model and how many tokens it reads, in a session of `context` tokens."""

    name: str
    model: TinyModel
    n_tokens: int = 24  # three times the windows of the tiny models
    context: int = CONTEXT

    @property
    def tokens(self) -> list[int]:
        return [(37 * i * i + 11 * i + 5) % 268 for i in range(self.n_tokens)]


CASES = {name: Case(name, model) for name, model in MODELS.items()}
# LongRoPE has one table up to the original context (16) and another above
CASES["phi3_longrope_short"] = Case("phi3_longrope_short", MODELS["phi3_longrope"], n_tokens=16, context=16)


def reference_model(case: Case) -> TinyModel:
    """The model that transformers computes. It is the same one, but where a language model lies inside a larger model:
    there it is the language model by itself; and for what transformers does not know."""
    if case.model.config["model_type"] == "minicpm":
        return TinyModel(case.name, tiny_llama_like.as_granite(case.model.config))
    text = case.model.config.get("text_config")
    return case.model if text is None else TinyModel(case.name, text)
