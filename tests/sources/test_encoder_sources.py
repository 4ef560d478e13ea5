"""Encoders as sources: what their files mean, and what is refused by its name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders
from tiny_encoders import CONTEXT, ENCODERS, WIDTH, TinyEncoder
from tiny_models import write_safetensors

from rbe_edge.errors import PackError
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.plan import ModelPlan


def changed(name: str, **config: Any) -> TinyEncoder:
    encoder = ENCODERS[name]
    return dataclasses.replace(encoder, config={**encoder.config, **config})


def planned(encoder: TinyEncoder, directory: Path) -> ModelPlan:
    return plan_model(open_source(tiny_encoders.write(encoder, directory)))


def test_older_names_of_norms(tmp_path: Path) -> None:
    """As bert-base-uncased has them."""
    encoder = ENCODERS["bert_masked"]
    expected = planned(encoder, tmp_path / "new")
    weights = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): values
        for name, values in tiny_encoders.tensors(encoder).items()
    }
    directory = tiny_encoders.write(encoder, tmp_path / "old")
    write_safetensors(directory / "model.safetensors", weights)
    found = plan_model(open_source(directory))
    assert found.notes == () and len(found.tensors) == len(expected.tensors)
    for one, other in zip(found.tensors, expected.tensors, strict=True):
        np.testing.assert_array_equal(one.read(), other.read())


def test_positions_of_roberta_begin_behind_the_padding(tmp_path: Path) -> None:
    encoder = ENCODERS["roberta_masked"]
    plan = planned(encoder, tmp_path)
    (table,) = (tensor for tensor in plan.tensors if tensor.name == "positions")
    whole = tiny_encoders.tensors(encoder)["roberta.embeddings.position_embeddings.weight"]
    np.testing.assert_array_equal(table.read(), whole[1:])
    assert plan.metadata["context"] == CONTEXT == len(whole) - 1
    with pytest.raises(PackError, match="pad_token_id is -1, and positions begin behind it"):
        planned(changed("roberta_masked", pad_token_id=-1), tmp_path / "none")


def test_texts_are_as_long_as_the_sentence_encoder_says(tmp_path: Path) -> None:
    plan = planned(ENCODERS["sentence_mean"], tmp_path)
    (table,) = (tensor for tensor in plan.tensors if tensor.name == "positions")
    assert plan.metadata["context"] == table.rows == 32
    assert plan.notes == ("texts have at most 32 tokens, as sentence_bert_config.json says, not 64",)


def test_a_tied_head_is_stored_once(tmp_path: Path) -> None:
    """And one that is not tied is packed; a bias that stands twice is."""
    encoder = ENCODERS["bert_masked"]
    weights = tiny_encoders.tensors(encoder)
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"]
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"]
    directory = tiny_encoders.write(encoder, tmp_path / "tied")
    write_safetensors(directory / "model.safetensors", weights)
    names = [tensor.name for tensor in plan_model(open_source(directory)).tensors]
    assert "head" not in names and names.count("head.bias") == 1
    apart = tiny_encoders.write(changed("bert_masked", tie_word_embeddings=False), tmp_path / "apart")
    write_safetensors(apart / "model.safetensors", weights)
    assert "head" in [tensor.name for tensor in plan_model(open_source(apart)).tensors]


def test_names_of_classes(tmp_path: Path) -> None:
    labels = {"0": "no\nnews", "1": "good", "2": "bad"}
    plan = planned(changed("bert_classes", id2label=labels), tmp_path / "named")
    assert plan.metadata["labels"] == "no news\ngood\nbad" and plan.metadata["pooled.kind"] == "classes"
    with pytest.raises(PackError, match="id2label does not name its classes"):
        planned(changed("bert_classes", id2label={"0": "a", "2": "b", "3": "c"}), tmp_path / "gap")
    with pytest.raises(PackError, match=r"classifier.weight: shape \[3, 64\], the configuration asks for \[2, 64\]"):
        planned(changed("bert_classes", id2label=None), tmp_path / "none")


def test_prompts(tmp_path: Path) -> None:
    plan = planned(ENCODERS["sentence_cls"], tmp_path)
    assert json.loads(str(plan.metadata["embedding.prompts"])) == {"query": "the ", "passage": ""}
    assert plan.metadata["pooling"] == "cls" and "pooled.normalize" not in plan.metadata


def test_a_decoder_for_embeddings(tmp_path: Path) -> None:
    """Qwen3-Embedding: the last token's vector."""
    import tiny_models

    model = tiny_models.MODELS["qwen3"]
    directory = tiny_models.write(model, tmp_path)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    found = plan_model(open_source(directory)).metadata
    assert (found["pooling"], found["pooled.normalize"]) == ("last", 1)
    assert "attention.direction" not in found and "head.kind" not in found


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key' is not supp"),
        ("bert", {"pruned_heads": {"0": [1]}}, "pruned_heads = .* is not supported"),
        ("bert", {"is_decoder": True}, "is_decoder = True is not supported"),
        ("bert", {"hidden_act": "mish"}, "the activation 'mish' is not supported"),
        ("bert", {"architectures": ["BertForTokenClassification"]}, "the head of 'BertForTokenClassification' is not"),
        ("bert", {"architectures": ["BertLMHeadModel"]}, "the head of 'BertLMHeadModel' is not supported; of BERT"),
        ("bert", {"architectures": [7]}, "the head of 7 is not supported"),
        ("nomic_masked", {"prenorm": True}, "prenorm = True is not supported, only False"),
        ("nomic_masked", {"rotary_emb_interleaved": True}, "rotary_emb_interleaved = True is not supported"),
        ("nomic_masked", {"num_experts": 8}, "a mixture of experts"),
        ("modernbert_cls", {"classifier_pooling": "max"}, "classifier_pooling 'max' is not supported"),
        ("modernbert", {"classifier_activation": "mish"}, "the activation 'mish' is not supported"),
    ],
)
def test_what_is_refused(tmp_path: Path, name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(PackError, match=message) as caught:
        planned(changed(name, **config), tmp_path)
    assert "\n" not in str(caught.value)


POOLING = {"pooling_mode_mean_tokens": True}
DENSE = {"in_features": WIDTH, "out_features": 8, "activation_function": "torch.nn.modules.activation.Tanh"}


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            (("Pooling", {**POOLING, "pooling_mode_cls_token": True}),),
            "pooling by .* is not supported, only one of c",
        ),
        ((("Pooling", {"pooling_mode_weightedmean_tokens": True}),), "pooling by .*weightedmean"),
        ((("Pooling", {**POOLING, "include_prompt": False}),), "include_prompt = false is not supported"),
        ((("Pooling", {"pooling_mode": ["mean", "cls"]}),), "pooling by .* is not supported"),
        ((("Pooling", POOLING), ("LayerNorm", {"dimension": WIDTH})), "a module 'LayerNorm' at this place"),
        ((("Pooling", POOLING), ("Normalize", {}), ("Dense", DENSE)), "a module 'Dense' at this place"),
        ((("Normalize", {}),), "a module 'Normalize' at this place"),
        ((("Pooling", POOLING), ("Dense", {**DENSE, "in_features": 8})), "in_features is 8, expected 64"),
        ((("Pooling", POOLING), ("Dense", {**DENSE, "activation_function": "a.Mish"})), "activation_function 'Mish'"),
    ],
)
def test_modules_that_are_refused(
    tmp_path: Path, modules: tuple[tuple[str, dict[str, Any]], ...], message: str
) -> None:
    with pytest.raises(PackError, match=message) as caught:
        planned(dataclasses.replace(ENCODERS["bert"], modules=modules), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "{}", "is no list of modules"),
        ("modules.json", "[]", "names no Pooling"),
        ("modules.json", '[{"type": "a.Transformer", "path": "0_Transformer"}]', "the Transformer lies in 0_Transf"),
        ("modules.json", '[{"type": "a.Transformer", "path": "../x"}]', "is no folder of the model's directory"),
        ("1_Pooling/config.json", "[]", "holds list, not an object"),
        ("sentence_bert_config.json", '{"do_lower_case": true}', "do_lower_case = true is not supported"),
        ("sentence_bert_config.json", '{"max_seq_length": "long"}', "max_seq_length is 'long', expected a whole"),
        ("config_sentence_transformers.json", '{"prompts": {"a": 1}}', "prompts are not all texts"),
        ("config_sentence_transformers.json", '{"default_prompt_name": "a"}', "'a' is none of its prompts"),
    ],
)
def test_files_of_sentence_encoders_that_are_damaged(tmp_path: Path, file: str, content: str, message: str) -> None:
    directory = tiny_encoders.write(ENCODERS["sentence_mean"], tmp_path)
    (directory / file).write_text(content)
    with pytest.raises(PackError, match=message) as caught:
        open_source(directory)
    assert "\n" not in str(caught.value)


def test_newer_words_of_sentence_encoders(tmp_path: Path) -> None:
    modules = (("Pooling", {"embedding_dimension": WIDTH, "pooling_mode": "lasttoken"}),)
    plan = planned(dataclasses.replace(ENCODERS["bert"], modules=modules), tmp_path)
    assert plan.metadata["pooling"] == "last"


def test_a_dense_layer_without_its_weights(tmp_path: Path) -> None:
    directory = tiny_encoders.write(ENCODERS["sentence_dense"], tmp_path)
    (directory / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(PackError, match="is missing, or not in safetensors form"):
        open_source(directory)
