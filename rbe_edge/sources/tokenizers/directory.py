"""Finds the tokenizer of a Hugging Face model directory and what its configuration files add to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.json_file import read_json
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers import byte_tokens
from rbe_edge.sources.tokenizers.added_tokens import AddedToken
from rbe_edge.sources.tokenizers.configured_tokens import configured_tokens, special_tokens
from rbe_edge.sources.tokenizers.endings import known_endings
from rbe_edge.sources.tokenizers.hugging_face import read_document, read_vocabulary_and_merges
from rbe_edge.sources.tokenizers.sentencepiece_model import read_sentencepiece, with_configured
from rbe_edge.sources.tokenizers.tokenizer import PreTokenizer, Tokenizer, TokenType
from rbe_edge.sources.tokenizers.tokenizer_classes import (
    NAMES_OF_CLASS,
    class_of_tokenizer,
    prepend_scheme,
    rebuilt,
)
from rbe_edge.sources.tokenizers.word_pieces import read_word_list
from rbe_edge.terminal_text import one_line

# vocab.json and merges.txt do not say how text is cut; the model's kind does. Qwen's tokenizers normalize text (NFC).
PRE_TOKENIZER_OF_MODEL = {
    "gpt2": PreTokenizer.GPT2,
    "qwen2": PreTokenizer.QWEN2,
    "qwen3": PreTokenizer.QWEN2,
}
MODEL_OF_CLASS = {"GPT2Tokenizer": "gpt2", "Qwen2Tokenizer": "qwen2"}


def read_tokenizer(directory: Path, rows: int | None = None) -> Tokenizer:
    """The tokenizer of a model directory: tokenizer.json, else tokenizer.model, else vocab.json with merges.txt, else
    vocab.txt, else spiece.model; ByT5's needs no file.

    rows: of the model's matrices, where they are known; there is then an id for each, and none beyond them.

    tokenizer_config.json, special_tokens_map.json, generation_config.json, config.json and chat_template.jinja add
    special tokens, the ends of text, and the chat template. TokenizerError where nothing usable is found.
    """
    if not directory.is_dir():
        raise TokenizerError(f"{directory} is not a directory; give the model's directory")
    try:
        return _read(directory, rows)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        raise TokenizerError(
            f"{directory}: the configuration of the tokenizer is not built as usual ({one_line(repr(error), 120)}); "
            f"download its files again"
        ) from None


def _read(directory: Path, rows: int | None) -> Tokenizer:
    """Raises what Python raises where configuration files hold other things than they should."""
    configs = _Configs(directory)
    if (directory / "tokenizer.json").is_file():
        tokenizer = configs.tokenizer_json(directory / "tokenizer.json")
    elif (directory / "tokenizer.model").is_file():
        tokenizer = configs.sentencepiece(directory / "tokenizer.model")
    elif (directory / "vocab.json").is_file():
        pre_tokenizer, nfc = configs.vocabulary_rules()
        tokenizer = read_vocabulary_and_merges(
            directory, pre_tokenizer, configs.added_tokens(configs.class_name(None)), nfc=nfc
        )
    elif (directory / "vocab.txt").is_file():
        tokenizer = configs.words(directory / "vocab.txt")
    elif (directory / "spiece.model").is_file():
        tokenizer = configs.t5_pieces(directory / "spiece.model")
    elif configs.tokenizer.get("tokenizer_class") == byte_tokens.CLASS:
        tokenizer = byte_tokens.byte_tokens(configs.tokenizer, f"{directory}/tokenizer_config.json")
    else:
        raise TokenizerError(f"{directory}: no tokenizer.json, tokenizer.model or vocab.json; download the model again")
    return configs.complete(tokenizer if rows is None else tokenizer.fitted_to(rows))


def _optional(path: Path) -> dict[str, Any]:
    value = read_json(path, TokenizerError) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


class _Configs:
    """The configuration files beside a tokenizer, of which any may be missing."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tokenizer = _optional(directory / "tokenizer_config.json")
        self.special = _optional(directory / "special_tokens_map.json")
        self.generation = _optional(directory / "generation_config.json")
        self.model = _optional(directory / "config.json")
        text = self.model.get("text_config")
        #: What may name tokens by their ids: the first that does counts.
        self.models = (self.generation, self.model, text if isinstance(text, dict) else {})
        self._notes: list[str] = []

    def tokenizer_json(self, path: Path) -> Tokenizer:
        """tokenizer.json as transformers reads it: by its class, with the tokens that the other files add."""
        document = read_json(path, TokenizerError)
        if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
            return read_document(document, path)
        name = self.class_name(document)
        built = rebuilt(document, name, self.tokenizer)
        return read_document(built, path, self.added_tokens(name, document, built))

    def sentencepiece(self, path: Path) -> Tokenizer:
        """tokenizer.model, with spaces in front as Llama's classes put them, otherwise as SentencePiece does."""
        name = self.class_name(None)
        scheme = prepend_scheme(name, self.tokenizer) if name in ("LlamaTokenizer", "CodeLlamaTokenizer") else None
        first = self.tokenizer.get("legacy") is False
        return with_configured(read_sentencepiece(path), self.added_tokens(name), scheme, first=first)

    def t5_pieces(self, path: Path) -> Tokenizer:
        """spiece.model, as T5 and its relatives have it: every text ends with </s>."""
        tokenizer = self.sentencepiece(path)
        if tokenizer.eos is None:
            raise TokenizerError(f"{path}: there is no token that ends a text; download the file again")
        return dataclasses.replace(tokenizer, after=(tokenizer.eos,))

    def words(self, path: Path) -> Tokenizer:
        """vocab.txt, which is BERT's: a token a line."""
        document = read_word_list(path)
        name = self.class_name(document)
        if name != "BertTokenizer":
            raise TokenizerError(
                f"{path}: neither tokenizer_class nor model_type says that this is the vocabulary of a BERT; add a "
                f"tokenizer.json"
            )
        built = rebuilt(document, name, self.tokenizer)
        return read_document(built, path, self.added_tokens(name, document, built))

    def class_name(self, document: dict[str, Any] | None) -> str:
        """The class of transformers that reads the tokenizer; document: tokenizer.json, where there is one."""
        return class_of_tokenizer(self.tokenizer, self.model, document)

    def added_tokens(
        self, name: str, document: dict[str, Any] | None = None, built: dict[str, Any] | None = None
    ) -> list[AddedToken]:
        """What the files add to the tokenizer, of the class `name`: of `document`, read as `built`."""
        defaults = NAMES_OF_CLASS.get(name, {})
        older = _optional(self.directory / "added_tokens.json")
        listed, present = ((part or {}).get("added_tokens") or [] for part in (document, built))
        try:
            tokens = configured_tokens(self.tokenizer, self.special, older, listed, present, defaults)
            if name == "Qwen2Tokenizer":  # which adds them once more, without flags
                older_names = {} if "added_tokens_decoder" in self.tokenizer else self.special
                named = special_tokens({**self.tokenizer, **older_names}, defaults)
                tokens += [AddedToken(None, token.content, True, only_known=True) for token in named]
            return tokens
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise TokenizerError(
                f"{self.directory}: added tokens in tokenizer.json or tokenizer_config.json are not built as such "
                f"({one_line(repr(error), 120)}); download the files again"
            ) from None

    def vocabulary_rules(self) -> tuple[PreTokenizer, bool]:
        """How text is cut and whether it is normalized, by the class of the tokenizer or the kind of the model."""
        class_name = str(self.tokenizer.get("tokenizer_class", "")).removesuffix("Fast")
        kind = MODEL_OF_CLASS.get(class_name, self.model.get("model_type"))
        if kind not in PRE_TOKENIZER_OF_MODEL:
            raise TokenizerError(
                f"{self.directory}: vocab.json does not say how text is cut, and neither tokenizer_class "
                f"({shown(class_name or 'missing')}) nor model_type ({shown(kind or 'missing')}) is one of "
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
        bos, eos, pad = (self._token(name, special, tokenizer) for name in ("bos", "eos", "pad"))
        template = self._chat_template()
        return dataclasses.replace(
            tokenizer,
            bos=bos,
            eos=eos,
            pad=pad,
            before=self._affix("add_bos_token", bos, tokenizer.before),
            after=self._affix("add_eos_token", eos, tokenizer.after),
            ends_text=self._ends(tokenizer, eos, template),
            chat_template=template,
            notes=(*tokenizer.notes, *dict.fromkeys(self._notes)),
        )

    def _token(self, name: str, special: dict[str, int], tokenizer: Tokenizer) -> int | None:
        """A named token: what the tokenizer's configuration says, none included, before what the model's says."""
        for config in (self.tokenizer, self.special):
            if f"{name}_token" in config:
                text = _text(config[f"{name}_token"])
                if text is None or text in special:
                    return None if text is None else special[text]
        ids = [token for config in self.models for token in self._ids(config, f"{name}_token_id", tokenizer.size)]
        default: int | None = getattr(tokenizer, name)
        return ids[0] if ids else default

    def _ends(self, tokenizer: Tokenizer, eos: int | None, template: str | None) -> frozenset[int]:
        """The ends that the model names, and those that its chat template does. Where neither names any, the control
        tokens that are called like ends."""
        ends = set() if eos is None else {eos}
        ends |= {token for config in self.models for token in self._ids(config, "eos_token_id", tokenizer.size)}
        texts = (token.decode("utf-8", "replace") for token in tokenizer.tokens)
        known = known_endings(zip(texts, tokenizer.types, strict=True))
        ends |= {token for text, token in known.items() if text in (template or "")}
        return frozenset(ends or known.values())

    def _ids(self, config: Mapping[str, Any], key: str, size: int) -> list[int]:
        """The ids under a key, one or a list of them. What is none is left out; a note says so, unless it is the -1
        with which some files say that there is none."""
        value = config.get(key)
        found = []
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, float) and item.is_integer():
                item = int(item)
            if isinstance(item, int) and not isinstance(item, bool) and 0 <= item < size:
                found.append(item)
            elif item not in (None, -1):
                self._notes.append(f"{key} is {shown(item)}, but there are {size} tokens; left out")
        return found

    def _affix(self, option: str, token: int | None, template: tuple[int, ...]) -> tuple[int, ...]:
        """What stands before or after every text: as tokenizer_config.json says, else as the template does."""
        wanted = self.tokenizer.get(option)
        if not isinstance(wanted, bool):
            return template
        return (token,) if wanted and token is not None else ()

    def _chat_template(self) -> str | None:
        """chat_template.jinja, else tokenizer_config.json's: a string, or a list of named ones with a `default`; else
        that of chat_template.json, as multimodal models have it."""
        path = self.directory / "chat_template.jinja"
        if path.is_file():
            try:
                return path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise TokenizerError(f"{path}: cannot be read as UTF-8 ({error}); download the file again") from None
        template = self.tokenizer.get("chat_template")
        if isinstance(template, list):
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default")
        if template is None:
            template = _optional(self.directory / "chat_template.json").get("chat_template")
        return template if isinstance(template, str) else None


def _text(value: Any) -> str | None:
    """A token as configuration files write it: its text, or an object with its `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None
