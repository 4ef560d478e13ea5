"""Small tokenizers in the shape of the published ones: normalizer, pre-tokenizer, post-processor, decoder and added
tokens are as in the tokenizer.json of each model, and the GGUF keys as llama.cpp's converter writes them. Only the
vocabularies are small: made of the bytes, and of pieces that occur in a text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from rbe_edge.sources.tokenizers.pre_tokenizers import HAN, NUMBERS

TEXT = (
    "The battery of a small computer lasts longer when the model is small. It's 42 degrees; we'll see, I'd say!  "
    "In 2024 there were 33 333 of them, or HTTPServer's.\n\n\tdef main(x):\n        return x + 1  # don't\n"
    "\u041d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438 "
    "caf\u00e9 \u6211\u60f3\u5728\u5de5\u4f5c\n"
)

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclass(frozen=True)
class Published:
    """tokenizer: tokenizer.json. fields: the GGUF keys under `tokenizer.ggml.`. model: the tiny model that has it."""

    model: str
    tokenizer: dict[str, Any]
    fields: dict[str, Any]

    @property
    def size(self) -> int:
        return len(self.fields["tokens"])


def _added(first: int, tokens: Sequence[str], plain: Sequence[str], **flags: bool) -> list[dict[str, Any]]:
    """Entries of added_tokens; plain: those that are not special."""
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False} | flags
    return [{"id": first + i, "content": text, **usual, "special": text not in plain} for i, text in enumerate(tokens)]


def _template(token: str, index: int) -> dict[str, Any]:
    """The post-processor that puts a token before every text."""
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [index], "tokens": [token]}},
    }


def _byte_level(**options: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True} | options


def split(pattern: str, **options: Any) -> dict[str, Any]:
    """A pre-tokenizer of an expression, and the bytes of its pieces."""
    step = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} | options
    return {"type": "Sequence", "pretokenizers": [step, _byte_level(use_regex=False)]}


def parts(pattern: str, *more: dict[str, Any]) -> dict[str, Any]:
    """Numbers and Han set apart, then an expression, and the bytes of its pieces."""
    steps = [split(one)["pretokenizers"][0] for one in (NUMBERS, HAN, pattern)]
    return {"type": "Sequence", "pretokenizers": [*steps, *more, _byte_level(use_regex=False)]}


def bytes_alone(
    model: str,
    pre: str,
    pre_tokenizer: dict[str, Any],
    added: Sequence[str],
    plain: Sequence[str] = (),
    bos: str | None = None,
    *,
    nfc: bool = False,
    ignore_merges: bool = False,
) -> Published:
    """A byte-level BPE. added: its added tokens, plain: those that are not special, bos: what begins every text."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator([TEXT] * 3, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet))
    trained_model = json.loads(trained.to_str())["model"]
    vocabulary = dict(sorted(trained_model["vocab"].items(), key=lambda item: item[1]))
    first = len(vocabulary)
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in trained_model["merges"]]
    ids = {text: first + i for i, text in enumerate(added)}
    post: dict[str, Any] = _byte_level(trim_offsets=False)
    if bos is not None:
        post = {"type": "Sequence", "processors": [post, _template(bos, ids[bos])]}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": _added(first, added, plain),
        "normalizer": {"type": "NFC"} if nfc else None, "pre_tokenizer": pre_tokenizer, "post_processor": post,
        "decoder": _byte_level(),
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges,
            "vocab": vocabulary, "merges": merges,
        },
    }  # fmt: skip
    fields = {
        "model": "gpt2", "pre": pre, "tokens": [*vocabulary, *added], "merges": [" ".join(pair) for pair in merges],
        "token_type": [NORMAL] * first + [USER_DEFINED if text in plain else CONTROL for text in added],
        "bos_token_id": ids.get(bos or ""), "eos_token_id": ids[added[0]], "add_bos_token": bos is not None,
    }  # fmt: skip
    return Published(model, tokenizer, fields)


def sentencepiece(
    model: str,
    control: Sequence[str],
    rules: dict[str, Any],
    added: Sequence[str] = (),
    plain: Sequence[str] = (),
    *,
    prefix: bool = True,
    add_bos: bool = True,
    **flags: bool,
) -> Published:
    """A BPE converted from SentencePiece. control: what its first ids are, with <unk> and BOS among them; added, plain,
    flags: of the tokens after the vocabulary. prefix: whether a space is put before a text."""
    trained = Tokenizer(models.BPE())
    text = TEXT.replace(" ", "\u2581")
    trained.train_from_iterator([text] * 3, trainers.BpeTrainer(vocab_size=260, show_progress=False))
    pieces = [piece for piece, _ in sorted(trained.get_vocab().items(), key=lambda item: item[1])]
    letters = [piece for piece in pieces if len(piece) == 1]
    longer = [piece for piece in pieces if len(piece) > 1 and piece not in added]
    tokens = [*control, *(f"<0x{byte:02X}>" for byte in range(256)), *longer, *letters]
    vocabulary = {piece: index for index, piece in enumerate(tokens)}
    known = set(longer) | set(letters)
    cuts = [(piece[:at], piece[at:]) for piece in longer for at in range(1, len(piece))]
    merges = [[left, right] for left, right in cuts if left in known and right in known]
    first, unknown = len(tokens), control.index("<unk>")
    bos = next(token for token in control if token in ("<s>", "<bos>"))
    beginning = _added(0, control, ())
    beginning = [entry | {"special": entry["content"] not in plain} for entry in beginning]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": beginning + _added(first, added, plain, **flags),
        "post_processor": _template(bos, vocabulary[bos]) if add_bos else None,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []),
        ]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": vocabulary, "merges": merges,
        },
    } | rules  # fmt: skip
    types = [UNKNOWN if token == "<unk>" else CONTROL for token in control] + [BYTE] * 256 + [NORMAL] * len(known)
    fields = {
        "model": "llama", "pre": "default", "tokens": tokens + [text.replace("\u2581", " ") for text in added],
        "token_type": types + [USER_DEFINED if text in plain else CONTROL for text in added],
        "scores": [0.0] * (len(control) + 256) + [-float(i) for i in range(len(known))] + [-1000.0] * len(added),
        "bos_token_id": vocabulary[bos], "eos_token_id": vocabulary[control[-1] if bos == "<s>" else "<eos>"],
        "unknown_token_id": unknown, "add_bos_token": add_bos, "add_space_prefix": prefix,
    }  # fmt: skip
    return Published(model, tokenizer, fields)


def gemma4(model: str, control: Sequence[str], added: Sequence[str], plain: Sequence[str]) -> Published:
    """As Gemma before it; in GGUF files its merges stand instead of the order of its scores."""
    before = sentencepiece(model, control, REPLACED, added, plain, prefix=False)
    merges = [" ".join(pair) for pair in before.tokenizer["model"]["merges"]]
    keys = {"model": "gemma4", "pre": None, "merges": merges}
    return Published(model, before.tokenizer, {**before.fields, **keys})


_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
#: Llama 2, TinyLlama, the first Mistral, Phi-3.
PREPENDED = {
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, _SPACES]},
    "pre_tokenizer": None,
}
#: Mistral from version 0.3 on.
METASPACE = {
    "normalizer": None,
    "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False},
}
#: Gemma.
REPLACED = {
    "normalizer": _SPACES,
    "pre_tokenizer": {
        "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False,
    },
}  # fmt: skip
#: SmolLM.
DIGITS = {
    "type": "Sequence",
    "pretokenizers": [{"type": "Digits", "individual_digits": True}, _byte_level()],
}
BYTE_LEVEL = _byte_level()
