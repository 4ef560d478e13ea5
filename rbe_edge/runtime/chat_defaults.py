"""How an answer is generated where nobody says: as the model's publisher says in its file, else the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rbe_edge.errors import ModelError, OptionError
from rbe_edge.runtime.demo import demo_path
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions, chat_temperature

if TYPE_CHECKING:
    from rbe_edge.format.metadata import MetadataValue
    from rbe_edge.runtime.engine_model import EngineModel

MOST_TOKENS = 512
"""Of an answer: a model that repeats itself ends too."""

_TOP_K, _TOP_P, _MIN_P = 40, 0.95, 0.05


def chat_defaults(model: EngineModel) -> GenerationOptions:
    """For a model that is open: at most 512 tokens, and chat_sampling() of its metadata."""
    try:
        demo = model.info.path == demo_path()
    except ModelError:
        demo = False
    return GenerationOptions(max_tokens=MOST_TOKENS, sampling=chat_sampling(model.metadata, demo=demo))


def chat_sampling(metadata: Mapping[str, MetadataValue], *, demo: bool = False) -> SamplingOptions:
    """Temperature 0.7 (0 of the demo model), top-k 40, top-p 0.95, min-p 0.05; where the metadata says anything of
    sampling (docs/format.md, `generation.`), what it says, and min-p is off. What is out of range is passed over."""
    temperature = _number(metadata, "temperature", chat_temperature(demo=demo))
    top_p = _number(metadata, "top_p", _TOP_P)
    top_k = round(_number(metadata, "top_k", _TOP_K))
    penalty = _number(metadata, "repeat_penalty", 1.0)
    says = any(key.startswith("generation.") for key in metadata)
    min_p = 0.0 if says else _MIN_P
    try:
        return SamplingOptions(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repeat_penalty=penalty)
    except OptionError:
        return SamplingOptions(temperature=chat_temperature(demo=demo), top_k=_TOP_K, top_p=_TOP_P, min_p=_MIN_P)


def answer_sampling(metadata: Mapping[str, MetadataValue]) -> SamplingOptions:
    """Of an encoder-decoder: the likeliest token each time, where the metadata says nothing of sampling."""
    if any(key.startswith("generation.") for key in metadata):
        return chat_sampling(metadata)
    return SamplingOptions(temperature=0)


def _number(metadata: Mapping[str, MetadataValue], name: str, otherwise: float) -> float:
    value = metadata.get(f"generation.{name}")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else otherwise
