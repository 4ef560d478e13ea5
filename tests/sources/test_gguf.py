"""GGUF files against the Hugging Face directories of the same models: the same tensors, the same metadata."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from gguf_models import architecture, gguf_tensors, write_gguf
from index_reader import Index, read_index
from tiny_models import MODELS, TinyModel

from rbe_edge import Model
from rbe_edge.cli.main import main
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.gguf.architectures import DIALECTS
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

pytest.importorskip("gguf")

# GGUF cannot say these: the scale of attention that Gemma's configuration gives (llama.cpp takes the head's size), and
# Llama with another activation, and biases of short convolutions.
_UNSAID: dict[str, dict[str, Any]] = {
    name: {"query_pre_attn_scalar": 24} for name in ("gemma2", "gemma3", "gemma3_new")
}
# Neither is there a key for layers without experts, nor for scores that are not normalised.
_UNSAYABLE = (
    "llama_gelu", "gemma3_multimodal", "gemma4_multimodal", "qwen2_window", "ministral3_multimodal", "smollm3_rotary",
    "smollm3_yarn", "qwen3_moe", "qwen3_moe_mixed", "stablelm_12b", "lfm2_bias", "lfm2_vl", "lfm2_moe",
    "lfm2_moe_unbiased", "lfm2_moe_raw", "qwen2_moe_mixed", "qwen2_moe_window", "qwen3_5_multimodal", "granite4_rope",
)  # fmt: skip
_READ = {
    dialect.name for dialect in DIALECTS if not dialect.row.both_directions
}  # not every architecture is read from GGUF files
NAMES = [name for name, model in MODELS.items() if architecture(model) in _READ and name not in _UNSAYABLE]


def the_model(name: str) -> TinyModel:
    model = MODELS[name]
    return dataclasses.replace(model, config={**model.config, **_UNSAID.get(name, {})})


def packed(source: Path, out: Path, bits: int = 32) -> Index:
    return read_index(pack(source, out, PackOptions(bits=bits)).path)


@pytest.mark.parametrize("name", NAMES)
def test_same_as_the_directory(tmp_path: Path, name: str) -> None:
    model = the_model(name)
    theirs = packed(tiny_models.write(model, tmp_path / "hf"), tmp_path / "hf.rbe")
    ours = packed(write_gguf(model, tmp_path / "model.gguf"), tmp_path / "gguf.rbe")
    assert ours.tensors.keys() == theirs.tensors.keys()
    for tensor in ours.tensors:
        if tensor.startswith("rope."):  # divisors are stored in fp32
            values = [np.frombuffer(index.tensor_data(tensor), "<f4") for index in (ours, theirs)]
            np.testing.assert_allclose(*values, rtol=3e-7)
        else:
            assert ours.tensor_data(tensor) == theirs.tensor_data(tensor), tensor
    assert ours.metadata.keys() == theirs.metadata.keys()
    in_fp32 = ["rope.attention_factor", "rope.long_attention_factor"]
    in_fp32 += ["embedding.scale", "norm.epsilon"] if name == "minicpm" else []  # of a factor that has many digits
    for key in in_fp32:
        if key in ours.metadata:
            assert ours.metadata.pop(key) == pytest.approx(theirs.metadata.pop(key), rel=3e-7)
    if name == "mistral":  # without a window it is a Llama, and called so
        assert (ours.metadata.pop("architecture"), theirs.metadata.pop("architecture")) == ("llama", "mistral")
    differing = {key for key in ours.metadata if ours.metadata[key] != theirs.metadata[key]}
    assert differing == {"name", "source.name", "source.sha256"}
    assert ours.blobs == theirs.blobs


def test_every_architecture_of_gguf_files_is_compared() -> None:
    assert {architecture(MODELS[name]) for name in NAMES} == _READ


def test_the_models_differ_where_the_conventions_do() -> None:
    """Rows that were not put back in order, or one added twice, could not pass the comparison above."""
    for name, tensor in (("llama", "self_attn.q_proj.weight"), ("gemma2", "input_layernorm.weight")):
        stored = {"llama": "blk.0.attn_q.weight", "gemma2": "blk.0.attn_norm.weight"}[name]
        published = tiny_models.tensors(MODELS[name])[f"model.layers.0.{tensor}"]
        assert np.abs(gguf_tensors(MODELS[name])[stored] - published).max() > 0.5


def test_same_logits(tmp_path: Path) -> None:
    tokens = list(range(40, 80))
    model = the_model("llama_bias")
    found = []
    for index, source in enumerate((tiny_models.write(model, tmp_path / "hf"), write_gguf(model, tmp_path / "m.gguf"))):
        with Model.open(pack(source, tmp_path / f"{index}.rbe", PackOptions(bits=32)).path) as opened:
            with opened.session(kv="f32") as session:
                found.append(session.score(tokens, logits=True).logits)
    np.testing.assert_array_equal(*found)


def test_what_comes_along(tmp_path: Path) -> None:
    """Tokenizer, chat template, provenance."""
    path = write_gguf(MODELS["llama"], tmp_path / "model.gguf")
    out = pack(path, tmp_path / "out.rbe", PackOptions(bits=32)).path
    metadata = read_index(out).metadata
    assert metadata["source.name"] == metadata["name"] == "model.gguf"
    assert metadata["chat_template"] == tiny_models.CHAT_TEMPLATE
    with Model.open(out) as model:
        assert model.info.vocabulary == 272


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_number_types(tmp_path: Path, kind: str) -> None:
    """Dense 16 bits keep what the file has: bf16 stays bf16, and so on; 32 bits are exact."""
    model = MODELS["llama"]
    path = write_gguf(model, tmp_path / "model.gguf", kind)
    tensors = {tensor.name: tensor for tensor in plan_model(open_source(path)).tensors}
    down = tensors["layers.0.feed_forward.down"]
    expected = tiny_models.tensors(model)["model.layers.0.mlp.down_proj.weight"]
    assert down.source_kind == {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}[kind]
    directory = tiny_models.write(model, tmp_path / "hf", kind)
    same = {tensor.name: tensor for tensor in plan_model(open_source(directory)).tensors}
    np.testing.assert_array_equal(down.read(), same["layers.0.feed_forward.down"].read())
    np.testing.assert_allclose(down.read(), expected, rtol={"F32": 0, "F16": 5e-4, "BF16": 4e-3}[kind], atol=1e-6)


def test_a_tied_head_that_is_written_twice(tmp_path: Path) -> None:
    """As early converters of GPT-2 did; an lm_head that is another matrix stays."""
    weights = gguf_tensors(MODELS["gpt2"])
    for lm_head, names in ((weights["token_embd.weight"], 0), (weights["token_embd.weight"] + 1, 1)):
        path = write_gguf(MODELS["gpt2"], tmp_path / "m.gguf", tensors={**weights, "output.weight": lm_head})
        plan = plan_model(open_source(path))
        assert sum(tensor.name == "head" for tensor in plan.tensors) == names


@pytest.mark.parametrize("given", [0, 1, 3])
def test_split_files(tmp_path: Path, given: int) -> None:
    model = MODELS["llama"]
    whole = packed(write_gguf(model, tmp_path / "model.gguf"), tmp_path / "whole.rbe")
    write_gguf(model, tmp_path / "model.gguf", split=6)
    parts = sorted(tmp_path.glob("model-*.gguf"))
    assert len(parts) == 4
    source = open_source(parts[given])
    assert source.weight_files == tuple(parts)
    joined = packed(parts[given], tmp_path / "joined.rbe")
    assert joined.tensors.keys() == whole.tensors.keys() and joined.blobs == whole.blobs
    assert all(joined.tensor_data(name) == whole.tensor_data(name) for name in whole.tensors)


def test_a_file_is_known_by_its_magic_number(tmp_path: Path) -> None:
    path = write_gguf(MODELS["llama"], tmp_path / "model.gguf").rename(tmp_path / "blob")
    assert open_source(path).layout == "gguf"


def test_27b_models_scale_attention_by_the_width(tmp_path: Path) -> None:
    """Gemma 2 with 46 layers and Gemma 3 with 62, as llama.cpp knows them."""
    for name, layers in (("gemma2", 46), ("gemma3", 62)):
        config = {**MODELS[name].config, "num_hidden_layers": layers}
        path = write_gguf(dataclasses.replace(MODELS[name], config=config), tmp_path / "m.gguf")
        assert plan_model(open_source(path)).metadata["attention.scale"] == (64 // 4) ** -0.5


def test_eval_against_a_gguf_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rbe eval --source X.gguf` packs the source dense: a dense file does not diverge, a quantised one does."""
    exact = write_gguf(MODELS["llama"], tmp_path / "exact.gguf")
    coarse = write_gguf(MODELS["llama"], tmp_path / "coarse.gguf", "Q4_0")
    out = pack(exact, tmp_path / "out.rbe", PackOptions(bits=32)).path
    text = tmp_path / "text.txt"
    text.write_text("the king and the ring in a tree on there " * 8)
    found = []
    for source in (exact, coarse):
        arguments = ["eval", str(out), "--source", str(source), "--text", str(text), "--window", "32", "--json"]
        assert main([*arguments, "--threads", "1"]) == 0
        found.append(json.loads(capsys.readouterr().out)["kl"])
    assert found[0] == 0 and 1e-5 < found[1] < 0.1
