"""T5 in GGUF files, written by llama.cpp's own package under its own names: the plan is that of the directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_encoder_decoders
from tiny_encoder_decoders import ENCODER_DECODERS, HEAD_DIM, TinyEncoderDecoder

from rbe_edge.errors import PackError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

gguf = pytest.importorskip("gguf")


def _write(model: TinyEncoderDecoder, path: Path, also: str | None = None) -> Path:
    """As conversion/t5.py writes it. also: the name of one more tensor."""
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5, max(config["num_layers"], config["num_decoder_layers"]))
    writer = gguf.GGUFWriter(path, "t5")
    writer.add_context_length(512)
    writer.add_embedding_length(config["d_model"])
    writer.add_feed_forward_length(config["d_ff"])
    writer.add_block_count(config["num_layers"])
    writer.add_uint32("t5.decoder_block_count", config["num_decoder_layers"])
    writer.add_head_count(config["num_heads"])
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    writer.add_layer_norm_rms_eps(config["layer_norm_epsilon"])
    writer.add_relative_attn_buckets_count(config["relative_attention_num_buckets"])
    writer.add_decoder_start_token_id(config["decoder_start_token_id"])
    for name, values in tiny_encoder_decoders.tensors(model).items():
        theirs = names.get_name(name, try_suffixes=(".weight",))
        assert theirs is not None, name
        writer.add_tensor(theirs, values)
    if also is not None:
        writer.add_tensor(also, np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", ["t5", "t5_v1_1"])
def test_the_plan_is_that_of_the_directory(tmp_path: Path, name: str) -> None:
    model = ENCODER_DECODERS[name]
    config = dict(model.config) | {"relative_attention_max_distance": 128}  # what llama.cpp computes
    model = TinyEncoderDecoder(name, config, model.has_head)
    expected = plan_model(open_source(tiny_encoder_decoders.write(model, tmp_path / name)))
    found = plan_model(open_source(_write(model, tmp_path / "t5.gguf")))
    assert found.metadata == expected.metadata
    assert [tensor.name for tensor in found.tensors] == [tensor.name for tensor in expected.tensors]
    for ours, theirs in zip(found.tensors, expected.tensors, strict=True):
        np.testing.assert_array_equal(ours.read(), theirs.read())


def test_a_tensor_without_a_place(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="has no place in a T5"):
        open_source(_write(ENCODER_DECODERS["t5"], tmp_path / "t5.gguf", also="enc.blk.0.attn_gate.weight"))
