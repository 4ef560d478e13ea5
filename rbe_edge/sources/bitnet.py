"""BitNet checkpoints as they are published: matrices of four codes in a byte, or weights that are rounded to ternary
ones when they are loaded. What they mean says transformers (integrations/bitnet.py, 5.24)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import PackError
from rbe_edge.sources.messages import shown
from rbe_edge.sources.types import FloatArray, Source, SourceTensor

METHOD = "bitnet"
CODES_IN_BYTE = 4

_KEY = "quantization_config"
_LEAST_MEAN = 1e-5
_SCALE = "_scale"  # what stands behind the name of a matrix in the name of its scale
_DEFAULTS: Mapping[str, Any] = {
    "linear_class": "bitlinear", "quantization_mode": "offline", "use_rms_norm": False, "modules_to_not_convert": None,
}  # fmt: skip


@dataclass(frozen=True)
class Packed(SourceTensor):
    """data: uint8 [rows / 4][cols]. Bits 2 i and 2 i + 1 of its row p are row i rows / 4 + p, plus one. What is read
    is multiplied by the number that `scale` holds, or by one over it."""

    scale: SourceTensor | None = None
    divides: bool = False

    def read(self, axis: int = 0, start: int = 0, stop: int | None = None) -> FloatArray:
        assert axis == 0, f"{self.name} can be cut along its outputs alone"
        rows = np.arange(start, self.shape[0] if stop is None else stop)
        stored = len(self.data)
        codes = self.data[rows % stored] >> (2 * (rows // stored)).astype(np.uint8)[:, None] & 3
        return (codes.astype(np.float32) - 1) * self._factor()

    def _factor(self) -> float:
        scale = 1.0 if self.scale is None else float(self.scale.read().reshape(-1)[0])
        return 1 / scale if self.divides and scale else scale  # 0: the weights may not be there yet


@dataclass(frozen=True)
class Rounded(SourceTensor):
    """The nearest of -s, 0 and s, s the mean of all magnitudes, in the kind of number of the weights."""

    def read(self, axis: int = 0, start: int = 0, stop: int | None = None) -> FloatArray:
        codes = np.clip(np.round(super().read(axis, start, stop) * (1 / self._mean)), -1, 1)
        return np.asarray(codes * _as_kind(self._mean, self.kind), np.float32)

    @functools.cached_property
    def _mean(self) -> float:
        return max(float(np.float32(np.abs(super().read()).mean(dtype=np.float64))), _LEAST_MEAN)


def _as_kind(value: float, kind: str) -> float:
    """The nearest number of a kind."""
    if kind == "fp16":
        return float(np.float16(value))
    if kind == "bf16":
        bits = int(np.float32(value).view(np.uint32))
        return float(np.uint32(bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000).view(np.float32))
    return value


def loaded(source: Source) -> Source:
    """A source whose configuration says that it is a BitNet, with the weights as such a program has them; any other as
    it is. Raises PackError for what is not computed, and for tensors that do not belong together."""
    method = source.config.get(_KEY)
    if not isinstance(method, dict) or method.get("quant_method") != METHOD:
        return source
    found = {key: method.get(key, default) for key, default in _DEFAULTS.items()}
    where = f"{source.described_in}: {_KEY}"
    for key, known in (
        ("linear_class", ("bitlinear", "autobitlinear")),
        ("quantization_mode", ("offline", "online")),
        ("use_rms_norm", (False,)),
    ):
        if found[key] not in known:
            raise PackError(
                f"{where}: {key} = {shown(found[key])} is not supported, only {' and '.join(map(str, known))}"
            )
    if found["linear_class"] == "autobitlinear" and found["quantization_mode"] == "online":
        if found["modules_to_not_convert"] not in (None, [], ["lm_head"]):
            raise PackError(
                f"{where}: modules_to_not_convert = {shown(found['modules_to_not_convert'])} is not supported"
            )
        tensors = {name: _rounded(tensor) for name, tensor in source.tensors.items()}
    else:
        tensors = _unpacked(source, divides=found["linear_class"] == "bitlinear")
    return replace(source, config={key: value for key, value in source.config.items() if key != _KEY}, tensors=tensors)


def _rounded(tensor: SourceTensor) -> SourceTensor:
    """A matrix of a layer; any other tensor as it is."""
    if ".layers." not in f".{tensor.name}" or not tensor.name.endswith("_proj.weight") or len(tensor.shape) != 2:
        return tensor
    return Rounded(tensor.name, tensor.shape, tensor.kind, tensor.data)


def _unpacked(source: Source, divides: bool) -> dict[str, SourceTensor]:
    tensors: dict[str, SourceTensor] = {}
    for name, tensor in source.tensors.items():
        scale = source.tensors.get(name + _SCALE)
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in source.tensors:
            continue
        if tensor.kind != "U8":
            if scale is not None:
                raise PackError(f"{source.name}: {name} has a scale and is not packed; pack another form of the model")
            tensors[name] = tensor
            continue
        if len(tensor.shape) != 2 or (scale is not None and (scale.data.size != 1 or scale.kind == "U8")):
            raise PackError(
                f"{source.name}: {name} of the shape {list(tensor.shape)}, or its scale, is no BitNet matrix"
            )
        packed: npt.NDArray[Any] = tensor.data
        shape = (CODES_IN_BYTE * tensor.shape[0], tensor.shape[1])
        tensors[name] = Packed(name, shape, "fp32", packed, scale, divides)
    return tensors
