"""Finds the tokenizer of a Hugging Face model directory and what its configuration files add to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers.endings import known_endings
from rbe_edge.sources.tokenizers.hugging_face import (
    AddedToken,
    read_json,
    read_tokenizer_json,
    read_vocabulary_and_merges,
    with_strips,
)
from rbe_edge.sources.tokenizers.sentencepiece_model import read_sentencepiece
from rbe_edge.sources.tokenizers.tokenizer import PreTokenizer, Tokenizer, TokenType

# vocab.json and merges.txt do not say how text is cut; the model's kind does. Qwen's tokenizers normalize text (NFC).
PRE_TOKENIZER_OF_MODEL = {
    "gpt2": PreTokenizer.GPT2,
    "qwen2": PreTokenizer.QWEN2,
    "qwen3": PreTokenizer.QWEN2,
}
MODEL_OF_CLASS = {"GPT2Tokenizer": "gpt2", "Qwen2Tokenizer": "qwen2"}


def read_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of a model directory: tokenizer.json, else tokenizer.model, else vocab.json with merges.txt.

    tokenizer_config.json, special_tokens_map.json, generation_config.json, config.json and chat_template.jinja add
    special tokens, the ends of text, and the chat template. TokenizerError where nothing usable is found.
    """
    if not directory.is_dir():
        raise TokenizerError(f"{directory} is not a directory; give the model's directory")
    configs = _Configs(directory)
    if (directory / "tokenizer.json").is_file():
        tokenizer = read_tokenizer_json(directory / "tokenizer.json")
    elif (directory / "tokenizer.model").is_file():
        tokenizer = _with_added(read_sentencepiece(directory / "tokenizer.model"), configs.added_tokens())
    elif (directory / "vocab.json").is_file():
        pre_tokenizer, nfc = configs.vocabulary_rules()
        tokenizer = read_vocabulary_and_merges(directory, pre_tokenizer, configs.added_tokens(), nfc=nfc)
    else:
        raise TokenizerError(f"{directory}: no tokenizer.json, tokenizer.model or vocab.json; download the model again")
    return configs.complete(tokenizer)


def _optional(path: Path) -> dict[str, Any]:
    value = read_json(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


class _Configs:
    """The configuration files beside a tokenizer, of which any may be missing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tokenizer = _optional(directory / "tokenizer_config.json")
        self.special = _optional(directory / "special_tokens_map.json")
        self.generation = _optional(directory / "generation_config.json")
        self.model = _optional(directory / "config.json")

    def added_tokens(self) -> list[AddedToken]:
        """Of tokenizer_config.json, else of the older added_tokens.json, whose tokens that are named special are."""
        entries = self.tokenizer.get("added_tokens_decoder")
        if isinstance(entries, dict) and entries:
            return [
                AddedToken(
                    int(index),
                    entry["content"],
                    bool(entry.get("special")),
                    bool(entry.get("lstrip")),
                    bool(entry.get("rstrip")),
                )
                for index, entry in entries.items()
            ]
        special = {_text(value) for key, value in self.special.items() if key != "additional_special_tokens"}
        special |= {_text(value) for value in self.special.get("additional_special_tokens") or []}
        added = _optional(self.directory / "added_tokens.json")
        return [AddedToken(index, content, content in special) for content, index in added.items()]

    def vocabulary_rules(self) -> tuple[PreTokenizer, bool]:
        """How text is cut and whether it is normalized, by the class of the tokenizer or the kind of the model."""
        class_name = str(self.tokenizer.get("tokenizer_class", "")).removesuffix("Fast")
        kind = MODEL_OF_CLASS.get(class_name, self.model.get("model_type"))
        if kind not in PRE_TOKENIZER_OF_MODEL:
            raise TokenizerError(
                f"{self.directory}: vocab.json does not say how text is cut, and neither tokenizer_class "
                f"({class_name or 'missing'}) nor model_type ({kind or 'missing'}) is one of "
                f"{', '.join([*MODEL_OF_CLASS, *PRE_TOKENIZER_OF_MODEL])}; add a tokenizer.json"
            )
        return PRE_TOKENIZER_OF_MODEL[kind], kind != "gpt2"

    def complete(self, tokenizer: Tokenizer) -> Tokenizer:
        """The tokenizer with BOS, EOS, padding, the ends of text and the chat template."""
        special = {
            text.decode("utf-8", "replace"): index
            for index, (text, kind) in enumerate(zip(tokenizer.tokens, tokenizer.types, strict=True))
            if kind in (TokenType.CONTROL, TokenType.USER_DEFINED) and text
        }
        bos = self._token("bos", special, tokenizer.bos)
        eos = self._token("eos", special, tokenizer.eos)
        pad = self._token("pad", special, tokenizer.pad)
        ends = {eos} - {None} | known_endings(special)
        for config in (self.generation, self.model):
            ends |= set(_ids(config.get("eos_token_id")))
        return dataclasses.replace(
            tokenizer,
            bos=bos,
            eos=eos,
            pad=pad if pad is not None and pad < tokenizer.size else None,
            before=self._affix("add_bos_token", bos, tokenizer.before),
            after=self._affix("add_eos_token", eos, tokenizer.after),
            ends_text=frozenset(index for index in ends if index is not None and index < tokenizer.size),
            chat_template=self._chat_template(),
        )

    def _token(self, name: str, special: dict[str, int], default: int | None) -> int | None:
        """A named token: what the tokenizer's configuration says, none included, before what the model's says."""
        for config in (self.tokenizer, self.special):
            if f"{name}_token" in config:
                text = _text(config[f"{name}_token"])
                if text is None or text in special:
                    return None if text is None else special[text]
        for config in (self.generation, self.model):
            ids = _ids(config.get(f"{name}_token_id"))
            if ids:
                return ids[0]
        return default

    def _affix(self, option: str, token: int | None, template: tuple[int, ...]) -> tuple[int, ...]:
        """What stands before or after every text: as tokenizer_config.json says, else as the template does."""
        wanted = self.tokenizer.get(option)
        if not isinstance(wanted, bool):
            return template
        return (token,) if wanted and token is not None else ()

    def _chat_template(self) -> str | None:
        """chat_template.jinja, else tokenizer_config.json's: a string, or a list of named ones with a `default`."""
        path = self.directory / "chat_template.jinja"
        if path.is_file():
            return path.read_text(encoding="utf-8")
        template = self.tokenizer.get("chat_template")
        if isinstance(template, list):
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default")
        return template if isinstance(template, str) else None


def _text(value: Any) -> str | None:
    """A token as configuration files write it: its text, or an object with its `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _ids(value: Any) -> list[int]:
    """An id or a list of ids; -1 is how some files say that there is none."""
    values: Iterable[Any] = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, int) and not isinstance(item, bool) and item >= 0]


def _with_added(tokenizer: Tokenizer, added: list[AddedToken]) -> Tokenizer:
    """A SentencePiece tokenizer with the tokens that were added to it afterwards."""
    size = max([tokenizer.size, *(token.id + 1 for token in added)])
    if size > tokenizer.size + len(added) + 1024:
        raise TokenizerError(f"the added tokens go up to id {size - 1}, the tokenizer has {tokenizer.size} tokens")
    padded = tokenizer.padded_to(size)
    tokens, types = list(padded.tokens), list(padded.types)
    for token in added:
        if types[token.id] not in (TokenType.UNKNOWN, TokenType.BYTE):
            tokens[token.id] = token.content.encode("utf-8")
            types[token.id] = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
    return with_strips(dataclasses.replace(padded, tokens=tuple(tokens), types=tuple(types)), added)
