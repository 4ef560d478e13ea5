"""Mixtures of experts: what a row of the tables says of them, and fused tensors taken apart.

An expert has tensors of its own in a `.rbe` file. Published files have them so too, or all of a layer in one tensor of
three dimensions: transformers 5 in memory, Granite, GGUF.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rbe_edge.errors import PackError
from rbe_edge.format.experts import is_of_expert
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.sources.config import Config
from rbe_edge.sources.messages import shown
from rbe_edge.sources.types import Source, SourceTensor

if TYPE_CHECKING:
    from rbe_edge.sources.plan import TensorPlan

MOST_EXPERTS = 4096

# Tensors that hold all experts of a layer, [experts][rows][cols], and the endings of what their rows are one after the
# other; {} stands for the expert.
_FUSED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\.experts\.gate_up_proj(?:\.weight)?$", (".experts.{}.gate_proj.weight", ".experts.{}.up_proj.weight")),
    (r"\.experts\.down_proj(?:\.weight)?$", (".experts.{}.down_proj.weight",)),
    (r"(?<!\.shared_mlp)\.input_linear\.weight$", (".experts.{}.gate_proj.weight", ".experts.{}.up_proj.weight")),
    (r"(?<!\.shared_mlp)\.output_linear\.weight$", (".experts.{}.down_proj.weight",)),
    (r"\.ffn_gate_up_exps\.weight$", (".ffn_gate_exps.{}.weight", ".ffn_up_exps.{}.weight")),
    (r"\.ffn_(gate|up|down)_exps\.weight$", (r".ffn_\1_exps.{}.weight",)),
)  # fmt: skip


def all_layers(config: Config, n_layers: int) -> list[bool]:
    return [True] * n_layers


def _whole_numbers(config: Config, key: str, n_layers: int) -> list[int]:
    """Numbers of layers; none where the key is missing."""
    value = config.values.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(type(number) is int and 0 <= number < n_layers for number in value):
        raise PackError(f"{config.where}: {key} is {shown(value)}, expected numbers of layers; correct the file")
    return value


def qwen_expert_layers(config: Config, n_layers: int) -> list[bool]:
    """Every decoder_sparse_step-th layer, without those of mlp_only_layers."""
    step, dense = config.integer("decoder_sparse_step", 1), _whole_numbers(config, "mlp_only_layers", n_layers)
    return [layer not in dense and (layer + 1) % step == 0 for layer in range(n_layers)]


def layers_behind_dense(config: Config, n_layers: int) -> list[bool]:
    """All layers but the first num_dense_layers."""
    if config.values.get("num_dense_layers") == 0:
        return [True] * n_layers
    dense = config.integer("num_dense_layers", 2)
    return [layer >= dense for layer in range(n_layers)]


@dataclass(frozen=True)
class Experts:
    """Of a row. num_experts (other words for it are in Architecture.renamed) and num_experts_per_tok count them.

    width: the key of an expert's width. score: "softmax" or "sigmoid". normalize: whether the chosen scores are divided
    by their sum; None: norm_topk_prob says. scale: the key of what then multiplies them, "" for none. layers: which
    have experts. shared: the key of the width of a feed-forward part beside them, which every token goes through; ""
    where there is none. A model without it says 0. share: whether a number of each token says how much that counts.
    """

    width: str = "moe_intermediate_size"
    score: str = "softmax"
    normalize: bool | None = None
    scale: str = ""
    layers: Callable[[Config, int], list[bool]] = all_layers
    shared: str = ""
    share: bool = False

    def sizes(self, config: Config) -> dict[str, int]:
        """Under the names that rules use."""
        n = config.integer("num_experts")
        if n > MOST_EXPERTS:
            raise PackError(f"{config.where}: {n} experts in a layer are not supported, only up to {MOST_EXPERTS}")
        shared = config.integer(self.shared) if self.shared and config.values.get(self.shared) != 0 else 0
        return {"experts": n, "expert": config.integer(self.width), "shared": shared}

    def metadata(self, config: Config, layers: Sequence[bool]) -> dict[str, MetadataValue]:
        sizes, used = self.sizes(config), config.integer("num_experts_per_tok")
        if used > sizes["experts"]:
            raise PackError(
                f"{config.where}: a token uses {used} experts of {sizes['experts']} (num_experts_per_tok); correct the "
                f"file"
            )
        normalize = config.flag("norm_topk_prob", False) if self.normalize is None else self.normalize
        found: dict[str, MetadataValue] = {
            "experts": sizes["experts"], "experts.used": used, "experts.feed_forward": sizes["expert"],
            "experts.score": self.score, "experts.normalize": int(normalize),
        }  # fmt: skip
        if self.scale and config.positive(self.scale, 1.0) != 1:
            found["experts.scale"] = config.positive(self.scale)
        if sizes["shared"]:
            found["experts.shared"] = sizes["shared"]
            found |= {"experts.shared.share": 1} if self.share else {}
        if not all(layers):
            found["experts.layers"] = tuple(int(has) for has in layers)
        return found


def experts_last(tensors: Sequence[TensorPlan]) -> list[TensorPlan]:
    """In the file's order: what every token reads comes first, so that a reader can keep it in memory together."""
    return sorted(tensors, key=lambda tensor: is_of_expert(tensor.name))


def taken_apart(source: Source) -> Source:
    """The source with a tensor for each matrix of each expert. Raises PackError for fused tensors of a shape that
    holds none."""
    found: dict[str, SourceTensor] = {}
    for name, tensor in source.tensors.items():
        found |= _parts(name, tensor)
    return replace(source, tensors=found)


def _parts(name: str, tensor: SourceTensor) -> Mapping[str, SourceTensor]:
    for pattern, endings in _FUSED:
        match = re.search(pattern, name)
        if match is None:
            continue
        if len(tensor.shape) != 3 or tensor.shape[0] > MOST_EXPERTS or tensor.shape[1] % len(endings):
            raise PackError(f"{name}: shape {list(tensor.shape)} is not that of experts; check the file")
        rows, found = tensor.shape[1] // len(endings), {}
        for number in range(tensor.shape[0]):
            for piece, ending in enumerate(endings):
                one = name[: match.start()] + match.expand(ending).format(number)
                data = tensor.data
                if data.ndim == 3:  # else of a type that is not read, which is said where it is needed
                    data = data[number, piece * rows : (piece + 1) * rows]
                found[one] = replace(tensor, name=one, shape=(rows, tensor.shape[2]), data=data)
        return found
    return {name: tensor}
