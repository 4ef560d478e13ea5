"""The engine against transformers itself, where torch and transformers are installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import tiny_recurrent
from parity_cases import CASES, TOLERANCE, Case, reference_model
from test_logits import packed, scored
from tiny_models import TinyModel

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import reference  # noqa: E402  (needs both)


@pytest.mark.parametrize("name", CASES)
def test_logits(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    model = reference.load(tiny_models.write(reference_model(case), tmp_path / "reference"))
    expected = reference.logits(model, case.tokens)
    assert np.abs(scored(packed(case, tmp_path), case) - expected).max() < TOLERANCE


# Those that transformers does not load by themselves: models that also see, and one whose code is its publisher's.
_OTHERS = {
    "gemma3_multimodal",
    "gemma4_multimodal",
    "ministral3_multimodal",
    "minicpm",
    "lfm2_vl",
    "qwen3_5_multimodal",
}


@pytest.mark.parametrize("name", sorted({case.model.name for case in CASES.values()} - _OTHERS))
def test_configurations_as_transformers_writes_them(tmp_path: Path, name: str) -> None:
    """A model that the installed transformers has saved (its present form of config.json) means the same."""
    old = tiny_models.write(tiny_models.MODELS[name], tmp_path / "old")
    model = reference.load(old)
    model.save_pretrained(tmp_path / "new")
    before, after = plan_model(open_source(old)), plan_model(open_source(tmp_path / "new"))
    assert after.metadata == before.metadata
    assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]
    for ours, theirs in zip(after.tensors, before.tensors, strict=True):
        np.testing.assert_array_equal(ours.read(), theirs.read())


def packed_as_saved(case: Case, family: str, config: Any, directory: Path) -> PackReport:
    """A model of random weights that also sees, as transformers saves it, packed. What its text part computes is
    what transformers does."""
    torch.manual_seed(1)
    model = getattr(transformers, f"{family}ForConditionalGeneration")(config).float().eval()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.2, 0.2)
    source = tiny_models.write(case.model, directory / "model")
    (source / "model.safetensors").unlink()
    model.save_pretrained(source)
    expected = reference.logits(model, case.tokens)
    report = pack(source, directory / "m.rbe", PackOptions(bits=32))
    assert np.abs(scored(report.path, case) - expected).max() < TOLERANCE
    return report


@pytest.mark.parametrize("family", ["Gemma3", "Mistral3"])
def test_a_multimodal_model_as_transformers_writes_it(tmp_path: Path, family: str) -> None:
    case = CASES[{"Gemma3": "gemma3_multimodal", "Mistral3": "ministral3_multimodal"}[family]]
    vision = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 8,
        "patch_size": 4,
    }  # fmt: skip
    text = dict(case.model.config["text_config"])
    config = getattr(transformers, f"{family}Config")(text_config=text, vision_config=vision)
    packed_as_saved(case, family, config, tmp_path)


def test_a_hybrid_that_sees_as_transformers_writes_it(tmp_path: Path) -> None:
    case = CASES["lfm2_vl"]
    vision = {
        "model_type": "siglip2_vision_model", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 1, "patch_size": 4, "num_patches": 4,
    }  # fmt: skip
    text = transformers.Lfm2Config(**case.model.config["text_config"])
    config = transformers.Lfm2VlConfig(text_config=text, vision_config=vision, projector_hidden_size=8)
    notes = packed_as_saved(case, "Lfm2Vl", config, tmp_path).notes
    assert any("multi_modal_projector" in note and "left out" in note for note in notes), notes


@pytest.mark.parametrize(("name", "family"), [("qwen3_5", "Qwen3_5"), ("qwen3_5_moe", "Qwen3_5Moe")])
def test_a_recurrent_model_that_sees_as_transformers_writes_it(tmp_path: Path, name: str, family: str) -> None:
    text = tiny_models.MODELS[name].config
    case = Case(name, TinyModel(name, {**tiny_recurrent.seeing(text), "model_type": name}))
    vision = {
        "depth": 1, "hidden_size": 8, "intermediate_size": 8, "num_heads": 1, "patch_size": 4, "out_hidden_size": 64,
        "num_position_embeddings": 16, "temporal_patch_size": 1, "spatial_merge_size": 1,
    }  # fmt: skip
    tied = text["tie_word_embeddings"]
    of_family = getattr(transformers, f"{family}Config")
    config = of_family(text_config=dict(text), vision_config=vision, tie_word_embeddings=tied)
    (note,) = packed_as_saved(case, family, config, tmp_path).notes
    assert "the text model alone is packed" in note


def test_gemma4_that_sees_and_hears_as_transformers_writes_it(tmp_path: Path) -> None:
    case = CASES["gemma4_multimodal"]
    vision = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "num_key_value_heads": 1, "head_dim": 8, "patch_size": 4, "position_embedding_size": 16,
    }  # fmt: skip
    audio = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "output_proj_dims": 8}
    text = dict(case.model.config["text_config"])
    config = transformers.Gemma4Config(text_config=text, vision_config=vision, audio_config=audio)
    (note,) = packed_as_saved(case, "Gemma4", config, tmp_path).notes
    assert "the text model alone is packed" in note


@pytest.mark.parametrize("name", [name for name in CASES if "llama" in name or "phi3" in name or "gemma" in name])
def test_rope_tables(tmp_path: Path, name: str) -> None:
    """The frequencies are those of transformers to the precision of fp32 (theirs are computed in it)."""
    case = CASES[name]
    model = reference.load(tiny_models.write(reference_model(case), tmp_path / "reference"))
    rotary = model.model.rotary_emb
    plan = plan_model(open_source(tiny_models.write(case.model, tmp_path / "ours")))
    tables = {tensor.name: tensor.read() for tensor in plan.tensors if tensor.role == "frequencies"}
    ours = tables["rope.frequencies"]
    if hasattr(rotary, "inv_freq"):
        theirs = [rotary.inv_freq.numpy()]
        assert plan.metadata.get("rope.attention_factor", 1.0) == pytest.approx(rotary.attention_scaling)
    else:
        theirs = [rotary.full_attention_inv_freq.numpy(), rotary.sliding_attention_inv_freq.numpy()]
        theirs = [np.pad(table, (0, ours.shape[1] - len(table))) for table in theirs]  # of narrower heads
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    if "rope.long_frequencies" in tables:
        reference.logits(model, case.tokens + [0] * 24)  # a text above the original context switches them over
        np.testing.assert_allclose(tables["rope.long_frequencies"], [rotary.inv_freq.numpy()], rtol=1e-6)


def _llama(source: Path) -> Any:
    """A llama2.c checkpoint in transformers."""
    opened = open_source(source)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**opened.config))
    weights = {name: torch.from_numpy(tensor.read()) for name, tensor in opened.tensors.items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected  # it is tied
    return model.eval()


def _compare(model: Any, path: Path, tokens: list[int]) -> None:
    expected = reference.logits(model, tokens)
    with Model.open(path) as packed_model, packed_model.session(kv="f32") as session:
        logits = session.score(tokens, logits=True).logits
    assert np.abs(logits - expected).max() < TOLERANCE


def test_stories260k(tmp_path: Path, data_dir: Path) -> None:
    source = data_dir / "stories260K" / "stories260K.bin"
    path = pack(source, tmp_path / "stories.rbe", PackOptions(bits=32)).path
    with Model.open(path) as model:
        tokens = model.tokenize((data_dir / "text" / "tinystories.txt").read_text()[:1500])[:500]
    assert len(tokens) == 500
    _compare(_llama(source), path, tokens)


def test_wiki18m(tmp_path: Path, data_dir: Path) -> None:
    path = pack(data_dir / "wiki18m", tmp_path / "wiki.rbe", PackOptions(bits=32)).path
    text = (data_dir / "text" / "wiki.test.raw").read_text(encoding="utf-8")[:4000]
    with Model.open(path) as model:
        tokens = model.tokenize(text)[:512]
    assert len(tokens) == 512
    _compare(reference.load(data_dir / "wiki18m"), path, tokens)


def test_configuration_keys_are_known_to_transformers() -> None:
    """A key of a tiny configuration that transformers does not know would be compared with nothing."""
    for case in CASES.values():
        model = reference_model(case)
        config = json.loads(json.dumps(model.config.get("text_config", model.config)))
        known = transformers.AutoConfig.for_model(**config).to_dict().keys()
        former = {"rope_theta", "rope_scaling", "rope_local_base_freq", "partial_rotary_factor"}
        former |= {"sliding_window_pattern", "original_max_position_embeddings", "n_ctx", "block_ff_dim"}
        former |= {"num_layers", "layer_norm_epsilon", "activation_function"}  # EXAONE 3.5's words, which it maps
        former |= {"num_experts", "norm_topk_prob"}  # names of other versions, which it maps
        former |= {"global_head_dim", "num_global_key_value_heads"}  # the same of Gemma 4
        former |= {"attn_output_gate", "full_attention_interval"}  # Qwen3.5: always true, and what layer_types says
        assert config.keys() <= known | former, model.name
