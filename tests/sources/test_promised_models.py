"""Every model that docs/architectures.md promises is packed from both of its sources, with a tokenizer in the shape of
the published one, and its tokens are those of package tokenizers."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from gguf_models import architecture, write_gguf
from published_tokenizers import (
    BYTE_LEVEL,
    DIGITS,
    METASPACE,
    PREPENDED,
    REPLACED,
    TEXT,
    Published,
    bytes_alone,
    gemma4,
    parts,
    sentencepiece,
    split,
)
from tiny_encoders import ENCODERS
from tiny_models import MODELS, TinyModel
from tokenizers import Tokenizer

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.architectures import ARCHITECTURES
from rbe_edge.sources.gguf.architectures import DIALECTS
from rbe_edge.sources.tokenizers.pre_tokenizers import (
    CL100K,
    DEEPSEEK3,
    LLAMA3,
    O200K,
    QWEN2,
    QWEN35,
    SPARK,
    TEKKEN,
)

pytest.importorskip("gguf")

DOCS = Path(__file__).resolve().parents[2] / "docs/architectures.md"

_CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_LLAMA2 = ["<unk>", "<s>", "</s>"]
_GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>"]
_TURNS = ["<start_of_turn>", "<end_of_turn>", "</s>", "\n\n"]
_PHI3 = ["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>", "<|system|>"]
_PHI4 = ["<|endoftext|>", "<|endofprompt|>", "<|assistant|>", "<|end|>", "<|user|>", "<|system|>", "<|tool|>"]
_LLAMA3 = ["<|end_of_text|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
_LFM2 = ["<|pad|>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_NEMO = ["</s>", "<s>", "[INST]", "[/INST]"]
_GRANITE = ["<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"]
_EXAONE = ["[|endofturn|]", "[BOS]", "[|system|]", "[|user|]", "[|assistant|]"]
_FALCON3 = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>"]

_ALONE = {"type": "Digits", "individual_digits": True}
_SPARK_TURNS = ["<|User|>", "<|Bot|>", "<think>"]
_SPARK = ["<\uff5cstart\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>", *_SPARK_TURNS]

PUBLISHED: dict[str, Callable[[], Published]] = {
    "GPT-2": lambda: bytes_alone("gpt2", "gpt-2", BYTE_LEVEL, ["<|endoftext|>"]),
    "Llama 2, TinyLlama": lambda: sentencepiece("llama", _LLAMA2, PREPENDED),
    "Llama 3": lambda: bytes_alone(
        "llama_llama3", "llama-bpe", split(LLAMA3), _LLAMA3, bos="<|begin_of_text|>", ignore_merges=True
    ),
    "SmolLM, SmolLM2": lambda: bytes_alone("llama_tied", "smollm", DIGITS, _CHATML),
    "Mistral 0.1": lambda: sentencepiece("mistral_window", _LLAMA2, PREPENDED),
    "Mistral 0.3": lambda: sentencepiece("mistral", _LLAMA2, METASPACE),
    "Mistral Nemo": lambda: bytes_alone("mistral", "tekken", split(TEKKEN), _NEMO, bos="<s>", ignore_merges=True),
    "Qwen2, Qwen2.5": lambda: bytes_alone(
        "qwen2", "qwen2", split(QWEN2), [*_CHATML, "<tool_call>"], ["<tool_call>"], nfc=True
    ),
    "Qwen3": lambda: bytes_alone(
        "qwen3", "qwen2", split(QWEN2), [*_CHATML, "<think>", "</think>"], ["<think>", "</think>"], nfc=True
    ),
    "Qwen3-MoE, Qwen3-30B-A3B": lambda: bytes_alone(
        "qwen3_moe_normalized",
        "qwen2",
        split(QWEN2),
        [*_CHATML, "<think>", "</think>"],
        ["<think>", "</think>"],
        nfc=True,
    ),
    "LFM2-8B-A1B": lambda: bytes_alone("lfm2_moe_hybrid", "llama-bpe", split(LLAMA3), [*_CHATML, "<|startoftext|>"]),
    "LFM2.5-8B-A1B": lambda: bytes_alone(
        "lfm2_moe_hybrid", "llama-bpe", split(CL100K.removesuffix("+")), [*_CHATML, "<|startoftext|>"]
    ),
    "OLMoE": lambda: bytes_alone("olmoe", "olmo", BYTE_LEVEL, ["<|endoftext|>", "<|padding|>"]),
    "Granite 3 MoE": lambda: bytes_alone("granitemoe", "refact", DIGITS, _GRANITE),
    "Qwen2-MoE, Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B": lambda: bytes_alone(
        "qwen2_moe", "qwen2", split(QWEN2), _CHATML, nfc=True
    ),
    "Granite 3 MoE with a shared expert": lambda: bytes_alone("granitemoeshared", "refact", DIGITS, _GRANITE),
    "BitNet b1.58": lambda: bytes_alone(
        "bitnet", "llama-bpe", split(LLAMA3), _LLAMA3, bos="<|begin_of_text|>", ignore_merges=True
    ),
    "Phi-3, Phi-3.5": lambda: sentencepiece("phi3_longrope", _LLAMA2, PREPENDED, _PHI3, add_bos=False, rstrip=True),
    "Phi-4-mini": lambda: bytes_alone("phi4_mini", "gpt-4o", split(O200K, behavior="Removed", invert=True), _PHI4),
    "Spark-X2.5": lambda: bytes_alone(
        "spark", "spark2_5", parts(SPARK.replace(r"\r\n", "\r\n"), _ALONE), _SPARK, _SPARK_TURNS
    ),
    "SmolLM3": lambda: bytes_alone(
        "smollm3", "smaug-bpe", split(LLAMA3), [*_LLAMA3, "<|im_start|>", "<|im_end|>"], ignore_merges=True
    ),
    "Falcon 3": lambda: bytes_alone("llama_head_dim", "falcon3", split(LLAMA3), _FALCON3),
    "Ministral 3": lambda: bytes_alone("ministral3", "tekken", split(TEKKEN), _NEMO, bos="<s>", ignore_merges=True),
    "Granite 3": lambda: bytes_alone("granite", "refact", DIGITS, _GRANITE),
    "OLMo 2": lambda: bytes_alone("olmo2", "dbrx", split(LLAMA3), _CHATML),
    "EXAONE 4": lambda: bytes_alone("exaone4", "exaone4", BYTE_LEVEL, _EXAONE),
    "EXAONE 3.5": lambda: bytes_alone("exaone", "exaone", DIGITS, _EXAONE),
    "Hunyuan 0.5B to 7B": lambda: bytes_alone(
        "hunyuan_v1_dense", "hunyuan-dense", parts(DEEPSEEK3.replace(r"\r\n", "\r\n")), _CHATML
    ),
    "StableLM": lambda: bytes_alone("stablelm", "gpt-2", BYTE_LEVEL, ["<|endoftext|>"]),
    "StableLM 2": lambda: bytes_alone("stablelm_bias", "stablelm2", split(QWEN2), _CHATML),
    "ERNIE 4.5": lambda: sentencepiece("ernie4_5", _LLAMA2, REPLACED, prefix=False),
    "MiniCPM": lambda: sentencepiece("minicpm", _LLAMA2, PREPENDED, ["<|im_start|>", "<|im_end|>"]),
    "Gemma 2": lambda: sentencepiece("gemma2", _GEMMA, REPLACED, _TURNS, ["</s>", "\n\n"], prefix=False),
    "Gemma 3": lambda: sentencepiece("gemma3", _GEMMA, REPLACED, _TURNS, ["</s>", "\n\n"], prefix=False),
    "LFM2, LFM2.5, LFM2-VL": lambda: bytes_alone(
        "lfm2", "lfm2", split(LLAMA3), _LFM2, bos="<|startoftext|>", ignore_merges=True
    ),
    "Qwen3.5": lambda: bytes_alone(
        "qwen3_5", "qwen35", split(QWEN35), [*_CHATML, "<think>", "</think>"], ["<think>", "</think>"], nfc=True
    ),
    "Granite 4": lambda: bytes_alone("granite4", "dbrx", split(LLAMA3), _GRANITE),
    "Gemma 4": lambda: gemma4("gemma4", _GEMMA, ["<|turn>", "<turn|>", "</s>", "\n\n"], ["</s>", "\n\n"]),
}


def texts(published: Published) -> list[str]:
    """What is tokenized: prose, pieces of it, and added tokens between words, with no white space after them."""
    added = [entry["content"] for entry in published.tokenizer["added_tokens"] if entry["content"] != "<unk>"]
    between = "".join(f"{token}small{token}It's" for token in added)
    if published.tokenizer["pre_tokenizer"] == METASPACE["pre_tokenizer"]:
        between = added[-1]  # a space goes before the first word alone, in GGUF files before each
    words = TEXT.split(" ")
    return [TEXT, TEXT[7:90], " ".join(words[::2]), TEXT.upper(), "e\u0301 \U0001f999", between, f"The{added[-1]}", ""]


def resized(published: Published) -> TinyModel:
    model = MODELS[published.model]
    ids = {f"{name}_token_id": published.fields[f"{name}_token_id"] for name in ("bos", "eos")}
    config = {**model.config, **ids, "vocab_size": published.size, "pad_token_id": None}
    if "vocab_size_per_layer_input" in config:
        config["vocab_size_per_layer_input"] = published.size
    return dataclasses.replace(model, config=config)


def _gguf(model: TinyModel, published: Published, path: Path) -> Path:
    fields = dict.fromkeys(["tokenizer.ggml.merges", "tokenizer.ggml.padding_token_id"])
    return write_gguf(
        model, path, changes=fields | {f"tokenizer.ggml.{key}": value for key, value in published.fields.items()}
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_source(tmp_path: Path, name: str) -> None:
    published = PUBLISHED[name]()
    model = resized(published)
    directory = tiny_models.write(model, tmp_path / "m")
    path = directory / "tokenizer.json"
    path.write_text(json.dumps(published.tokenizer, ensure_ascii=False), encoding="utf-8")
    (directory / "tokenizer_config.json").unlink()
    sources = [directory]
    if architecture(model) in {dialect.name for dialect in DIALECTS}:
        sources.append(_gguf(model, published, tmp_path / "m.gguf"))
    reference = Tokenizer.from_file(str(path))
    beginning = [published.fields["bos_token_id"]] if published.fields["model"] in ("llama", "gemma4") else []
    for source in sources:
        report = pack(source, tmp_path / f"{source.name}.rbe", PackOptions(bits=16))
        assert report.notes == ()
        with Model.open(report.path) as opened:
            for text in texts(published):
                expected = reference.encode(text).ids
                assert opened.tokenize(text, special=True, parse_special=True) == expected, (source.name, text)
                plain = [*beginning, *opened.tokenize(text, special=False)]
                assert opened.detokenize(plain) == (text if name[0] != "Q" else text.replace("e\u0301", "\u00e9"))


def test_every_row_of_the_page_is_among_them() -> None:
    """gemma3, gemma4, mistral3, lfm2_vl and qwen3_5, models that also see, have that of their language part."""
    rows = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", DOCS.read_text(encoding="utf-8").split("## Encoders")[0], re.M
    )
    types = {kind for kinds, _ in rows for kind in re.findall(r"`(\w+)`", kinds)} - {
        "gemma3",
        "gemma4",
        "mistral3",
        "lfm2_vl",
        "qwen3_5",
        "model_type",
    }
    decoders = [row for row in ARCHITECTURES if not row.both_directions and row.position != "relative"]
    assert types == {row.model_type for row in decoders}
    packed = {MODELS[PUBLISHED[name]().model].config["model_type"] for name in PUBLISHED}
    assert types == packed
    named = ", ".join(PUBLISHED)
    for _, models in rows:
        for family in re.findall(r"[A-Z][\w.-]*", models.replace("Also", "")):
            assert family in named, family


def test_every_encoder_of_the_page_is_compared() -> None:
    """tests/parity/test_encoders.py compares them."""
    table = DOCS.read_text(encoding="utf-8").split("## Encoders")[1].split("\n## ")[0]
    named = {kind for row in re.findall(r"^\| (`[^|]+) \|", table, re.M) for kind in re.findall(r"`([\w-]+)`", row)}
    types = {row.model_type for row in ARCHITECTURES if row.both_directions}
    assert named - {"model_type"} == types
    assert types == {encoder.config["model_type"] for encoder in ENCODERS.values()}
