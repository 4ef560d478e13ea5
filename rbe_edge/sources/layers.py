"""Which layers of a model attend to everything ("full") and which to a sliding window ("sliding")."""

from __future__ import annotations

from collections.abc import Mapping

from rbe_edge.errors import PackError
from rbe_edge.sources.config import Config
from rbe_edge.sources.messages import shown

_KINDS = {"full_attention": "full", "sliding_attention": "sliding"}


def named_layers(config: Config, n_layers: int, kinds: Mapping[str, str]) -> list[str]:
    """layer_types, each in our word for it. Raises PackError for one that has none."""
    names = config.texts("layer_types", n_layers)
    for name in names:
        if name not in kinds:
            raise PackError(
                f"{config.where}: layers of type {shown(name)} are not supported (supported: {' and '.join(kinds)})"
            )
    return [kinds[name] for name in names]


def _named(config: Config, n_layers: int) -> list[str] | None:
    """layer_types in our words, None where the configuration has none."""
    return named_layers(config, n_layers, _KINDS) if config.has("layer_types") else None


def _refuse_others(config: Config, n_layers: int, kinds: list[str]) -> list[str]:
    if _named(config, n_layers) not in (None, kinds):
        raise PackError(
            f"{config.where}: layer_types that differ from the model's only kind of layer ({kinds[0]} attention) are "
            f"not supported"
        )
    return kinds


def full_attention(config: Config, n_layers: int) -> list[str]:
    """GPT-2 and Llama: no windows."""
    return _refuse_others(config, n_layers, ["full"] * n_layers)


def one_kind(config: Config, n_layers: int) -> list[str]:
    """Mistral and Phi-3: all layers have the window, where there is one."""
    return _refuse_others(config, n_layers, ["sliding" if config.has("sliding_window") else "full"] * n_layers)


def qwen_layers(config: Config, n_layers: int) -> list[str]:
    """Qwen2 and Qwen3: layer_types, else the layers from max_window_layers on; only where use_sliding_window is set."""
    first = int(config.number("max_window_layers", 28))
    return _qwen_kinds(config, [layer >= first for layer in range(n_layers)])


def qwen2_moe_layers(config: Config, n_layers: int) -> list[str]:
    """Qwen2-MoE: every second one of the first max_window_layers, in the same way."""
    end = int(config.number("max_window_layers", 28))
    return _qwen_kinds(config, [layer % 2 == 0 and layer < end for layer in range(n_layers)])


def qwen3_moe_layers(config: Config, n_layers: int) -> list[str]:
    """Qwen3-MoE: all layers, whatever max_window_layers says."""
    return _qwen_kinds(config, [True] * n_layers)


def _qwen_kinds(config: Config, windows: list[bool]) -> list[str]:
    """windows: the layers that have one where the configuration has no layer_types."""
    sliding = config.flag("use_sliding_window", False) and config.has("sliding_window")
    kinds = _named(config, len(windows))
    if kinds is None:
        kinds = ["sliding" if sliding and has_window else "full" for has_window in windows]
    if "sliding" in kinds and not sliding:
        raise PackError(f"{config.where}: layer_types has sliding layers but use_sliding_window is off; correct it")
    return kinds


def _pattern(config: Config, n_layers: int, period: int) -> list[str]:
    return _named(config, n_layers) or ["sliding" if (layer + 1) % period else "full" for layer in range(n_layers)]


def gemma2_layers(config: Config, n_layers: int) -> list[str]:
    """Gemma 2: sliding and full in turn."""
    return _pattern(config, n_layers, 2)


def gemma3_layers(config: Config, n_layers: int) -> list[str]:
    """Gemma 3: every sixth layer is full, or every sliding_window_pattern-th."""
    return _pattern(config, n_layers, config.integer("sliding_window_pattern", 6))


def gemma4_layers(config: Config, n_layers: int) -> list[str]:
    """Gemma 4: every sixth layer is full, and the last one, whatever layer_types says of it."""
    return [*_pattern(config, n_layers, 6)[:-1], "full"]


def spark_layers(config: Config, n_layers: int) -> list[str]:
    """Spark-X2.5: every fourth layer is full."""
    return _pattern(config, n_layers, 4)


def rotary_layers(config: Config, n_layers: int) -> list[int]:
    """SmolLM3: 1 for layers with rotary positions; those of every no_rope_layer_interval-th layer are left out."""
    given = config.values.get("no_rope_layers")
    if given is None:
        period = config.integer("no_rope_layer_interval", 4)
        return [int((layer + 1) % period != 0) for layer in range(n_layers)]
    if not isinstance(given, list) or len(given) < n_layers or any(value not in (0, 1) for value in given):
        raise PackError(
            f"{config.where}: no_rope_layers is {shown(given)}, expected {n_layers} numbers that are 0 or 1; correct it"
        )
    return [int(value) for value in given[:n_layers]]


def smollm3_layers(config: Config, n_layers: int) -> list[str]:
    """SmolLM3: layers without rotary positions have a window, where use_sliding_window is set."""
    sliding = config.flag("use_sliding_window", False) and config.has("sliding_window")
    rotary = rotary_layers(config, n_layers)
    kinds = _named(config, n_layers) or ["sliding" if sliding and not one else "full" for one in rotary]
    if "sliding" in kinds and not sliding:
        raise PackError(f"{config.where}: layer_types has sliding layers but use_sliding_window is off; correct it")
    return kinds


def exaone4_layers(config: Config, n_layers: int) -> list[str]:
    """EXAONE 4: every sliding_window_pattern-th layer is full, where there is a window."""
    if not config.has("sliding_window"):
        return _refuse_others(config, n_layers, ["full"] * n_layers)
    return _named(config, n_layers) or _pattern(config, n_layers, config.integer("sliding_window_pattern", 4))


def modernbert_layers(config: Config, n_layers: int) -> list[str]:
    """ModernBERT: the first of every third layer is full, or of every global_attn_every_n_layers-th."""
    period = config.integer("global_attn_every_n_layers", 3)
    return _named(config, n_layers) or ["sliding" if layer % period else "full" for layer in range(n_layers)]
