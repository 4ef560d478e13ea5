"""Activation functions: transformers' names for what the format has."""

from __future__ import annotations

from rbe_edge.errors import PackError
from rbe_edge.sources.config import Config
from rbe_edge.sources.messages import shown

# swiglu is nomic-bert's name for a gate with this activation.
ACTIVATIONS = {
    "silu": "silu", "swish": "silu", "swiglu": "silu", "gelu": "gelu", "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "relu2": "relu2",
}  # fmt: skip


def activation(config: Config, key: str, default: str | None = None) -> str:
    """What a key names, in the format's words. Raises PackError for a function that is not computed."""
    name = config.text(key, default)
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise PackError(f"{config.where}: the activation {shown(name)} is not supported (supported: {known})")
    return ACTIVATIONS[name]
