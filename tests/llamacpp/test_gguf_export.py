"""GGUF files written from a model: llama.cpp must compute what the engine computes, or the model is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import tiny_encoders
import tiny_models

from rbe_edge import Model
from rbe_edge.errors import PackError
from rbe_edge.llama_cpp import export
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.gguf.names import gguf_name
from rbe_edge.sources.open import open_source
from rbe_edge.sources.tokenizers.of_source import source_tokenizer

CONTEXT = 48


def _gemma3_as_published(every: int) -> tiny_models.TinyModel:
    """With every sixth layer global, two bases, and no scaling: as 270M and 1B are; or another one."""
    tiny = tiny_models.MODELS["gemma3_new"]
    kinds = ["full_attention" if layer % every == every - 1 else "sliding_attention" for layer in range(7)]
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    changed = {"num_hidden_layers": 7, "layer_types": kinds, "rope_parameters": rope, "final_logit_softcapping": None}
    head_dim = tiny.config["head_dim"]
    return dataclasses.replace(tiny, config={**tiny.config, **changed, "query_pre_attn_scalar": head_dim})


_LIKE_PUBLISHED = {"gemma3_published": _gemma3_as_published(6), "gemma3_order": _gemma3_as_published(3)}


def _gguf(name: str, directory: Path, context: int = CONTEXT) -> tuple[Path, Path]:
    """The model as .rbe and as .gguf, both fp32."""
    source = tiny_models.write(_LIKE_PUBLISHED.get(name) or tiny_models.MODELS[name], directory / "source")
    return _converted(source, directory, context)


def _converted(source: Path, directory: Path, context: int) -> tuple[Path, Path]:
    dense, out = directory / "dense.rbe", directory / "fp32.gguf"
    pack(source, dense, PackOptions(bits=32))
    with Model.open(dense) as model:
        export.write_gguf(model, source_tokenizer(open_source(source), model.info.vocabulary), out, context)
    return dense, out


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


@pytest.mark.parametrize(
    "name",
    ["llama", "llama_tied", "llama_bias", "llama_head_dim", "llama_linear", "llama_llama3", "mistral", "qwen2", "qwen3",
     "gpt2", "gemma3_published"],
)  # fmt: skip
def test_llama_cpp_computes_the_same(name: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("llama_cpp")
    from rbe_edge.llama_cpp.quantiser import LlamaCpp

    dense, out = _gguf(name, tmp_path)
    tokens = np.random.default_rng(3).integers(0, tiny_models.VOCABULARY, CONTEXT).tolist()
    with Model.open(dense) as model, model.session(context=CONTEXT, kv="f32") as session:
        ours = _log_softmax(session.score(tokens, logits=True).logits)
    with LlamaCpp(out, CONTEXT, 1, exact_cache=True) as llama:
        whole = llama.logits(tokens)
        llama.clear()
        parts = np.concatenate([llama.logits(tokens[:20]), llama.logits(tokens[20:])])
    theirs = _log_softmax(whole)
    kl = (np.exp(ours) * (ours - theirs)).sum(1)
    assert kl.mean() < 1e-6
    assert np.abs(parts - whole).max() < 1e-3, "a window may be given in pieces"


@pytest.mark.parametrize(
    ("name", "why"),
    [("llama_gelu", "activation gelu"), ("llama_yarn", "rotary positions"), ("mistral_window", "sliding window"),
     ("gemma3_order", "no such order"), ("gemma3_new", "attention scale"),
     ("gemma2", "cannot be written"), ("phi3", "cannot be written")],
)  # fmt: skip
def test_refuses_what_llama_cpp_computes_otherwise(name: str, why: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    with pytest.raises(PackError, match=why):
        _gguf(name, tmp_path)
    assert not (tmp_path / "fp32.gguf").exists()


def test_a_window_that_never_slides_is_none(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    _, out = _gguf("mistral_window", tmp_path, context=8)
    assert out.exists()


def test_pairs() -> None:
    rows = np.arange(24, dtype=np.float32).reshape(12, 2)  # two heads of 6
    turned = export.pairs_side_by_side(rows, 6)
    assert turned[:, 0].tolist() == [0, 6, 2, 8, 4, 10, 12, 18, 14, 20, 16, 22]
    assert np.array_equal(export.pairs_apart(turned, 6), rows)


def test_names() -> None:
    assert gguf_name("layers.11.feed_forward.gate") == "blk.11.ffn_gate.weight"
    assert gguf_name("layers.0.attention.q.bias") == "blk.0.attn_q.bias"
    assert gguf_name("embedding") == "token_embd.weight"
    assert export.is_projection("layers.3.attention.o")
    assert not any(map(export.is_projection, ("layers.3.attention.norm", "layers.3.attention.q.bias", "head")))


@pytest.mark.parametrize("name", ["stories260K/stories260K.bin", "wiki18m"])
def test_the_vocabulary_is_whole(name: str, data_dir: Path, tmp_path: Path) -> None:
    """llama.cpp tokenizes with the file's vocabulary as the model does."""
    pytest.importorskip("gguf")
    llama_cpp = pytest.importorskip("llama_cpp")
    source = data_dir / name
    pack(source, tmp_path / "dense.rbe", PackOptions(bits=16))
    text = "Once upon a time, there was a little girl; she had 12 dogs.\n\nThey ran\taway!"
    with Model.open(tmp_path / "dense.rbe") as model:
        tokenizer = source_tokenizer(open_source(source), model.info.vocabulary)
        export.write_gguf(model, tokenizer, tmp_path / "out.gguf", 64)
        expected = model.tokenize(text, special=False)
    theirs = llama_cpp.Llama(str(tmp_path / "out.gguf"), vocab_only=True, verbose=False)
    assert theirs.tokenize(text.encode(), add_bos=False, special=False) == expected


def test_an_encoder_comes_back_from_its_file(tmp_path: Path) -> None:
    """Packed from the GGUF file it is what was packed from its directory: tensors, tokens and vectors."""
    pytest.importorskip("gguf")
    source = tiny_encoders.write(tiny_encoders.ENCODERS["sentence_mean"], tmp_path / "model")
    pack(source, tmp_path / "dense.rbe", PackOptions(bits=32))
    texts = ["The cat sat, on a mat.", "paris zebra!"]
    with Model.open(tmp_path / "dense.rbe") as model:
        tokenizer = source_tokenizer(open_source(source), model.info.vocabulary)
        export.write_gguf(model, tokenizer, tmp_path / "out.gguf", 32)
        pack(tmp_path / "out.gguf", tmp_path / "again.rbe", PackOptions(bits=32))
        with Model.open(tmp_path / "again.rbe") as again:
            assert set(again.tensors) == set(model.tensors)
            for name in model.tensors:
                assert np.array_equal(again.tensor_rows(name), model.tensor_rows(name)), name
            assert [again.tokenize(text) for text in texts] == [model.tokenize(text) for text in texts]
            assert np.array_equal(again.embed(texts), model.embed(texts))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("bert_masked", "head of words"),
        ("bert", "texts that is not named"),
        ("sentence_dense", "layers behind pooling"),
        ("sentence_max", "pooling of texts that is max"),
    ],
)
def test_refuses_an_encoder_that_llama_cpp_reads_otherwise(name: str, why: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    source = tiny_encoders.write(tiny_encoders.ENCODERS[name], tmp_path / "model")
    pack(source, tmp_path / "dense.rbe", PackOptions(bits=32))
    with Model.open(tmp_path / "dense.rbe") as model:
        tokenizer = source_tokenizer(open_source(source), model.info.vocabulary)
        with pytest.raises(PackError, match=why):
            export.write_gguf(model, tokenizer, tmp_path / "out.gguf", 32)


def test_refuses_an_attention_scale_of_its_own(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    model = tiny_models.MODELS["llama"]
    odd = dataclasses.replace(model, config={**model.config, "query_pre_attn_scalar": 50})
    source = tiny_models.write(odd, tmp_path / "source")
    pack(source, tmp_path / "dense.rbe", PackOptions(bits=32))
    with Model.open(tmp_path / "dense.rbe") as opened, pytest.raises(PackError, match="attention scale"):
        tokenizer = source_tokenizer(open_source(source), opened.info.vocabulary)
        export.write_gguf(opened, tokenizer, tmp_path / "out.gguf", 16)


def test_the_file_appears_whole_and_replaces_files_alone(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")
    pack(source, tmp_path / "dense.rbe", PackOptions(bits=32))
    (tmp_path / "out.gguf").write_text("old")
    os.mkfifo(tmp_path / "pipe.gguf")
    there = sorted(os.listdir(tmp_path))
    with Model.open(tmp_path / "dense.rbe") as model:
        tokenizer = source_tokenizer(open_source(source), model.info.vocabulary)
        export.write_gguf(model, tokenizer, tmp_path / "out.gguf", 16)
        assert len(gguf.GGUFReader(tmp_path / "out.gguf").tensors) == len(model.tensors) - 1  # of rotary frequencies
        with pytest.raises(PackError, match="device or a pipe"):
            export.write_gguf(model, tokenizer, tmp_path / "pipe.gguf", 16)
    assert sorted(os.listdir(tmp_path)) == there
