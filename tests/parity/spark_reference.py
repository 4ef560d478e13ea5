"""Spark-X2.5 on torch, which transformers does not have: what its publisher's modeling_spark.py computes, from its
description there (https://huggingface.co/XHToken/Spark-X2.5-4B). Imported only where torch and transformers are."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn


class SparkConfig(transformers.PretrainedConfig):  # type: ignore[misc]
    model_type = "spark2_5"

    def __init__(
        self, hidden_size: int = 2048, intermediate_size: int = 6656, num_hidden_layers: int = 28,
        num_attention_heads: int = 8, num_key_value_heads: int = 2, head_dim: int = 256, vocab_size: int = 133120,
        sliding_window: int = 512, max_position_embeddings: int = 8192, rms_norm_eps: float = 1e-6,
        rope_parameters: dict[str, Any] | None = None, layer_types: list[str] | None = None, hidden_act: str = "gelu",
        attention_bias: bool = False, mlp_bias: bool = False, headwise_attn_output_gate: bool = True,
        gate_attn_act_mode: str = "sigmoid", **others: Any,
    ) -> None:  # fmt: skip
        names = dict(locals())
        for name in ("self", "others", "__class__"):
            names.pop(name)
        super().__init__(**others)
        for name, value in names.items():
            setattr(self, name, value)


class _Attention(nn.Module):
    def __init__(self, config: SparkConfig, kind: str) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = (
            config.num_attention_heads, config.num_key_value_heads, config.head_dim,
        )  # fmt: skip
        rows = (self.heads + 2 * self.kv_heads) * self.size
        self.q_k_v_proj = nn.Linear(config.hidden_size, rows, bias=False)
        self.g_proj = nn.Linear(config.hidden_size, self.heads, bias=False)
        self.out_proj = nn.Linear(self.heads * self.size, config.hidden_size, bias=False)
        rope = config.rope_parameters[kind]
        self.theta, self.turned = rope["rope_theta"], int(self.size * rope["partial_rotary_factor"])
        self.window = config.sliding_window if kind == "sliding_attention" else None

    def turn(self, heads: torch.Tensor) -> torch.Tensor:
        """[heads][tokens][size]: the first `turned` numbers by their position, number i with number i + turned / 2."""
        pairs = self.turned // 2
        frequencies = 1.0 / self.theta ** (torch.arange(pairs, dtype=torch.float32) * 2 / self.turned)
        angles = torch.outer(torch.arange(heads.shape[1], dtype=torch.float32), frequencies)
        cosines, sines = angles.cos().to(heads), angles.sin().to(heads)
        first, second = heads[..., :pairs], heads[..., pairs : self.turned]
        turned = [first * cosines - second * sines, second * cosines + first * sines, heads[..., self.turned :]]
        return torch.cat(turned, dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = len(x)
        split = [heads * self.size for heads in (self.heads, self.kv_heads, self.kv_heads)]
        q, k, v = (part.view(n, -1, self.size).transpose(0, 1) for part in self.q_k_v_proj(x).split(split, dim=-1))
        q, k = self.turn(q), self.turn(k)
        k, v = (part.repeat_interleave(self.heads // self.kv_heads, dim=0) for part in (k, v))
        behind = torch.arange(n)[:, None] - torch.arange(n)[None, :]
        hidden = (behind < 0) | (behind >= (self.window or n))
        scores = (q @ k.transpose(1, 2) * self.size**-0.5).masked_fill(hidden, -torch.inf)
        mixed = scores.softmax(dim=-1) @ v * self.g_proj(x).sigmoid().T[..., None]
        return self.out_proj(mixed.transpose(0, 1).reshape(n, -1))


class _FeedForward(nn.Module):
    def __init__(self, config: SparkConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(nn.functional.gelu(self.gate_proj(x)) * self.up_proj(x))


class _Layer(nn.Module):
    def __init__(self, config: SparkConfig, kind: str) -> None:
        super().__init__()
        self.self_attn, self.mlp = _Attention(config, kind), _FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class _Stack(nn.Module):
    def __init__(self, config: SparkConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config, kind) for kind in config.layer_types or [])
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)


class SparkForCausalLM(transformers.PreTrainedModel):  # type: ignore[misc]
    """Of one text at a time, with a tied head."""

    config_class = SparkConfig
    base_model_prefix = "model"

    def __init__(self, config: SparkConfig) -> None:
        super().__init__(config)
        self.model = _Stack(config)
        self.post_init()

    def forward(self, input_ids: torch.Tensor) -> Any:
        x = self.model.embedding(input_ids[0])
        for layer in self.model.layers:
            x = layer(x)
        logits = nn.functional.linear(self.model.norm(x), self.model.embedding.weight)
        return transformers.modeling_outputs.CausalLMOutput(logits=logits[None])


def register() -> None:
    """So that the Auto classes of transformers know it."""
    transformers.AutoConfig.register("spark2_5", SparkConfig, exist_ok=True)
    transformers.AutoModelForCausalLM.register(SparkConfig, SparkForCausalLM, exist_ok=True)
