"""Which class of transformers reads a tokenizer, and what the class makes of its file.

transformers 5 takes some tokenizers apart and builds them again as their class says (models/*/tokenization_*.py). Of
tokenizer.json only the vocabulary, the merges and the post-processor stay. `TokenizersBackend` takes the file as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers.pre_tokenizers import ESCAPED_SPACE, read_text_rules
from rbe_edge.sources.tokenizers.tokenizer import PreTokenizer

BACKEND = "TokenizersBackend"

# TOKENIZER_MAPPING_NAMES of transformers.models.auto.tokenization_auto, for models that can be packed. Where a file
# names another class than the one given here, the file's counts, except for BACKEND and for models in CORRECTED.
CLASS_OF_MODEL = {
    "bert": "BertTokenizer",
    "code_llama": "CodeLlamaTokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "distilbert": "BertTokenizer",
    "electra": "BertTokenizer",
    "gpt2": "GPT2Tokenizer",
    "mistral": BACKEND,
    "phi3": BACKEND,
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
}
CORRECTED = frozenset({"qwen2"})

# The tokens that a class has where its file names none.
_LLAMA_NAMES = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
_INFILLING = {
    "prefix_token": "\u2581<PRE>",
    "middle_token": "\u2581<MID>",
    "suffix_token": "\u2581<SUF>",
    "eot_token": "\u2581<EOT>",
    "fill_token": "<FILL_ME>",
}
NAMES_OF_CLASS: dict[str, dict[str, str]] = {
    "BertTokenizer": {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    },
    "CodeLlamaTokenizer": {**_LLAMA_NAMES, **_INFILLING},
    "GPT2Tokenizer": dict.fromkeys(("unk_token", "bos_token", "eos_token"), "<|endoftext|>"),
    "GemmaTokenizer": {
        "unk_token": "<unk>",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    },
    "LlamaTokenizer": _LLAMA_NAMES,
    "Qwen2Tokenizer": dict.fromkeys(("unk_token", "eos_token", "pad_token"), "<|endoftext|>"),
}


def class_of_tokenizer(config: Mapping[str, Any], model: Mapping[str, Any], document: Mapping[str, Any] | None) -> str:
    """The name of the class, without Fast: a key of NAMES_OF_CLASS, or BACKEND for all others.

    config: tokenizer_config.json. model: config.json. document: tokenizer.json, where there is one.
    """
    model_type = str(model.get("model_type") or "")
    registered = CLASS_OF_MODEL.get(model_type)
    named = config.get("tokenizer_class") or model.get("tokenizer_class")
    if not isinstance(named, str):
        chosen = registered or BACKEND
    elif registered == BACKEND or (registered is not None and model_type in CORRECTED):
        chosen = registered
    else:
        chosen = named.removesuffix("Fast")
    words = document is not None and _has_words(document)
    if words or chosen == "BertTokenizer":
        return chosen if words and chosen == "BertTokenizer" else BACKEND
    byte_level = document is not None and (
        _has_byte_level(document, "pre_tokenizer") or _has_byte_level(document, "decoder")
    )
    escapes = chosen in ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer")
    if document is not None and byte_level == escapes:
        return BACKEND  # a class for vocabularies of another kind would only garble it
    return chosen if chosen in NAMES_OF_CLASS else BACKEND


def rebuilt(document: dict[str, Any], name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json as its class builds it again, without added tokens.

    A byte-level one keeps the way that its text is cut, even where the class has another: SmolLM's digits stay apart.
    Qwen2's class brings text into NFC.
    """
    if name == BACKEND:
        return document
    if name == "BertTokenizer":
        return _bert(document, config)
    model = dict(document["model"])
    changes: dict[str, Any] = {"normalizer": None}
    if name in ("GPT2Tokenizer", "Qwen2Tokenizer"):
        changes["pre_tokenizer"] = _with_prefix_space(
            document.get("pre_tokenizer"), bool(config.get("add_prefix_space"))
        )
        if name == "Qwen2Tokenizer":
            changes["normalizer"] = {"type": "NFC"} if _is_qwen2(document) else document.get("normalizer")
        model["unk_token"] = None
    else:
        model |= {"fuse_unk": True, "byte_fallback": True, "ignore_merges": False}
        unknown = config.get("unk_token", "<unk>")
        unknown = unknown.get("content") if isinstance(unknown, dict) else unknown
        model["unk_token"] = None if name == "LlamaTokenizer" else unknown
        if name == "GemmaTokenizer":
            changes["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": ESCAPED_SPACE}
            changes["pre_tokenizer"] = None
        else:
            scheme = prepend_scheme(name, config)
            metaspace = {"type": "Metaspace", "replacement": ESCAPED_SPACE, "prepend_scheme": scheme, "split": False}
            changes["pre_tokenizer"] = metaspace
    return {**document, **changes, "model": model, "added_tokens": []}


def _bert(document: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """BERT's, whose class goes by the configuration: without `do_lower_case` text is brought into lower case, whatever
    tokenizer.json says."""
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": bool(config.get("tokenize_chinese_chars", True)),
        "strip_accents": config.get("strip_accents"),
        "lowercase": bool(config.get("do_lower_case", True)),
    }
    model = dict(document["model"])
    vocabulary = model.get("vocab") or {}
    around = []
    for key, usual in (("sep_token", "[SEP]"), ("cls_token", "[CLS]")):
        text = config.get(key, usual)
        text = text.get("content") if isinstance(text, dict) else text
        around.append([text, vocabulary.get(text)])
    if all(index is not None for _, index in around):
        post_processor: Any = {"type": "BertProcessing", "sep": around[0], "cls": around[1]}
    else:
        post_processor = document.get("post_processor")
    unknown = config.get("unk_token", "[UNK]")
    model |= {
        "unk_token": unknown.get("content") if isinstance(unknown, dict) else unknown,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    return {
        **document,
        "normalizer": normalizer,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": post_processor,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": model,
        "added_tokens": [],
    }


def _has_words(document: Mapping[str, Any]) -> bool:
    model = document.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    return kind == "WordPiece" or (kind is None and isinstance(model, dict) and "continuing_subword_prefix" in model)


def prepend_scheme(name: str, config: Mapping[str, Any]) -> str:
    """Where Llama's tokenizers put a space in front: `always`, `first` or `never`."""
    if config.get("add_prefix_space") is False:
        return "never"
    return "always" if name == "LlamaTokenizer" and config.get("legacy", False) else "first"


def _has_byte_level(document: Mapping[str, Any], part: str) -> bool:
    entry = document.get(part)
    steps = [entry, *(entry.get("pretokenizers") or entry.get("decoders") or [])] if isinstance(entry, dict) else []
    return any(isinstance(step, dict) and step.get("type") == "ByteLevel" for step in steps)


def _is_qwen2(document: Mapping[str, Any]) -> bool:
    """Whether a tokenizer.json cuts text as Qwen2's does."""
    try:
        return read_text_rules({**document, "normalizer": None}, "").pre_tokenizer is PreTokenizer.QWEN2
    except (TokenizerError, AttributeError, TypeError):
        return False  # what is wrong with it is said where it is read


def _with_prefix_space(entry: Any, wanted: bool) -> Any:
    """A pre-tokenizer whose ByteLevel puts a space in front, or none."""
    if not isinstance(entry, dict):
        return entry
    if entry.get("type") == "ByteLevel":
        return {**entry, "add_prefix_space": wanted}
    if isinstance(entry.get("pretokenizers"), list) and not wanted:
        return {**entry, "pretokenizers": [_with_prefix_space(part, wanted) for part in entry["pretokenizers"]]}
    return entry
