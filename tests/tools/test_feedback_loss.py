"""The measure of error feedback: tr(E H E^T), as the tool that prints it computes it."""

from __future__ import annotations

import numpy as np
import pytest

from tools.feedback_loss import Losses


def test_losses_are_those_of_h() -> None:
    random = np.random.default_rng(1)
    weights = random.standard_normal((256, 32)).astype(np.float32)
    x = random.standard_normal((200, 32)) @ (np.eye(32) + 0.1 * random.standard_normal((32, 32)))
    h = x.T @ x / len(x)
    losses = Losses(weights, np.ascontiguousarray(np.linalg.cholesky(np.linalg.inv(h)).T, dtype=np.float32))
    left = random.standard_normal((256, 32)).astype(np.float32)
    expected = np.trace(left @ h @ left.T) / (float((weights**2).sum()) * np.trace(h) / 32)
    assert losses.of(left) == pytest.approx(float(expected), rel=1e-3)
    alone, same = losses.planes((3,))
    assert alone == pytest.approx(same, rel=1e-3)
    first, total = losses.planes((3, 2))
    assert total < 0.2 * alone < 0.2 * first * 1.01
