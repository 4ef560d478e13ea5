"""llama2.c checkpoints: the layout of the file, the order of rotary rows, and headers that do not fit."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from rbe_edge.errors import PackError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

WIDTH, FEED_FORWARD, LAYERS, HEADS, KV_HEADS, VOCABULARY, CONTEXT = 8, 12, 2, 2, 1, 10, 6
HEAD_DIM = WIDTH // HEADS
KEY = KV_HEADS * HEAD_DIM


def checkpoint(path: Path, tied: bool = True, drop: int = 0, more: int = 0, **header: int) -> Path:
    sizes = {
        "dim": WIDTH, "hidden_dim": FEED_FORWARD, "n_layers": LAYERS, "n_heads": HEADS, "n_kv_heads": KV_HEADS,
        "vocab_size": VOCABULARY if tied else -VOCABULARY, "seq_len": CONTEXT,
    }  # fmt: skip
    count = VOCABULARY * WIDTH * (1 if tied else 2) + WIDTH + CONTEXT * HEAD_DIM
    count += LAYERS * (2 * WIDTH + 2 * WIDTH * WIDTH + 2 * KEY * WIDTH + 3 * WIDTH * FEED_FORWARD)
    numbers = np.arange(count, dtype="<f4")
    data = struct.pack("<7i", *(sizes | header).values()) + numbers.tobytes()
    path.write_bytes(data[: len(data) - drop] + bytes(more))
    (path.parent / f"tok{VOCABULARY}.bin").touch()
    return path


@pytest.mark.parametrize("tied", [True, False])
def test_layout(tmp_path: Path, tied: bool) -> None:
    source = open_source(checkpoint(tmp_path / "model.bin", tied))
    assert source.name == "model.bin"
    assert source.tokenizer == tmp_path / "tok10.bin"
    plan = plan_model(source)
    assert plan.architecture == "llama"
    tensors = {tensor.name: tensor for tensor in plan.tensors}
    assert ("head" in tensors) == (not tied)
    position = 0

    def expect(name: str, rows: int, cols: int) -> np.ndarray:
        nonlocal position
        tensor = tensors[name]
        assert (tensor.rows, tensor.cols) == (rows, cols)
        values = np.arange(position, position + rows * cols, dtype=np.float32).reshape(rows, cols)
        position += rows * cols
        return values

    def check(name: str, rows: int, cols: int) -> None:
        np.testing.assert_array_equal(expect(name, rows, cols), tensors[name].read())

    def check_rotary(name: str, rows: int, heads: int) -> None:
        """Row 2d of a head becomes row d, row 2d + 1 row d + half."""
        theirs, ours = expect(name, rows, WIDTH), tensors[name].read()
        for head in range(heads):
            for d in range(HEAD_DIM // 2):
                for part in range(2):
                    row = head * HEAD_DIM + d + part * HEAD_DIM // 2
                    np.testing.assert_array_equal(ours[row], theirs[head * HEAD_DIM + 2 * d + part])

    def each(name: str, rows: int, cols: int) -> None:
        for layer in range(LAYERS):
            check(f"layers.{layer}.{name}", rows, cols)

    check("embedding", VOCABULARY, WIDTH)
    each("attention.norm", 1, WIDTH)
    for layer in range(LAYERS):
        check_rotary(f"layers.{layer}.attention.q", WIDTH, HEADS)
    for layer in range(LAYERS):
        check_rotary(f"layers.{layer}.attention.k", KEY, KV_HEADS)
    each("attention.v", KEY, WIDTH)
    each("attention.o", WIDTH, WIDTH)
    each("feed_forward.norm", 1, WIDTH)
    each("feed_forward.gate", FEED_FORWARD, WIDTH)
    each("feed_forward.down", WIDTH, FEED_FORWARD)
    each("feed_forward.up", FEED_FORWARD, WIDTH)
    check("norm", 1, WIDTH)
    if not tied:
        position += CONTEXT * HEAD_DIM
        check("head", VOCABULARY, WIDTH)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": 4}, "truncated"),
        ({"drop": 100000}, "too short|truncated"),
        ({"more": 4}, "4 bytes more than its header asks for"),
        ({"dim": 0}, "dim is 0"),
        ({"n_layers": -1}, "n_layers is -1"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"vocab_size": -(2**31)}, "vocab_size is"),
        ({"seq_len": 2**31 - 1}, "seq_len is"),
        ({"n_heads": 3}, "do not fit a width"),
        ({"n_kv_heads": 3}, "do not fit a width"),
        ({"n_heads": 8, "n_kv_heads": 8}, "do not fit a width"),
        ({"dim": 2**24, "hidden_dim": 2**24, "vocab_size": 2**24}, "truncated"),
        ({"n_layers": 2**24}, "truncated"),
        ({"dim": 0x616B3432}, "versioned llama2.c export"),
    ],
)
def test_damaged_checkpoints(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    path = checkpoint(tmp_path / "model.bin", **changes)
    with pytest.raises(PackError, match=message):
        open_source(path)


def test_the_tokenizer_beside_it(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "model.bin")
    named = tmp_path / "tok10.bin"
    other = named.rename(tmp_path / "tok-other.model")
    assert open_source(path).tokenizer == other
    (tmp_path / "tok-second.bin").touch()
    with pytest.raises(PackError, match=r"no tokenizer beside it.*--tokenizer"):
        open_source(path)
    assert open_source(path, tokenizer=other).tokenizer == other
    (tmp_path / "tokenizer.bin").touch()
    assert open_source(path).tokenizer == tmp_path / "tokenizer.bin"
