"""Encoder-decoders as sources: what is read of a configuration, tokenizers without a tokenizer.json, and what is
refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoder_decoders
from tiny_encoder_decoders import ENCODER_DECODERS, WIDTH

from rbe_edge.errors import PackError, TokenizerError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.tokenizers import read_tokenizer


def _written(tmp_path: Path, name: str = "t5_v1_1", **changes: Any) -> Path:
    directory = tiny_encoder_decoders.write(ENCODER_DECODERS[name], tmp_path / name)
    config = {**json.loads((directory / "config.json").read_text()), **changes}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def test_the_scale_before_the_head_is_in_the_last_norm(tmp_path: Path) -> None:
    """Of T5 v1.0, and of what transformers 5 writes of it; not of v1.1 and mT5."""
    plans = {name: plan_model(open_source(_written(tmp_path, name))) for name in ("t5", "t5_v1_1", "mt5")}
    norms = {name: next(one for one in plan.tensors if one.name == "norm") for name, plan in plans.items()}
    weights = tiny_encoder_decoders.tensors(ENCODER_DECODERS["t5"])["decoder.final_layer_norm.weight"]
    np.testing.assert_allclose(norms["t5"].read()[0], weights * np.float32(WIDTH**-0.5), rtol=1e-6)
    assert norms["t5_v1_1"].scale == norms["mt5"].scale == 1
    said = plan_model(open_source(_written(tmp_path, "t5", scale_decoder_outputs=False)))
    assert next(one for one in said.tensors if one.name == "norm").scale == 1


def test_layers_of_both_stacks(tmp_path: Path) -> None:
    plan = plan_model(open_source(_written(tmp_path, "mt5")))
    assert (plan.metadata["layers"], plan.metadata["encoder.layers"], plan.metadata["decoder.start"]) == (3, 2, 0)
    assert plan.metadata["context"] == 1024 and plan.metadata["attention.scale"] == 1
    longer = plan_model(open_source(_written(tmp_path, "mt5", n_positions=4096)))
    assert longer.metadata["context"] == 4096


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "umt5"}, "'umt5'.*not supported"),
        ({"relative_attention_num_buckets": 0}, "relative_attention_num_buckets"),
        ({"relative_attention_num_buckets": 7}, "7 buckets"),
        ({"relative_attention_num_buckets": 2}, r"asks for \[2, 4\]"),
        ({"relative_attention_num_buckets": 1 << 27}, "buckets"),
        ({"relative_attention_num_buckets": 16}, r"shape \[8, 4\]"),
        ({"relative_attention_max_distance": 3}, "up to 3"),
        ({"relative_attention_max_distance": 1 << 20}, "up to 1048576"),
        ({"feed_forward_proj": "gated-gelu-new"}, "feed_forward_proj"),
        ({"feed_forward_proj": 7}, "feed_forward_proj"),
        ({"feed_forward_proj": "gated-mish"}, "mish"),
        ({"feed_forward_proj": "relu"}, "missing"),
        ({"decoder_start_token_id": -1}, "decoder_start_token_id"),
        ({"decoder_start_token_id": 10**9}, "decoder_start_token_id"),
        ({"decoder_start_token_id": True}, "decoder_start_token_id"),
        ({"num_layers": 3}, "missing"),
        ({"num_layers": "two"}, "whole number"),
        ({"num_decoder_layers": 10**6}, "tensors"),
        ({"num_layers": 10**6}, "missing"),
    ],
)
def test_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PackError, match=said) as caught:
        plan_model(open_source(_written(tmp_path, **changes)))
    assert "\n" not in str(caught.value)


def test_bytes_are_tokens(tmp_path: Path) -> None:
    """As transformers numbers them."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.ByT5Tokenizer()
    tokenizer = read_tokenizer(_written(tmp_path, "byt5"), 384)
    assert tokenizer.after == (1,) and tokenizer.ends_text == {1} and tokenizer.size == len(theirs)
    for text in ("a", "<pad>", "</s>", "<extra_id_0>", "<extra_id_124>"):
        assert tokenizer.tokens[theirs.convert_tokens_to_ids(text)] == text.encode()
    (tmp_path / "byt5" / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer", "extra_ids": -1}')
    with pytest.raises(TokenizerError, match="extra_ids"):
        read_tokenizer(tmp_path / "byt5")


def test_pieces_without_a_tokenizer_json(tmp_path: Path) -> None:
    """spiece.model, as the first T5 came: every text ends with </s>."""
    sentencepiece = pytest.importorskip("sentencepiece")
    directory = _written(tmp_path)
    (directory / "tokenizer.json").unlink()
    (tmp_path / "text.txt").write_text(
        "\n".join(f"the cat number {n} sat on mat {n % 17} in the rain" for n in range(400))
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text.txt"), model_prefix=str(directory / "spiece"), vocab_size=48, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    tokenizer = read_tokenizer(directory, 56)
    assert tokenizer.after == (1,) and tokenizer.before == () and tokenizer.size == 56
