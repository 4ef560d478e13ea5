"""The importance matrix, against numpy on what the matrices read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rbe_edge import Model
from rbe_edge.llama_cpp.importance import importance


def test_mean_squares_of_columns(tiny_model: Path) -> None:
    rng = np.random.default_rng(7)
    with Model.open(tiny_model) as model:
        windows = [rng.integers(0, model.info.vocabulary, n).tolist() for n in (60, 31)]
        done: list[tuple[int, int]] = []
        found = importance(model, windows, progress=lambda *at: done.append(at))
        epsilon = model.metadata["norm.epsilon"]
        x = model.tensor_rows("embedding")[windows[0] + windows[1]].astype(np.float64)
        x /= np.sqrt((x**2).mean(1, keepdims=True) + epsilon)
        x *= model.tensor_rows("layers.0.attention.norm")
        head = model.tensor_rows("head").astype(np.float64)
        logits = []
        for window in windows:
            with model.session(context=64, kv="f32") as session:
                logits.append(session.score(window, logits=True).logits)
        last = np.linalg.lstsq(head, np.concatenate(logits).T.astype(np.float64), rcond=None)[0].T
        expected = {f"blk.{layer}.{part}.weight" for layer in range(model.info.layers) for part in (
            "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"
        )}  # fmt: skip
    assert set(found) == {*expected, "output.weight"}
    assert done == [(0, 2), (1, 2)]
    np.testing.assert_allclose(found["blk.0.attn_q.weight"], (x**2).mean(0), rtol=1e-4)
    assert found["blk.0.attn_q.weight"] is not found["blk.1.attn_q.weight"]
    np.testing.assert_array_equal(found["blk.0.attn_q.weight"], found["blk.0.attn_v.weight"])
    np.testing.assert_allclose(found["output.weight"], (last**2).mean(0), rtol=1e-2)
    assert found["blk.1.ffn_down.weight"].shape == (96,)
