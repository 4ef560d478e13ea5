"""Encoders in GGUF files, with the names of llama.cpp's converter: they mean what their directories mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders
from tiny_encoders import CONTEXT, ENCODERS, FEED_FORWARD, HEADS, LAYERS, WIDTH, WORDS, TinyEncoder

from rbe_edge import Model
from rbe_edge.errors import PackError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

gguf = pytest.importorskip("gguf")

_BERT = {
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}  # fmt: skip
_NOMIC = {
    "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output", "mlp.fc11": "ffn_up", "mlp.fc12": "ffn_gate",
    "mlp.fc2": "ffn_down", "norm1": "attn_output_norm", "norm2": "layer_output_norm",
}  # fmt: skip
_WHOLE = {
    "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
    "emb_ln": "token_embd_norm", "classifier.dense": "cls", "classifier.out_proj": "cls.output",
}  # fmt: skip


def _name(name: str) -> str | None:
    stem, _, ending = name.removeprefix("roberta.").rpartition(".")
    layer = re.match(r"encoder\.layers?\.(\d+)\.", stem)
    if layer is not None:
        part = stem[layer.end() :]
        return f"blk.{layer[1]}.{(_BERT | _NOMIC)[part]}.{ending}"
    return f"{_WHOLE[stem]}.{ending}" if stem in _WHOLE else None


def write(encoder: TinyEncoder, path: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """As the converter writes it: RoBERTa without the rows of positions that no text uses."""
    name = "nomic-bert" if encoder.config["model_type"] == "nomic_bert" else "bert"
    writer = gguf.GGUFWriter(path, name)
    values: dict[str, Any] = {
        "context_length": CONTEXT, "embedding_length": WIDTH, "block_count": LAYERS, "attention.head_count": HEADS,
        "feed_forward_length": FEED_FORWARD, "pooling_type": 1, "attention.causal": False,
        **({"rope.freq_base": 1000.0} if name == "nomic-bert" else {}), **(changes or {}),
    }  # fmt: skip
    for key, value in values.items():
        add = writer.add_bool if isinstance(value, bool) else writer.add_float32 if isinstance(value, float) else None
        (add or writer.add_uint32)(f"{name}.{key}", value)
    writer.add_float32(f"{name}.attention.layer_norm_epsilon", encoder.config["layer_norm_eps"])
    writer.add_tokenizer_model("bert")
    special = [word.startswith("[") for word in WORDS]
    tokens = [
        word if is_special else word.removeprefix("##") if word.startswith("##") else f"\u2581{word}"
        for word, is_special in zip(WORDS, special, strict=True)
    ]
    writer.add_token_list(tokens)
    writer.add_token_types([3 if is_special else 1 for is_special in special])
    for key, word in (("cls", "[CLS]"), ("seperator", "[SEP]"), ("unknown", "[UNK]"), ("padding", "[PAD]")):
        writer.add_uint32(f"tokenizer.ggml.{key}_token_id", WORDS.index(word))
    for tensor, weights in tiny_encoders.tensors(encoder).items():
        target = _name(tensor)
        if target is not None:
            is_positions = target == "position_embd.weight"
            writer.add_tensor(target, weights[-CONTEXT:] if is_positions else weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", ["sentence_mean", "nomic_masked"])
def test_it_means_what_the_directory_means(tmp_path: Path, name: str) -> None:
    encoder = ENCODERS[name]
    encoder = TinyEncoder(name, encoder.config, {k.removeprefix("nomic_bert."): v for k, v in encoder.shapes.items()})
    theirs = plan_model(open_source(tiny_encoders.write(encoder, tmp_path / "source")))
    path = write(encoder, tmp_path / "m.gguf")
    found = plan_model(open_source(path))
    pooling = {"pooling": "mean", "pooled.kind": "embedding", "pooled.normalize": 1, "head.kind": "none"}
    expected = {key: value for key, value in theirs.metadata.items() if not key.startswith("head.")}
    assert found.metadata == {**expected, **pooling}
    wanted = {tensor.name: tensor for tensor in theirs.tensors if not tensor.name.startswith("head")}
    assert {tensor.name for tensor in found.tensors} == set(wanted)
    for tensor in found.tensors:
        np.testing.assert_array_equal(tensor.read(), wanted[tensor.name].read(), tensor.name)
    report = pack(path, tmp_path / "m.rbe", PackOptions(bits=32))
    with Model.open(report.path) as model:
        assert model.tokenize("the er was", special=True)[0] == tiny_encoders.CLS
        assert model.embed(["the er was"]).shape == (1, WIDTH)


def test_a_model_that_ranks(tmp_path: Path) -> None:
    encoder = ENCODERS["roberta_classes"]
    directory = plan_model(open_source(tiny_encoders.write(encoder, tmp_path / "source")))
    found = plan_model(open_source(write(encoder, tmp_path / "m.gguf", {"pooling_type": 4})))
    assert {key: value for key, value in directory.metadata.items() if key not in ("labels", "architecture")} == {
        key: value for key, value in found.metadata.items() if key != "architecture"
    }
    for one, other in zip(found.tensors, directory.tensors, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.read(), other.read(), one.name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pooling_type": 9}, "bert.pooling_type = 9 is not supported"),
        ({"attention.causal": True}, "bert.attention.causal = True is not supported for bert"),
    ],
)
def test_what_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PackError, match=message):
        open_source(write(ENCODERS["sentence_mean"], tmp_path / "m.gguf", changes))
