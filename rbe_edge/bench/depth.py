"""Puts many tokens into a context without computing them all.

A prompt of 16,000 tokens takes minutes, and what is timed behind it depends only on how much there is to read. So the
keys and values of its beginning are repeated: the session is saved (docs/runtime.md, "Saved state"), the copy is made
longer, and restored. All of it is cache content of this model, in the place and of the type that decoding reads.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from rbe_edge.files.scratch import scratch_directory
from rbe_edge.runtime.engine_model import EngineModel
from rbe_edge.runtime.options import CacheType
from rbe_edge.runtime.session import Session

COMPUTED = 512
"""Tokens that are computed. A multiple of RBE_KV_BLOCK (layers/workspace.h), for keys are saved by blocks."""

# The header of native/src/session/saved_state.c: magic and version, checksum, size, which model, cache and planes,
# number of tokens, whether there are logits, reserved.
_HEADER = struct.Struct("<12sIQ24sII8s")

# Bits of a key's and of a value's number, bytes of their scales.
_WIDTHS: dict[CacheType, tuple[int, int, int]] = {
    "f16": (16, 16, 0), "f32": (32, 32, 0), "q8": (8, 8, 4), "q8q4": (8, 4, 4),
}  # fmt: skip


@dataclass(frozen=True)
class LayerCache:
    """What a layer reads of the cache: so many heads of keys and values, none of a layer that does not attend. is_own:
    whether it keeps them itself, and reads no earlier layer's."""

    heads: int
    head_dim: int
    is_own: bool

    def parts(self, kv: CacheType) -> list[int]:
        """Bytes that one position takes in the cache of one head: key, value, and the scales of both."""
        key, value, scale = _WIDTHS[kv]
        return [self.head_dim * key // 8, (self.head_dim * value + 7) // 8, scale, scale]


def cache_of(model: EngineModel) -> list[LayerCache]:
    """Of each layer."""
    known = model.metadata
    n = int(str(known["layers"]))

    def of_each(key: str, otherwise: Sequence[int]) -> Sequence[int]:
        value = known.get(key)
        return [int(str(one)) for one in value] if isinstance(value, tuple) else otherwise

    kinds, sources = of_each("layer.kinds", [0] * n), of_each("layer.shared_states", range(n))
    heads = of_each("layer.kv_heads", [int(str(known["kv_heads"]))] * n)
    dims = of_each("layer.head_dims", [int(str(known["head_dim"]))] * n)
    return [
        LayerCache(heads[layer] if kinds[layer] == 0 else 0, dims[layer], sources[layer] == layer) for layer in range(n)
    ]


def fill(session: Session, tokens: Sequence[int]) -> None:
    """Appends tokens to an empty context; whole multiples of the first COMPUTED get their keys and values, where all
    layers have some; else all are computed. Raises what prefill, save and restore raise."""
    times = len(tokens) // COMPUTED
    if times < 2 or not all(layer.heads for layer in cache_of(session.model)):
        session.prefill(tokens)
        return
    session.prefill(tokens[:COMPUTED])
    with scratch_directory("bench") as directory:
        state, longer = directory / "state", directory / "longer"
        session.save(state)
        with state.open("rb") as source, longer.open("wb") as out:
            _repeat(source, out, session.model, session.info.kv, times)
        session.restore(longer)
    rest = tokens[times * COMPUTED :]
    if rest:
        session.prefill(rest)


def _repeat(source: BinaryIO, out: BinaryIO, model: EngineModel, kv: CacheType, times: int) -> None:
    """Writes a saved state of COMPUTED tokens as one of so many times as many."""
    magic, _, n_bytes, settings, n_tokens, has_logits, reserved = _HEADER.unpack(source.read(_HEADER.size))
    assert n_tokens == COMPUTED and has_logits == 1
    logits_bytes = 4 * model.info.vocabulary
    once = _HEADER.size + logits_bytes
    n_bytes = once + times * (n_bytes - once)
    rest = (settings, times * COMPUTED, has_logits, reserved)
    header = _HEADER.pack(magic, 0, n_bytes, *rest)
    out.write(header)
    checksum = zlib.crc32(header)
    own = [layer for layer in cache_of(model) if layer.is_own]
    sections = [part * COMPUTED for layer in own for part in layer.parts(kv) * layer.heads]
    for size, count in [(4 * COMPUTED, times), (logits_bytes, 1), *((size, times) for size in sections)]:
        piece = source.read(size)
        for _ in range(count):
            out.write(piece)
            checksum = zlib.crc32(piece, checksum)
    out.seek(0)
    out.write(_HEADER.pack(magic, checksum, n_bytes, *rest))
