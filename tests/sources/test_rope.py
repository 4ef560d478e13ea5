"""Rope tables: what each scaling means, in numbers worked out by hand. Logits against transformers: tests/parity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rbe_edge.errors import PackError
from rbe_edge.sources.config import Config
from rbe_edge.sources.rope import RopeTable, rope_table

PLAIN = 10000.0 ** -(np.arange(8) / 8)


def table(context: int = 64, **parameters: Any) -> RopeTable:
    return rope_table(Config(parameters), 16, context)


def test_default_and_dynamic() -> None:
    np.testing.assert_allclose(table().frequencies, PLAIN, rtol=1e-14)
    np.testing.assert_array_equal(table(rope_type="dynamic", factor=4.0).frequencies, table().frequencies)
    np.testing.assert_allclose(table(rope_theta=16.0).frequencies, 2.0 ** -(np.arange(8) / 2), rtol=1e-14)
    assert table(partial_rotary_factor=0.5).frequencies.shape == (4,)
    assert table().attention_factor == 1 and table().long_from == 0


def test_linear() -> None:
    np.testing.assert_allclose(table(rope_type="linear", factor=4.0).frequencies, PLAIN / 4, rtol=1e-14)


def test_llama3() -> None:
    scaled = table(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
    ).frequencies
    waves = 2 * math.pi / PLAIN
    assert (waves < 16).sum() == 1 and (waves > 64).sum() == 5  # 6.3, 19.9, 62.8, 198.7, ...
    np.testing.assert_allclose(scaled[0], PLAIN[0])
    np.testing.assert_allclose(scaled[3:], PLAIN[3:] / 8)
    smooth = (64 / waves[1:3] - 1) / 3
    np.testing.assert_allclose(scaled[1:3], PLAIN[1:3] * ((1 - smooth) / 8 + smooth))


def test_yarn() -> None:
    made = table(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=2, beta_slow=1)
    # turns over 16 positions: 16 / wave = 2.5, 0.8, ...; dimension with 2: 0.21 -> 0, with 1: 0.81 -> 1
    np.testing.assert_allclose(made.frequencies, np.where(np.arange(8) == 0, PLAIN, PLAIN / 4))
    assert made.attention_factor == pytest.approx(0.1 * math.log(4) + 1)
    made = table(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, mscale=1.0, mscale_all_dim=0.5)
    assert made.attention_factor == pytest.approx((0.1 * math.log(4) + 1) / (0.05 * math.log(4) + 1))
    assert table(rope_type="yarn", factor=4.0, attention_factor=1.5).attention_factor == 1.5
    assert table(rope_type="yarn", original_max_position_embeddings=16).attention_factor == made_factor(64 / 16)


def made_factor(scale: float) -> float:
    return 0.1 * math.log(scale) + 1


def test_yarn_without_truncation() -> None:
    made = table(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=1024, beta_fast=32, beta_slow=1, truncate=False
    )
    low, high = (16 * math.log(1024 / (turns * 2 * math.pi)) / (2 * math.log(10000)) for turns in (32, 1))
    ramp = np.clip((np.arange(8) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(made.frequencies, PLAIN * (ramp / 4 + 1 - ramp))


def test_longrope() -> None:
    short, long = [1.0 + i for i in range(8)], [2.0 + i for i in range(8)]
    made = table(rope_type="longrope", short_factor=short, long_factor=long, original_max_position_embeddings=16)
    np.testing.assert_allclose(made.frequencies, PLAIN / short)
    assert made.long_frequencies is not None
    np.testing.assert_allclose(made.long_frequencies, PLAIN / long)
    assert made.long_from == 16
    assert made.attention_factor == pytest.approx(math.sqrt(1 + math.log(4) / math.log(16)))
    made = table(rope_type="longrope", short_factor=short, long_factor=long)
    assert (made.long_from, made.long_frequencies, made.attention_factor) == (0, None, 1)


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "linear", "factor": 0},
        {"rope_type": "linear", "factor": "4"},
        {"rope_type": "linear", "factor": float("nan")},
        {"rope_type": "llama3", "factor": 8.0},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 2.0, "high_freq_factor": 2.0},
        {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 1},
        {"rope_type": "yarn", "factor": 8.0, "beta_fast": -1},
        {"rope_type": "longrope", "short_factor": [1.0] * 8},
        {"rope_type": "longrope", "short_factor": [0.0] * 8, "long_factor": [1.0] * 8},
        {"partial_rotary_factor": 2.0},
        {"rope_type": 3},
    ],
)
def test_parameters_that_make_no_sense(parameters: dict[str, Any]) -> None:
    with pytest.raises(PackError):
        table(**parameters)
