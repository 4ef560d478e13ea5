"""The part `modes`: what each power mode reads of a model's weights, and what was measured of its answers
(docs/format.md, "Modes")."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from rbe_edge.errors import PackError
from rbe_edge.format.parts import Part

MODE_NAMES = ("performance", "balanced", "saver", "emergency")
MODES_PART = "modes"
MODES_VERSION = 1
SKIP = 255  # in place of planes: the step of that layer is left out
AGAINST = ("itself", "source")  # what the divergence is against, by the numbers in the file

_TABLE = struct.Struct("<IIII112s")
_RECORD = struct.Struct("<IIIIQQdddd128s")
_MAX_PLANES = 4
_MAX_LAYERS = 4096


@dataclass(frozen=True)
class Mode:
    """One mode. attention, feed_forward: the planes that are read of that step of each layer, 1 to 4, 0 for all, or
    SKIP; () is all of every layer. embedding, lm_head: planes as well. bytes_per_token: of weights. kl: the mean
    divergence in nats, kl_error its standard error; top1: the share of tokens with the same most likely one. n_tokens
    0: nothing was measured, and these are 0. reason: why nothing was found that reads less within the mode's bound, the
    rest being what runs instead; "" where it was found."""

    attention: tuple[int, ...] = ()
    feed_forward: tuple[int, ...] = ()
    embedding: int = 0
    lm_head: int = 0
    bytes_per_token: int = 0
    n_tokens: int = 0
    perplexity: float = 0.0
    kl: float = 0.0
    kl_error: float = 0.0
    top1: float = 0.0
    reason: str = ""

    @property
    def found(self) -> bool:
        return not self.reason

    @property
    def reads_all(self) -> bool:
        """All planes of all layers."""
        return not any((*self.attention, *self.feed_forward, self.embedding, self.lm_head))

    @property
    def skipped(self) -> tuple[int, int]:
        """How many layers do without their attention, and without their feed-forward step."""
        return self.attention.count(SKIP), self.feed_forward.count(SKIP)


@dataclass(frozen=True)
class ModeTable:
    """modes: one for each of MODE_NAMES. n_layers: of the model. text: the name of what was measured on; it
    and reasons are printable ASCII, at most 111 and 127 characters. against: of AGAINST."""

    n_layers: int
    modes: tuple[Mode, ...]
    text: str = ""
    against: str = "itself"

    def part(self) -> Part:
        """As a part of a file. Raises PackError for what it cannot hold."""
        return Part(MODES_PART, MODES_VERSION, encode(self))


def encode(table: ModeTable) -> bytes:
    """The data of the part. Raises PackError for what it cannot hold."""
    _check(table)
    n_layers = table.n_layers
    head = _TABLE.pack(len(table.modes), table.n_layers, AGAINST.index(table.against), 0, _text(table.text, 112))
    pieces = [head]
    for number, mode in enumerate(table.modes):
        measured = (mode.perplexity, mode.kl, mode.kl_error, mode.top1)
        sizes = (mode.bytes_per_token, mode.n_tokens)
        reason = _text(mode.reason, 128)
        pieces.append(
            _RECORD.pack(number, 1 if mode.found else 0, mode.embedding, mode.lm_head, *sizes, *measured, reason)
        )
        layers = bytes(mode.attention or bytes(n_layers)) + bytes(mode.feed_forward or bytes(n_layers))
        pieces.append(layers.ljust(_layer_bytes(n_layers), b"\0"))
    return b"".join(pieces)


def decode(data: bytes) -> ModeTable:
    """The table of a part's data. Raises PackError where it is none."""
    try:
        n_modes, n_layers, against, _, text = _TABLE.unpack_from(data)
        size = _RECORD.size + _layer_bytes(n_layers)
        if n_modes != len(MODE_NAMES) or n_layers > _MAX_LAYERS or len(data) != _TABLE.size + n_modes * size:
            raise ValueError("its size does not suit its layers")
        starts = range(_TABLE.size, len(data), size)
        modes = tuple(_mode(number, n_layers, data[at : at + size]) for number, at in enumerate(starts))
        table = ModeTable(n_layers, modes, text.rstrip(b"\0").decode("ascii"), AGAINST[against])
        if encode(table) != data:
            raise ValueError("a field holds what has no meaning")
    except (struct.error, ValueError, IndexError) as reason:
        raise PackError(f"part {MODES_PART}: damaged ({reason}); copy the file again") from None
    return table


def _mode(number: int, n_layers: int, data: bytes) -> Mode:
    fields = _RECORD.unpack_from(data)
    layers = data[_RECORD.size :]
    if fields[0] != number:
        raise ValueError("a mode is not where it belongs")
    return Mode(
        attention=layer_planes(layers[:n_layers]),
        feed_forward=layer_planes(layers[n_layers : 2 * n_layers]),
        embedding=fields[2],
        lm_head=fields[3],
        bytes_per_token=fields[4],
        n_tokens=fields[5],
        perplexity=fields[6],
        kl=fields[7],
        kl_error=fields[8],
        top1=fields[9],
        reason=fields[10].rstrip(b"\0").decode("ascii"),
    )


def _check(table: ModeTable) -> None:
    names = len(MODE_NAMES)
    _require(len(table.modes) == names, f"a table has {names} modes, not {len(table.modes)}")
    _require(1 <= table.n_layers <= _MAX_LAYERS, f"a model has 1 to {_MAX_LAYERS} layers, not {table.n_layers}")
    _require(table.against in AGAINST, f"the divergence is against {' or '.join(AGAINST)}, not {table.against}")
    _require(_is_text(table.text, 112), "the name of a text is at most 111 printable characters of ASCII")
    for name, mode in zip(MODE_NAMES, table.modes, strict=True):
        for planes in (mode.attention, mode.feed_forward):
            _require(len(planes) in (0, table.n_layers), f"{name}: the model has {table.n_layers} layers")
            _require(all(0 <= n <= _MAX_PLANES or n == SKIP for n in planes), f"{name}: impossible planes {planes}")
        ends = (mode.embedding, mode.lm_head)
        _require(all(0 <= n <= _MAX_PLANES for n in ends), f"{name}: impossible planes {ends}")
        measured = (mode.perplexity, mode.kl, mode.kl_error, mode.top1)
        good = all(math.isfinite(value) and value >= 0 for value in measured) and mode.top1 <= 1
        _require(good and (mode.n_tokens > 0 or not any(measured)), f"{name}: impossible measurements {measured}")
        whole = 0 <= mode.bytes_per_token < 2**64 and 0 <= mode.n_tokens < 2**64
        _require(whole, f"{name}: bytes and tokens are whole numbers from 0 on")
        _require(_is_text(mode.reason, 128), f"{name}: a reason is at most 127 printable characters of ASCII")
    first = table.modes[0]
    _require(first.found and first.reads_all, f"{MODE_NAMES[0]}: reads all planes of all layers")


def _require(good: bool, problem: str) -> None:
    if not good:
        raise PackError(f"modes: {problem}")


def _is_text(text: str, room: int) -> bool:
    return len(text) < room and all(32 <= ord(c) < 127 for c in text)


def _text(text: str, room: int) -> bytes:
    return text.encode("ascii").ljust(room, b"\0")


def _layer_bytes(n_layers: int) -> int:
    return -(-2 * n_layers // 8) * 8


def layer_planes(layers: bytes) -> tuple[int, ...]:
    """The planes of each layer; () where all of every layer are read."""
    return tuple(layers) if any(layers) else ()
