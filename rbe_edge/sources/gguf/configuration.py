"""From the metadata of a GGUF file to a configuration in Hugging Face's words, which the mapping understands.

The reference for what a key means, and for what holds where it is missing, is llama.cpp's loader.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbe_edge.errors import PackError
from rbe_edge.sources.config import Config
from rbe_edge.sources.gguf import hybrids
from rbe_edge.sources.gguf.architectures import (
    DIALECTS,
    EMBEDDING,
    FEATURES,
    GUESSING,
    LM_HEAD,
    LONG_FACTORS,
    MISTRAL,
    ROPE_FREQUENCIES,
    SCALES,
    SEGMENTS,
    SHORT_FACTORS,
    TEMPERATURE,
    Dialect,
)
from rbe_edge.sources.gguf.tensors import GgufTensor
from rbe_edge.sources.messages import shown
from rbe_edge.sources.sentence_layout import SentenceLayout

#: Tensors that belong to the configuration, not to the weights.
ROPE_TENSORS = (ROPE_FREQUENCIES, LONG_FACTORS, SHORT_FACTORS)

# Keys that change what a model computes, but not in these architectures or not in this engine, and the values with
# which they change nothing.
_NOT_COMPUTED: Mapping[str, tuple[object, ...]] = {
    "attention.clamp_kqv": (0,), "attention.max_alibi_bias": (0,),
    "attention.scale": (0,), "attention.shared_kv_layers": (0,), "attention.temperature_scale": (0,),
    "embedding_scale": (0, 1), "logit_scale": (0, 1), GUESSING: (0,), "residual_scale": (0, 1),
    "rope.scaling.alpha": (0,), "rope.scaling.yarn_ext_factor": (-1, 1), "rope.scaling.yarn_log_multiplier": (0,),
    "use_parallel_residual": (False,),
}  # fmt: skip

# Both sizes with 27 billion weights scale attention by the width per head, which no key says (llama.cpp: LLM_TYPE_27B).
_LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}
_WINDOW_PERIODS = {"gemma2": 2, "gemma3": 6, "exaone4": 4, "spark2_5": 4}
_WITH_WINDOW = (
    *_WINDOW_PERIODS, "gemma4", "llama", "phi3", "mistral3", "gpt2", "bert", "nomic-bert", "qwen2", "qwen3",
)  # fmt: skip


@dataclass(frozen=True)
class Keys:
    """The keys of one architecture, without its name before them."""

    config: Config
    architecture: str

    def key(self, name: str) -> str:
        return f"{self.architecture}.{name}"

    def get(self, name: str) -> Any:
        return self.config.values.get(self.key(name))

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number; a list of one for every layer counts where all are equal."""
        value = self.get(name)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            return Config({self.key(name): value[0]}, self.config.where).integer(self.key(name), default)
        if isinstance(value, list):
            raise PackError(f"{self.config.where}: {self.key(name)} differs between layers, which is not supported")
        return self.config.integer(self.key(name), default)

    def optional_integer(self, name: str) -> int | None:
        """A whole number above 0, None where it is 0 or missing."""
        return self.integer(name) if self.get(name) not in (None, 0) else None

    def positive(self, name: str, default: float | None = None) -> float:
        """A number above 0: the shortest decimal that fp32 stores as the same number, so 1e-5 stays 1e-5."""
        return _decimal(self.config.positive(self.key(name), default))

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number, in the same way."""
        return _decimal(self.config.number(self.key(name), default))

    def optional_positive(self, name: str) -> float | None:
        return self.positive(name) if self.get(name) not in (None, 0) else None


def _decimal(value: float) -> float:
    with np.errstate(over="ignore"):
        short = float(str(np.float32(value)))
    return short if math.isfinite(short) else value


def find_dialect(metadata: Mapping[str, Any], where: str) -> Dialect:
    """What the file's architecture means. PackError, with what is supported, where it is another one."""
    name = metadata.get("general.architecture")
    for dialect in DIALECTS:
        if dialect.name == name:
            return dialect
    supported = ", ".join([*(dialect.name for dialect in DIALECTS), "t5"])
    raise PackError(
        f"{where}: the architecture {shown(name)} is not supported in GGUF files; supported are {supported}"
    )


def head_counts(keys: Keys) -> tuple[int, int]:
    """Heads, and heads of keys and values."""
    heads, counts = keys.integer("attention.head_count"), keys.get("attention.head_count_kv")
    if keys.architecture in hybrids.NAMES and isinstance(counts, list):
        return heads, hybrids.key_heads(counts, keys.config.where)
    return heads, keys.integer("attention.head_count_kv", heads)


def block_count(keys: Keys) -> int:
    """Without blocks at the end that guess further tokens. Raises PackError where all do."""
    blocks, guessing = keys.integer("block_count"), keys.optional_integer(GUESSING) or 0
    if guessing >= blocks:
        raise PackError(f"{keys.config.where}: {keys.key(GUESSING)} = {guessing} of {blocks} blocks; check the file")
    return blocks - guessing


def count_layers(keys: Keys, tensors: Mapping[str, GgufTensor]) -> int:
    """How many there are. Raises PackError for a file without an embedding, or with a count that its tensors belie."""
    where = keys.config.where
    if EMBEDDING not in tensors:
        raise PackError(f"{where}: the tensor {EMBEDDING} is missing; this is a part of a model, or none")
    n_layers = block_count(keys)
    if n_layers > len(tensors):  # a damaged count must not be believed: lists of this length follow
        raise PackError(f"{where}: only {len(tensors)} tensors for {n_layers} layers; download it again")
    return n_layers


def configuration(
    dialect: Dialect, keys: Keys, tensors: Mapping[str, GgufTensor], rope: Mapping[str, GgufTensor]
) -> dict[str, Any]:
    """The configuration of a model with these weights and these tensors of its rotary positions (ROPE_TENSORS).

    Raises PackError for keys that are missing or absurd, and those with values that the engine does not compute.
    """
    refuse_others(dialect, keys)
    n_layers, width = count_layers(keys, tensors), keys.integer("embedding_length")
    heads, kv_heads = head_counts(keys)
    if heads > width:
        raise PackError(f"{keys.config.where}: {heads} heads do not fit a width of {width}; check the file")
    head_dim = keys.integer("attention.key_length", width // heads)
    if keys.integer("attention.value_length", width // heads) != head_dim:
        raise PackError(f"{keys.config.where}: keys and values of different size are not supported")
    window = _window(dialect, keys)
    row = MISTRAL if dialect.name == "llama" and window else dialect.row
    config: dict[str, Any] = {
        "model_type": row.model_type, "hidden_size": width, "num_hidden_layers": n_layers,
        "intermediate_size": keys.integer("feed_forward_length"), "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "head_dim": head_dim, "vocab_size": tensors[EMBEDDING].shape[0],
        "max_position_embeddings": keys.integer("context_length"), "rms_norm_eps": keys.positive(dialect.epsilon),
        "hidden_act": dialect.activation, "tie_word_embeddings": LM_HEAD not in tensors,
        FEATURES: dialect.features(tensors), "sliding_window": window,
        "attn_logit_softcapping": keys.optional_positive("attn_logit_softcapping"),
        "final_logit_softcapping": keys.optional_positive("final_logit_softcapping"),
    }  # fmt: skip
    if SEGMENTS in tensors:
        config["type_vocab_size"] = tensors[SEGMENTS].shape[0]
    if dialect.name in _WINDOW_PERIODS:
        config["layer_types"] = _layer_types(dialect, keys, n_layers, window)
        config["query_pre_attn_scalar"] = width // heads if n_layers == _LAYERS_OF_27B.get(dialect.name) else head_dim
    if SCALES == dialect.computes:
        config |= _scales(dialect, keys, head_dim)
    if dialect.name in hybrids.CONVOLVING:
        counts = keys.get("attention.head_count_kv")
        config["layer_types"] = hybrids.layer_types(counts, n_layers, keys.config.where)
        config["conv_L_cache"] = keys.integer("shortconv.l_cache") if "conv" in config["layer_types"] else None
    if row.position == "rope":
        config["rope_parameters"] = _rope(dialect, keys, head_dim, rope)
    elif rope:
        raise PackError(f"{keys.config.where}: {next(iter(rope))} has no place in {row.title}; check the file")
    return config


def refuse_others(dialect: Dialect, keys: Keys) -> None:
    """Raises PackError for keys whose values the engine does not compute."""
    is_causal = not dialect.row.both_directions
    if keys.get("attention.causal") not in (None, is_causal):
        raise PackError(
            f"{keys.config.where}: {keys.key('attention.causal')} = {shown(keys.get('attention.causal'))} is not "
            f"supported for {dialect.name}"
        )
    if dialect.name not in _WITH_WINDOW and keys.get("attention.sliding_window") not in (None, 0):
        raise PackError(f"{keys.config.where}: a sliding window of {dialect.name} is not supported")
    for name, neutral in _NOT_COMPUTED.items():
        value = keys.get(name)
        if value is not None and value not in neutral and name not in dialect.computes:
            raise PackError(f"{keys.config.where}: {keys.key(name)} = {shown(value)} is not supported")


def _scales(dialect: Dialect, keys: Keys, head_dim: int) -> dict[str, float]:
    """Granite's factors, and MiniCPM's. A file of MiniCPM names them all."""
    if dialect.name in ("granite", "granitemoe") and keys.get("rope.scaling.finetuned") is False:
        raise PackError(f"{keys.config.where}: {dialect.name} without rotary positions is not supported")

    def factor(name: str) -> float:
        found = keys.optional_positive(name)
        return found if found is not None else 1.0 if dialect.name != "minicpm" else keys.positive(name)

    return {
        "embedding_multiplier": factor("embedding_scale"),
        "residual_multiplier": factor("residual_scale"),
        "logits_scaling": factor("logit_scale"),
        "attention_multiplier": keys.optional_positive("attention.scale") or head_dim**-0.5,
    }


_POOLINGS = {1: "mean", 2: "cls", 3: "last"}
RANKS = 4


def sentence_layout(dialect: Dialect, keys: Keys) -> SentenceLayout | None:
    """How a vector of a text is made; None where the file does not say it, and for a model that ranks (RANKS), whose
    tensors do. llama.cpp scales vectors to length 1. Raises PackError for another way."""
    kind = keys.get("pooling_type")
    if kind in (None, 0) or (kind == RANKS and dialect.row.both_directions):
        return None
    if kind not in _POOLINGS:
        raise PackError(f"{keys.config.where}: {keys.key('pooling_type')} = {shown(kind)} is not supported")
    return SentenceLayout(_POOLINGS[kind], normalize=True)


def _window(dialect: Dialect, keys: Keys) -> int | None:
    """How many tokens a layer with a window sees, itself included; None where no layer has one.

    Qwen's key says nothing: the models are published without windows.
    """
    if dialect.name in ("qwen2", "qwen3"):
        return None
    if dialect.name == "gemma2":
        return keys.integer("attention.sliding_window", 4096)
    return keys.optional_integer("attention.sliding_window")


def _layer_types(dialect: Dialect, keys: Keys, n_layers: int, window: int | None) -> list[str]:
    """Gemma: of so many layers the last one attends to everything, or a list says which do not."""
    pattern = keys.get("attention.sliding_window_pattern")
    if window is None:
        sliding = [False] * n_layers
    elif isinstance(pattern, list):
        if len(pattern) != n_layers:
            raise PackError(f"{keys.config.where}: its window pattern has {len(pattern)} layers, the model {n_layers}")
        sliding = [bool(value) for value in pattern]
    else:
        period = keys.integer("attention.sliding_window_pattern", _WINDOW_PERIODS[dialect.name])
        sliding = [layer % period < period - 1 for layer in range(n_layers)]
    return ["sliding_attention" if value else "full_attention" for value in sliding]


def _rope(dialect: Dialect, keys: Keys, head_dim: int, tensors: Mapping[str, GgufTensor]) -> dict[str, Any]:
    """rope_parameters, in the new form of config.json."""
    where = keys.config.where
    rotated = keys.integer("rope.dimension_count", head_dim)
    parameters = {"rope_theta": keys.positive("rope.freq_base", 10000.0), **_scaling(dialect, keys, rotated, tensors)}
    if rotated != head_dim:
        if not dialect.row.partial_rotary:
            raise PackError(
                f"{where}: {keys.key('rope.dimension_count')} = {rotated} is not supported, only {head_dim}"
            )
        parameters["partial_rotary_factor"] = share(rotated, head_dim)
    local_theta = keys.get("rope.freq_base_swa")
    if dialect.row.rope_per_layer_type:
        local: dict[str, Any] = {"rope_type": "default", "rope_theta": keys.positive("rope.freq_base_swa", 10000.0)}
        if dialect.row.partial_rotary:
            local["partial_rotary_factor"] = share(keys.integer("rope.dimension_count_swa", rotated), head_dim)
        return {"full_attention": parameters, "sliding_attention": local}
    if local_theta is not None and keys.positive("rope.freq_base_swa") != parameters["rope_theta"]:
        raise PackError(f"{where}: {keys.key('rope.freq_base_swa')} is not supported for {dialect.name}")
    return parameters


def share(rotated: int, head_dim: int) -> float:
    """A hair more than the quotient where it is below 1, so that its product with head_dim is not a hair less than a
    whole number."""
    return math.nextafter(rotated / head_dim, math.inf) if rotated != head_dim else 1.0


def _scaling(dialect: Dialect, keys: Keys, rotated: int, tensors: Mapping[str, GgufTensor]) -> dict[str, Any]:
    """How rotary positions are stretched. Where tensors divide the frequencies, metadata must not do so as well."""
    where = keys.config.where
    kind = keys.get("rope.scaling.type")
    factor = keys.optional_positive("rope.scaling.factor") or keys.optional_positive("rope.scale_linear") or 1.0
    context = keys.integer("context_length")
    original = keys.integer("rope.scaling.original_context_length", context)
    attention = keys.optional_positive("rope.scaling.attn_factor") or 1.0
    if tensors:
        first = next(iter(tensors))
        if not dialect.divides:
            raise PackError(f"{where}: {first} is not supported for {dialect.name}")
        if factor != 1:
            raise PackError(f"{where}: {first} and {keys.key('rope.scaling.factor')} both scale positions")
        if len(tensors) != (1 if ROPE_FREQUENCIES in tensors else 2):
            raise PackError(f"{where}: {', '.join(tensors)} do not belong together; check the file")
        divisors = {name: _divisors(tensor, rotated, where) for name, tensor in tensors.items()}
        if ROPE_FREQUENCIES in tensors:  # one table for all contexts
            short = long = divisors[ROPE_FREQUENCIES]
            original = context
        else:
            short, long = divisors[SHORT_FACTORS], divisors[LONG_FACTORS]
        return {
            "rope_type": "longrope", "short_factor": short, "long_factor": long,
            "original_max_position_embeddings": original, "attention_factor": attention,
        }  # fmt: skip
    if kind == "yarn":
        grown = math.log(factor) if factor > 1 else 0.0
        multiplier = keys.number("rope.scaling.yarn_log_multiplier", 0.0)
        if multiplier < 0:
            raise PackError(f"{where}: {keys.key('rope.scaling.yarn_log_multiplier')} is {multiplier:g}, below 0")
        by_default = (0.1 * grown + 1.0) / (0.1 * multiplier * grown + 1.0)
        return {
            **_temperature(dialect, keys, original),
            "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original,
            "beta_fast": keys.positive("rope.scaling.yarn_beta_fast", 32.0),
            "beta_slow": keys.positive("rope.scaling.yarn_beta_slow", 1.0),
            "attention_factor": attention * keys.positive("rope.scaling.yarn_attn_factor", by_default),
        }  # fmt: skip
    if kind not in (None, "none", "linear") or attention != 1:
        raise PackError(
            f"{where}: rope scaling of type {shown(kind)} with an attention factor of {attention:g} is not "
            f"supported without {LONG_FACTORS}"
        )
    if kind == "none" or factor == 1:
        return {"rope_type": "default"}
    return {"rope_type": "linear", "factor": factor}


def _temperature(dialect: Dialect, keys: Keys, original: int) -> dict[str, Any]:
    """Ministral 3's attention, which grows with the position; llama.cpp counts in original contexts."""
    if dialect.computes != TEMPERATURE:
        return {}
    if keys.integer("attention.temperature_length", original) != original:
        raise PackError(f"{keys.config.where}: {keys.key('attention.temperature_length')} is not the original context")
    return {"llama_4_scaling_beta": keys.number("attention.temperature_scale", 0.0)}


def _divisors(tensor: GgufTensor, rotated: int, where: str) -> list[float]:
    """What the frequency of every rotated pair is divided by."""
    if tensor.shape != (rotated // 2,):
        raise PackError(f"{where}: {tensor.name} has the shape {list(tensor.shape)}, expected [{rotated // 2}]")
    values = tensor.read()
    if not (np.isfinite(values).all() and values.min() > 0):
        raise PackError(f"{where}: {tensor.name} holds numbers that are not above 0; the file is damaged")
    return [float(value) for value in values]
