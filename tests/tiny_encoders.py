"""Tiny random encoders, as Hugging Face directories, made with numpy alone: weights as those of tiny_models.py.

write(ENCODERS["bert"], directory)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import CONTEXT, WIDTH, Tensors, uniform, write_safetensors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", ",", "'", "##s", "##ing", "##ed", "##er"]
WORDS += [chr(code) for code in range(ord("a"), ord("z") + 1)] + [f"##{chr(code)}" for code in range(97, 123)]
WORDS += "the a of to and in is was it for on that with as at by this he she from they we you not be or have".split()
VOCABULARY = len(WORDS)
CLS, SEP, MASK = 2, 3, 4


@dataclass(frozen=True)
class TinyEncoder:
    """shapes: of its tensors. modules: of sentence-transformers, by their folder, in order: the type and its settings;
    none for a model that has none."""

    name: str
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    modules: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    max_tokens: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    seed: int = 1


FEED_FORWARD, LAYERS, HEADS, LABELS = 96, 2, 4, 3


def _vectors(name: str, size: int = WIDTH) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _dense(name: str, rows: int, cols: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, cols)} | ({f"{name}.bias": (rows,)} if bias else {})


def _bert_shapes(prefix: str, positions: int, segments: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY, WIDTH),
        "embeddings.position_embeddings.weight": (positions, WIDTH),
        "embeddings.token_type_embeddings.weight": (segments, WIDTH),
        **_vectors("embeddings.LayerNorm"),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            found |= _dense(f"{at}.attention.self.{part}", WIDTH, WIDTH)
        found |= _dense(f"{at}.attention.output.dense", WIDTH, WIDTH) | _vectors(f"{at}.attention.output.LayerNorm")
        found |= _dense(f"{at}.intermediate.dense", FEED_FORWARD, WIDTH) | _dense(
            f"{at}.output.dense", WIDTH, FEED_FORWARD
        )
        found |= _vectors(f"{at}.output.LayerNorm")
    return {prefix + name: shape for name, shape in found.items()}


def _masked_shapes(dense: str, norm: str, bias: str) -> dict[str, tuple[int, ...]]:
    return _dense(dense, WIDTH, WIDTH) | _vectors(norm) | {bias: (VOCABULARY,)}


def _classes(n: int) -> dict[str, Any]:
    return {"id2label": {str(i): f"class {i}" for i in range(n)}, "label2id": {f"class {i}": i for i in range(n)}}


def _bert(name: str, kind: str = "Model", n_labels: int = LABELS, **more: Any) -> TinyEncoder:
    fields = {key: more.pop(key) for key in ("modules", "max_tokens", "prompts") if key in more}
    config = {
        "architectures": [f"Bert{kind}"], "model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "intermediate_size": FEED_FORWARD, "max_position_embeddings": CONTEXT,
        "vocab_size": VOCABULARY, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "pad_token_id": 0, **(_classes(n_labels) if "Classification" in kind else {}), **more,
    }  # fmt: skip
    prefix = "" if kind == "Model" else "bert."
    shapes = _bert_shapes(prefix, CONTEXT, 2)
    if kind != "ForMaskedLM":
        shapes |= _dense(f"{prefix}pooler.dense", WIDTH, WIDTH)
    if kind == "ForMaskedLM":
        shapes |= _masked_shapes(
            "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.bias"
        )
    if kind == "ForSequenceClassification":
        shapes |= _dense("classifier", n_labels, WIDTH)
    return TinyEncoder(name, config, shapes, **fields)


def _roberta(name: str, kind: str, model_type: str = "roberta", n_labels: int = LABELS) -> TinyEncoder:
    class_name = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta", "camembert": "Camembert"}[model_type]
    config = {
        "architectures": [class_name + kind], "model_type": model_type, "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": CONTEXT + 1, "vocab_size": VOCABULARY, "type_vocab_size": 1, "hidden_act": "gelu",
        "layer_norm_eps": 1e-5, "pad_token_id": 0, "bos_token_id": CLS, "eos_token_id": SEP,
        **(_classes(n_labels) if "Classification" in kind else {}),
    }  # fmt: skip
    shapes = _bert_shapes("roberta.", CONTEXT + 1, 1)
    if kind == "ForMaskedLM":
        shapes |= _masked_shapes("lm_head.dense", "lm_head.layer_norm", "lm_head.bias")
    else:
        shapes |= _dense("classifier.dense", WIDTH, WIDTH) | _dense("classifier.out_proj", n_labels, WIDTH)
    return TinyEncoder(name, config, shapes)


def _modernbert(name: str, kind: str, layers: int = 4, **more: Any) -> TinyEncoder:
    config = {
        "architectures": [f"ModernBert{kind}"], "model_type": "modernbert", "hidden_size": WIDTH,
        "num_hidden_layers": layers, "num_attention_heads": HEADS, "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": CONTEXT, "vocab_size": VOCABULARY, "hidden_activation": "gelu", "norm_eps": 1e-5,
        "local_attention": 8, "global_attn_every_n_layers": 3, "global_rope_theta": 160000.0,
        "local_rope_theta": 10000.0, "pad_token_id": 0, "cls_token_id": CLS, "sep_token_id": SEP, "bos_token_id": CLS,
        "eos_token_id": SEP, **(_classes(LABELS) if "Classification" in kind else {}), **more,
    }  # fmt: skip
    has_bias = bool(config.get("norm_bias"))

    def norm(at: str) -> dict[str, tuple[int, ...]]:
        return _vectors(at) if has_bias else {f"{at}.weight": (WIDTH,)}

    biased = bool(config.get("attention_bias"))
    shapes: dict[str, tuple[int, ...]] = {"model.embeddings.tok_embeddings.weight": (VOCABULARY, WIDTH)}
    shapes |= norm("model.embeddings.norm") | norm("model.final_norm")
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes |= _dense(f"{at}.attn.Wqkv", 3 * WIDTH, WIDTH, biased) | _dense(f"{at}.attn.Wo", WIDTH, WIDTH, biased)
        shapes |= _dense(f"{at}.mlp.Wi", 2 * FEED_FORWARD, WIDTH, bool(config.get("mlp_bias")))
        shapes |= _dense(f"{at}.mlp.Wo", WIDTH, FEED_FORWARD, bool(config.get("mlp_bias"))) | norm(f"{at}.mlp_norm")
        shapes |= norm(f"{at}.attn_norm") if layer else {}
    if kind != "Model":
        shapes |= _dense("head.dense", WIDTH, WIDTH, bool(config.get("classifier_bias"))) | norm("head.norm")
    if kind == "ForMaskedLM":
        shapes["decoder.bias"] = (VOCABULARY,)
    if kind == "ForSequenceClassification":
        shapes |= _dense("classifier", LABELS, WIDTH)
    return TinyEncoder(name, config, shapes)


def _nomic(name: str, kind: str, **more: Any) -> TinyEncoder:
    config = {
        "architectures": [f"NomicBert{kind}"], "model_type": "nomic_bert", "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": CONTEXT, "vocab_size": VOCABULARY, "type_vocab_size": 2, "hidden_act": "silu",
        "layer_norm_eps": 1e-12, "pad_token_id": 0, "rope_parameters": {"rope_theta": 1000.0, "rope_type": "default"},
        **(_classes(LABELS) if "Classification" in kind else {}), **more,
    }  # fmt: skip
    found: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        **_vectors("emb_ln"),
    }
    for layer in range(LAYERS):
        at = f"encoder.layers.{layer}"
        found |= _dense(f"{at}.attn.Wqkv", 3 * WIDTH, WIDTH, False) | _dense(f"{at}.attn.out_proj", WIDTH, WIDTH, False)
        found |= _dense(f"{at}.mlp.fc11", FEED_FORWARD, WIDTH, False) | _dense(
            f"{at}.mlp.fc12", FEED_FORWARD, WIDTH, False
        )
        found |= _dense(f"{at}.mlp.fc2", WIDTH, FEED_FORWARD, False)
        found |= _vectors(f"{at}.norm1") | _vectors(f"{at}.norm2")
    if kind == "ForSequenceClassification":
        found |= _dense("pooler.dense", WIDTH, WIDTH)
    prefix = "" if kind == "Model" else "nomic_bert."
    shapes = {prefix + key: shape for key, shape in found.items()}
    if kind == "ForMaskedLM":
        shapes |= _masked_shapes(
            "cls.predictions.transform.dense", "cls.predictions.transform.layer_norm", "cls.predictions.bias"
        )
    if kind == "ForSequenceClassification":
        shapes |= _dense("classifier", LABELS, WIDTH)
    return TinyEncoder(name, config, shapes)


def _pooling(mode: str) -> tuple[str, Mapping[str, Any]]:
    modes = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
    return "Pooling", {"word_embedding_dimension": WIDTH, **{f"pooling_mode_{one}": one == mode for one in modes}}


_DENSE_MODULE = (
    "Dense",
    {"in_features": WIDTH, "out_features": 32, "bias": True, "activation_function": "torch.nn.modules.activation.Tanh"},
)

_ALL = (
    _bert("bert"),
    _bert("bert_masked", "ForMaskedLM"),
    _bert("bert_relu", "ForMaskedLM", hidden_act="relu"),
    _bert("bert_classes", "ForSequenceClassification"),
    _bert("bert_score", "ForSequenceClassification", n_labels=1),
    _roberta("roberta_masked", "ForMaskedLM"),
    _roberta("roberta_classes", "ForSequenceClassification"),
    _roberta("xlm_roberta", "ForMaskedLM", "xlm-roberta"),
    _roberta("camembert", "ForSequenceClassification", "camembert"),
    _modernbert("modernbert", "ForMaskedLM"),
    _modernbert("modernbert_classes", "ForSequenceClassification", classifier_pooling="mean", norm_bias=True,
                classifier_bias=True, attention_bias=True, mlp_bias=True),
    _modernbert("modernbert_cls", "ForSequenceClassification"),
    _nomic("nomic_masked", "ForMaskedLM"),
    _nomic("nomic_classes", "ForSequenceClassification"),
    _bert("sentence_mean", modules=(_pooling("mean_tokens"), ("Normalize", {})), max_tokens=32),
    _bert("sentence_cls", modules=(_pooling("cls_token"),), prompts={"query": "the ", "passage": ""}),
    _bert("sentence_max", modules=(_pooling("max_tokens"), _DENSE_MODULE)),
    _bert("sentence_dense", modules=(_pooling("mean_tokens"), _DENSE_MODULE, ("Normalize", {}))),
    _bert("sentence_last", modules=(_pooling("lasttoken"), ("Normalize", {}))),
)  # fmt: skip

ENCODERS: Mapping[str, TinyEncoder] = {encoder.name: encoder for encoder in _ALL}


def _values(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = uniform(name, seed, math.prod(shape)).reshape(shape)
    if name.endswith("bias"):
        values = 0.3 * values
    elif len(shape) == 1:
        values = 0.3 * values + 1
    elif "embeddings" not in name:
        gain = 2.0 if any(part in name for part in (".query.", ".key.", "Wqkv")) else 1.0
        values = gain * math.sqrt(3 / shape[1]) * values
    return values.astype(np.float32)


def tensors(encoder: TinyEncoder) -> Tensors:
    """Its weights, fp32."""
    return {name: _values(name, shape, encoder.seed) for name, shape in encoder.shapes.items()}


def tokenizer_json() -> dict[str, Any]:
    """A WordPiece as BERT's."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": WORDS[i], **flags} for i in range(5)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                     {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]}
                               for name in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {word: i for i, word in enumerate(WORDS)}},
    }  # fmt: skip


def write(encoder: TinyEncoder, directory: Path, dtype: str = "F32") -> Path:
    """Writes the directory of an encoder and returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(encoder.config, indent=1))
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer_json(), ensure_ascii=False), encoding="utf-8")
    settings = {
        "tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
        "pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": CONTEXT,
    }  # fmt: skip
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    write_safetensors(directory / "model.safetensors", tensors(encoder), dtype)
    if encoder.modules:
        _write_modules(encoder, directory)
    return directory


def _write_modules(encoder: TinyEncoder, directory: Path) -> None:
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for number, (kind, settings) in enumerate(encoder.modules, 1):
        path = f"{number}_{kind}"
        listed.append(
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        )
        if kind == "Normalize":
            continue
        (directory / path).mkdir(exist_ok=True)
        (directory / path / "config.json").write_text(json.dumps(settings))
        if kind == "Dense":
            shapes = _dense("linear", settings["out_features"], settings["in_features"])
            weights = {name: _values(f"{path}.{name}", shape, encoder.seed) for name, shape in shapes.items()}
            write_safetensors(directory / path / "model.safetensors", weights)
    (directory / "modules.json").write_text(json.dumps(listed))
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": encoder.max_tokens}))
    (directory / "config_sentence_transformers.json").write_text(json.dumps({"prompts": dict(encoder.prompts)}))
