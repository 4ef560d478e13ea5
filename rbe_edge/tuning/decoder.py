"""The decoder of docs/engine.md in PyTorch, which computes gradients.

It follows native/src/blocks/ step by step and is written from metadata and tensors alone, so it runs what the engine
runs, from any source. Weights are the decoded ones, float32, in the basis of the source; activations are not
quantised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rbe_edge.errors import ModelError
from rbe_edge.runtime.model import Model

if TYPE_CHECKING:
    import torch

    Tensor = torch.Tensor


@dataclass(frozen=True)
class Changes:
    """What stands in for parts of a model. gains: by matrix, a factor per row. vectors: by vector, its new values."""

    gains: Mapping[str, Tensor] = field(default_factory=dict)
    vectors: Mapping[str, Tensor] = field(default_factory=dict)


class Decoder:
    """A model with its weights in memory, four bytes each.

    context: tokens of the longest window it will be given; it decides, as for a session, which rotary table is used.
    """

    def __init__(self, model: Model, context: int) -> None:
        import torch

        self._metadata = dict(model.metadata)
        self.tensors: dict[str, Tensor] = {
            name: torch.from_numpy(model.tensor_rows(name)) for name in model.tensors if name != "tokenizer"
        }
        self._layers = self._integer("layers")
        self._heads, self._kv_heads = self._integer("heads"), self._integer("kv_heads")
        self._head_dim = self._integer("head_dim")
        self._epsilon = self._number("norm.epsilon", 1e-5)
        self._norm_kind = self._text("norm.kind")
        self._sandwich = self._text("norm.place") == "sandwich"
        self._activation = self._text("feed_forward.activation")
        self._gated = self._integer("feed_forward.gated") == 1
        self._scale = self._number("attention.scale", self._head_dim**-0.5)
        self._softcap = self._number("attention.softcap", 0.0)
        self._logit_softcap = self._number("logit.softcap", 0.0)
        self._embedding_scale = self._number("embedding.scale", 1.0)
        self._windows = self._per_layer("attention.windows")
        self._rope_tables = self._per_layer("rope.tables")
        self._rope = self._angles(context) if self._text("position.kind") == "rope" else None

    # ---- metadata; the engine has checked it ----

    def _integer(self, key: str, default: int = 0) -> int:
        value = self._metadata.get(key, default)
        assert isinstance(value, int), key
        return value

    def _number(self, key: str, default: float) -> float:
        value = self._metadata.get(key, default)
        assert isinstance(value, float | int), key
        return float(value)

    def _text(self, key: str) -> str:
        return str(self._metadata[key])

    def _per_layer(self, key: str) -> tuple[int, ...]:
        value = self._metadata.get(key, (0,) * self._layers)
        assert isinstance(value, tuple), key
        return value

    # ---- parts ----

    def _angles(self, context: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines [table][position][pair], times the attention factor."""
        import torch

        frequencies, factor = self.tensors["rope.frequencies"], self._number("rope.attention_factor", 1.0)
        long_from = self._integer("rope.long_from")
        if long_from and context > long_from:
            frequencies = self.tensors["rope.long_frequencies"]
            factor = self._number("rope.long_attention_factor", 1.0)
        angles = torch.arange(context, dtype=torch.float32)[None, :, None] * frequencies[:, None, :]
        return angles.cos() * factor, angles.sin() * factor

    def _rotate(self, x: Tensor, layer: int) -> Tensor:
        """Rotary positions on x [batch][head][token][head_dim]: pair d is (d, d + pairs), what is behind them stays."""
        import torch

        if self._rope is None:
            return x
        table, n = self._rope_tables[layer], x.shape[2]
        cosines, sines = (part[table, :n] for part in self._rope)
        pairs = cosines.shape[-1]
        first, second, rest = x[..., :pairs], x[..., pairs : 2 * pairs], x[..., 2 * pairs :]
        turned = (first * cosines - second * sines, second * cosines + first * sines, rest)
        return torch.cat(turned, dim=-1)

    def _vector(self, name: str, changes: Changes) -> Tensor | None:
        if name in changes.vectors:
            return changes.vectors[name]
        return self.tensors[name][0] if name in self.tensors else None

    def _norm(self, x: Tensor, name: str, changes: Changes, kind: str) -> Tensor:
        weight, bias = self._vector(name, changes), self._vector(f"{name}.bias", changes)
        assert weight is not None, name
        if kind == "layer":
            x = x - x.mean(-1, keepdim=True)
        elif kind != "rms":
            raise ModelError(f"the norm {kind} cannot be tuned by this version; take a newer one")
        x = x * (x.square().mean(-1, keepdim=True) + self._epsilon).rsqrt() * weight
        return x if bias is None else x + bias

    def _linear(self, x: Tensor, name: str, changes: Changes, bias_name: str | None = None) -> Tensor:
        from torch.nn import functional

        y = functional.linear(x, self.tensors[name])
        if name in changes.gains:
            y = y * changes.gains[name]
        bias = self._vector(bias_name or f"{name}.bias", changes)
        return y if bias is None else y + bias

    def _rows(self, name: str, indices: Tensor, changes: Changes) -> Tensor:
        """Rows of a table; the gain of each by embedding(), whose gradient is summed in a fixed order."""
        from torch.nn import functional

        found = functional.embedding(indices, self.tensors[name])
        if name in changes.gains:
            found = found * functional.embedding(indices, changes.gains[name][:, None])
        return found

    def _mask(self, n: int, window: int) -> Tensor:
        """[token][token before it], True where it is seen: itself and what the window reaches back to (0: all)."""
        import torch

        back = torch.arange(n)[:, None] - torch.arange(n)[None, :]
        return (back >= 0) & (back < window) if window else back >= 0

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
        from torch.nn import functional

        shared = self._heads // self._kv_heads
        k, v = (x.repeat_interleave(shared, dim=1) if shared > 1 else x for x in (k, v))
        mask = self._mask(q.shape[2], window)
        if not self._softcap:
            return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self._scale)
        scores = q @ k.transpose(-1, -2) * self._scale
        scores = self._softcap * (scores / self._softcap).tanh()
        return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v

    def _attention_branch(self, hidden: Tensor, layer: int, changes: Changes) -> Tensor:
        name = f"layers.{layer}.attention"
        batch, n = hidden.shape[:2]
        x = self._norm(hidden, f"{name}.norm", changes, self._norm_kind)

        def heads(part: str, count: int) -> Tensor:
            y = self._linear(x, f"{name}.{part}", changes).view(batch, n, count, self._head_dim)
            if f"{name}.{part}_norm" in self.tensors:
                y = self._norm(y, f"{name}.{part}_norm", changes, "rms")
            return y.transpose(1, 2)

        q = self._rotate(heads("q", self._heads), layer)
        k = self._rotate(heads("k", self._kv_heads), layer)
        mixed = self._attend(q, k, heads("v", self._kv_heads), self._windows[layer])
        mixed = mixed.transpose(1, 2).reshape(batch, n, self._heads * self._head_dim)
        return self._linear(mixed, f"{name}.o", changes)

    def _feed_forward_branch(self, hidden: Tensor, layer: int, changes: Changes) -> Tensor:
        from torch.nn import functional

        name = f"layers.{layer}.feed_forward"
        x = self._norm(hidden, f"{name}.norm", changes, self._norm_kind)
        up = self._linear(x, f"{name}.up", changes)
        gate = self._linear(x, f"{name}.gate", changes) if self._gated else up
        if self._activation == "silu":
            active = functional.silu(gate)
        elif self._activation in ("gelu", "gelu_tanh"):
            active = functional.gelu(gate, approximate="tanh" if self._activation == "gelu_tanh" else "none")
        else:
            raise ModelError(f"the activation {self._activation} cannot be tuned by this version; take a newer one")
        return self._linear(active * up if self._gated else active, f"{name}.down", changes)

    def _post_norm(self, branch: Tensor, name: str, changes: Changes) -> Tensor:
        return self._norm(branch, name, changes, self._norm_kind) if self._sandwich else branch

    def logits(self, tokens: Tensor, changes: Changes | None = None) -> Tensor:
        """tokens: int64 [batch][n], n at most the context. What follows each: float32 [batch][n][vocabulary]."""
        import torch

        changes = changes or Changes()
        hidden = self._rows("embedding", tokens, changes) * self._embedding_scale
        if "positions" in self.tensors:
            hidden = hidden + self._rows("positions", torch.arange(tokens.shape[1]), changes)
        for layer in range(self._layers):
            branch = self._attention_branch(hidden, layer, changes)
            hidden = hidden + self._post_norm(branch, f"layers.{layer}.attention.post_norm", changes)
            branch = self._feed_forward_branch(hidden, layer, changes)
            hidden = hidden + self._post_norm(branch, f"layers.{layer}.feed_forward.post_norm", changes)
        hidden = self._norm(hidden, "norm", changes, self._norm_kind)
        logits = self._linear(hidden, "head" if "head" in self.tensors else "embedding", changes, "head.bias")
        if self._logit_softcap:
            logits = self._logit_softcap * (logits / self._logit_softcap).tanh()
        return logits
