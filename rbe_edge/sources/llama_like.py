"""Rows of decoders that have Llama's tensors, or nearly: what differs is named in docs/architectures.md. Rules and
defaults are Llama's, handed in by architectures.py.

Granite and MiniCPM multiply the embedding (e), what a block adds (r) and the logits (1 / l). RMS norms do not see a
factor on the stream but for their epsilon, so that a stream divided by r needs no multiplication behind a block:
embeddings times e / r, epsilon / r^2, the last norm's weights times 1 / l. All of this is exact but for rounding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rbe_edge.errors import PackError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.architecture import LANGUAGE_HEADS, LANGUAGE_PREFIXES, Architecture, Rule, bias, norm
from rbe_edge.sources.config import Config
from rbe_edge.sources.features import attention_biases_and_qk_norm, llama_biases, qk_norm
from rbe_edge.sources.layers import exaone4_layers, full_attention, one_kind, rotary_layers, smollm3_layers
from rbe_edge.sources.messages import shown

Adapted = tuple[Architecture, Mapping[str, Any]]
Options = dict[str, MetadataValue]

_BEYOND_A_FACTOR = 1e6  # of a stream or of logits; published ones are .1 to 100


# ---- features: the optional tensors ------------------------------------------------------------------------


def _all_biases(config: Config) -> frozenset[str]:
    return frozenset({"qkv_bias", "o_bias", "mlp_bias"} if config.flag("use_bias", False) else ())


def _stablelm_features(config: Config) -> frozenset[str]:
    found = {"qkv_bias"} if config.flag("use_qkv_bias", False) else set()
    return frozenset(found | ({"qk_norm"} if config.flag("qk_layernorm", False) else set()))


# ---- options: what docs/format.md calls layer options ------------------------------------------------------


def _without_rope_on_some(config: Config, n_layers: int, kinds: list[str]) -> Options:
    layers = rotary_layers(config, n_layers)
    return {} if all(layers) else {"position.rotary_layers": tuple(layers)}


def _without_rope_on_full(config: Config, n_layers: int, kinds: list[str]) -> Options:
    """EXAONE 4: where there is a window, layers without it have no rotary positions."""
    rotary = tuple(int(kind == "sliding") for kind in kinds)
    return {} if all(rotary) or not config.has("sliding_window") else {"position.rotary_layers": rotary}


def whole_norms(config: Config, n_layers: int, kinds: list[str]) -> Options:
    """Norms of q and of k over all heads as one vector."""
    return {"attention.norm_span": "whole"}


def _norms_after_rope(config: Config, n_layers: int, kinds: list[str]) -> Options:
    return {"attention.norm_after_rope": 1}


def _stablelm_options(config: Config, n_layers: int, kinds: list[str]) -> Options:
    norms = {"attention.norm_kind": "layer", "attention.norm_span": "each"}
    return {
        **(norms if config.flag("qk_layernorm", False) else {}),
        **({"layer.parallel": 1} if config.flag("use_parallel_residual", False) else {}),
    }


def _temperature(config: Config, n_layers: int, kinds: list[str]) -> Options:
    """Ministral 3: queries grow with the logarithm of how many times the original context they stand behind."""
    name = "rope_scaling" if config.values.get("rope_scaling") else "rope_parameters"
    parameters = config.part(name) if config.has(name) else Config({}, config.where)
    beta = parameters.number("llama_4_scaling_beta", 0.0)
    if beta < 0:
        raise PackError(f"{parameters.where}: llama_4_scaling_beta is {beta}, expected 0 or more; correct the file")
    if beta == 0:
        return {}
    tokens = parameters.integer("original_max_position_embeddings")
    return {"attention.temperature": beta, "attention.temperature_tokens": tokens}


# ---- configurations that say more than the keys of the others ----------------------------------------------


def _scaled(row: Architecture, values: Mapping[str, Any], embedding: float, residual: float, logits: float) -> Adapted:
    """embedding, residual: factors of the embedding and of what a block adds; logits: what logits are divided by."""
    factors = (embedding, residual, logits)
    if not all(1 / _BEYOND_A_FACTOR <= factor <= _BEYOND_A_FACTOR for factor in factors):
        raise PackError(f"{row.title}: the factors {factors} are not between 1e-6 and 1e6; correct the configuration")
    changed = {**values, "rms_norm_eps": Config(values).positive("rms_norm_eps") / residual**2}
    scales = {"norm": 1 / logits} if logits != 1 else {}
    return replace(row, embedding_scale=embedding / residual, norm_scales=scales), changed


def granite(row: Architecture, values: Mapping[str, Any]) -> Adapted:
    """Its multipliers, as scales that the engine has."""
    config = Config(values)
    attention = config.positive("attention_multiplier", 1.0)
    values = {**values, "query_pre_attn_scalar": _inverse_square(attention, "attention_multiplier")}
    return _scaled(
        row, values, config.positive("embedding_multiplier", 1.0), config.positive("residual_multiplier", 1.0),
        config.positive("logits_scaling", 1.0),
    )  # fmt: skip


def _inverse_square(value: float, key: str) -> float:
    if not 1 / _BEYOND_A_FACTOR <= value <= _BEYOND_A_FACTOR:
        raise PackError(f"config.json: {key} is {value:g}, expected a number from 1e-6 to 1e6; correct the file")
    return value**-2


def _minicpm(row: Architecture, values: Mapping[str, Any]) -> Adapted:
    """Its code multiplies by scale_depth / sqrt(layers), and divides what the head reads by width / dim_model_base."""
    config = Config(values)
    residual = config.positive("scale_depth", 1.0) / config.integer("num_hidden_layers") ** 0.5
    logits = config.integer("hidden_size") / config.positive("dim_model_base", 1.0)
    return _scaled(row, values, config.positive("scale_emb", 1.0), residual, logits)


def _hunyuan(row: Architecture, values: Mapping[str, Any]) -> Adapted:
    """A rope of type "dynamic" with `alpha` is none that depends on the text: it has another theta."""
    config = Config(values)
    name = "rope_scaling" if values.get("rope_scaling") else "rope_parameters"
    parameters = config.part(name) if config.has(name) else Config({})
    kind = parameters.values.get("rope_type", parameters.values.get("type"))
    if kind != "dynamic" or not parameters.values.get("alpha"):
        return row, values
    width, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    dim = config.integer("head_dim", max(width // heads, 1))
    if dim < 4:
        raise PackError(f"config.json: head_dim is {dim}, too small for `alpha` of {name}; correct the file")
    theta = parameters.positive("rope_theta", config.positive("rope_theta", 1e4))
    try:
        theta *= parameters.positive("alpha") ** (dim / (dim - 2))
    except OverflowError:
        raise PackError(f"config.json: alpha of {name} is {shown(parameters.values['alpha'])}; correct it") from None
    return row, {**values, "rope_scaling": None, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}


# ---- rows --------------------------------------------------------------------------------------------------

_YARN_OF_MINISTRAL = {
    "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16384,
    "beta_fast": 32.0, "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0, "llama_4_scaling_beta": 0.1,
}  # fmt: skip
#: Of Mistral's models that also see, whose language part is packed.
MISTRAL_IGNORED = (r"(^|\.)rotary_emb\.inv_freq$", r"^(model\.)?(vision_tower|multi_modal_projector)\.")

_EXAONE_NAMES = {
    r"^embed_tokens\.": "wte.", r"^norm\.": "ln_f.", r"^layers\.": "h.", r"\binput_layernorm\b": "ln_1",
    r"\bpost_attention_layernorm\b": "ln_2", r"\bself_attn\b": "attn.attention", r"\bo_proj\b": "out_proj",
    r"\bgate_proj\b": "c_fc_0", r"\bup_proj\b": "c_fc_1", r"\bdown_proj\b": "c_proj",
}  # fmt: skip


def _renamed(rules: tuple[Rule, ...], names: Mapping[str, str]) -> tuple[Rule, ...]:
    """The rules with parts of their sources' names replaced: expressions, and what stands in their place."""
    found = []
    for rule in rules:
        source = rule.source
        for theirs, ours in names.items():
            source = re.sub(theirs, ours, source)
        found.append(replace(rule, source=source))
    return tuple(found)


def _norms_behind(rules: tuple[Rule, ...], query: str, key: str) -> tuple[Rule, ...]:
    """Llama's rules with norms behind the blocks in place of those before them; norms of q and k of other sizes."""
    kept = [rule for rule in rules if rule.role != "norm" or "layers.N" not in rule.target]
    behind = (
        norm("layers.N.attention.post_norm", "layers.N.post_attention_layernorm.weight"),
        norm("layers.N.feed_forward.post_norm", "layers.N.post_feedforward_layernorm.weight"),
        norm("layers.N.attention.q_norm", "layers.N.self_attn.q_norm.weight", query),
        norm("layers.N.attention.k_norm", "layers.N.self_attn.k_norm.weight", key),
    )
    return (*kept, *behind)


def _with_norm_biases(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Layer norms: each has a bias too."""
    norms = [rule for rule in rules if rule.role == "norm" and rule.cols == "width"]
    return (*rules, *(bias(f"{rule.target}.bias", rule.source.replace(".weight", ".bias"), "width") for rule in norms))


def _stablelm(row: Architecture, values: Mapping[str, Any]) -> Adapted:
    """Blocks side by side have one norm, which stands in both places of the file."""
    if not Config(values).flag("use_parallel_residual", False):
        return row, values
    return replace(row, rules=_renamed(row.rules, {r"\bpost_attention_layernorm\b": "input_layernorm"})), values


def _stablelm_rules(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Layer norms with biases; those of q and k, where there are any, are a vector for each head."""
    own = {"q_norm": ("q_layernorm.norms.*", "query"), "k_norm": ("k_layernorm.norms.*", "key")}
    found = []
    for rule in _with_norm_biases(rules):
        for name, (theirs, size) in own.items():
            if rule.target.endswith(name):
                rule = replace(rule, source=rule.source.replace(name, theirs), cols=size)
        found.append(rule)
    return tuple(found)


def _with_norms_named(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Hunyuan's names of the norms of q and k."""
    return _renamed(rules, {r"\bq_norm\b": "query_layernorm", r"\bk_norm\b": "key_layernorm"})


def llama_like(rules: tuple[Rule, ...], large: Mapping[str, Any]) -> tuple[Architecture, ...]:
    """rules: Llama's; large: the defaults that it shares with Mistral and Qwen."""
    return (*_with_options(rules, large), *_with_names(rules, large))


def _with_options(rules: tuple[Rule, ...], large: Mapping[str, Any]) -> tuple[Architecture, ...]:
    """Those whose layers compute something that Llama's do not."""
    return (
        Architecture(
            "smollm3", "SmolLM3", rules, smollm3_layers, llama_biases,
            defaults={**large, "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16,
                      "num_key_value_heads": 4, "intermediate_size": 11008, "max_position_embeddings": 32768,
                      "vocab_size": 128256, "tie_word_embeddings": True, "rope_theta": 2e6},
            options=_without_rope_on_some,
        ),
        Architecture(
            "ministral3", "Ministral 3", rules, one_kind,
            defaults={**large, "rms_norm_eps": 1e-5, "num_hidden_layers": 34, "num_key_value_heads": 8,
                      "head_dim": 128, "intermediate_size": 14336, "max_position_embeddings": 262144,
                      "vocab_size": 131072, "rope_parameters": _YARN_OF_MINISTRAL},
            prefixes=LANGUAGE_PREFIXES, lm_heads=LANGUAGE_HEADS, ignored=MISTRAL_IGNORED, options=_temperature,
        ),
        Architecture(
            "granite", "Granite 3", rules, full_attention, llama_biases,
            defaults={**large, "intermediate_size": 11008, "max_position_embeddings": 2048, "vocab_size": 32000},
            adapt=granite,
        ),
        Architecture(
            "olmo2", "OLMo 2", _norms_behind(rules, "query", "key"), full_attention, attention_biases_and_qk_norm,
            defaults={**large, "rms_norm_eps": 1e-5, "intermediate_size": 11008, "max_position_embeddings": 2048,
                      "vocab_size": 50304},
            norm_place="after", options=whole_norms,
        ),
        Architecture(
            "exaone4", "EXAONE 4", _norms_behind(rules, "head_dim", "head_dim"), exaone4_layers, qk_norm,
            defaults={**large, "rms_norm_eps": 1e-5, "num_key_value_heads": 32, "intermediate_size": 16384,
                      "max_position_embeddings": 2048, "vocab_size": 102400, "sliding_window": 4096},
            norm_place="after", options=_without_rope_on_full,
        ),
    )  # fmt: skip


def _with_names(rules: tuple[Rule, ...], large: Mapping[str, Any]) -> tuple[Architecture, ...]:
    """Those with other names, norms or defaults."""
    return (
        Architecture(
            "exaone", "EXAONE 3.5", _renamed(rules, _EXAONE_NAMES), full_attention, llama_biases,
            defaults={**large, "rms_norm_eps": 1e-5, "num_key_value_heads": 8, "intermediate_size": 14336,
                      "max_position_embeddings": 4096, "vocab_size": 102400, "rope_theta": 5e5},
            renamed={"num_layers": "num_hidden_layers", "layer_norm_epsilon": "rms_norm_eps",
                     "activation_function": "hidden_act"},
            prefixes=("transformer.", ""), ignored=(r"(^|\.)rotary(_emb)?\.inv_freq$",),
        ),
        Architecture(
            "hunyuan_v1_dense", "Hunyuan (dense)", _with_norms_named(rules), full_attention,
            attention_biases_and_qk_norm,
            defaults={**large, "rms_norm_eps": 1e-5, "intermediate_size": 11008, "max_position_embeddings": 2048,
                      "vocab_size": 290943},
            options=_norms_after_rope, adapt=_hunyuan,
        ),
        Architecture(
            "stablelm", "StableLM", _stablelm_rules(rules), full_attention, _stablelm_features,
            defaults={"hidden_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 32, "hidden_act": "silu",
                      "num_key_value_heads": 32, "intermediate_size": 6912, "max_position_embeddings": 4096,
                      "vocab_size": 50304, "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.25},
            renamed={"layer_norm_eps": "rms_norm_eps"},
            norm="layer", partial_rotary=True, options=_stablelm_options, adapt=_stablelm,
        ),
        Architecture(
            "ernie4_5", "ERNIE 4.5 (dense)", rules, full_attention, _all_biases,
            defaults={**large, "rms_norm_eps": 1e-5, "hidden_size": 1024, "num_hidden_layers": 18,
                      "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 128,
                      "intermediate_size": 3072, "max_position_embeddings": 131072, "vocab_size": 103424,
                      "tie_word_embeddings": True, "rope_theta": 5e5},
            neighbours=True,
        ),
        Architecture(
            "minicpm", "MiniCPM", rules, full_attention, llama_biases,
            defaults={**large, "intermediate_size": 11008, "max_position_embeddings": 2048, "vocab_size": 32000,
                      "tie_word_embeddings": True},
            adapt=_minicpm,
        ),
    )  # fmt: skip
