"""What all vocabularies of GGUF files share: typed keys, the types of tokens, the tokens with names of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.messages import shown
from rbe_edge.sources.tokenizers.endings import KNOWN_ENDINGS, known_endings
from rbe_edge.sources.tokenizers.gguf_special import NAMED_KEYS, corrected_types
from rbe_edge.sources.tokenizers.tokenizer import TokenType


class Fields:
    """The keys under `tokenizer.` with the types that they must have."""

    def __init__(self, metadata: Mapping[str, Any], where: str) -> None:
        self.metadata = metadata
        self.where = where
        self.notes: list[str] = []  # what was left out

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        value = self.metadata.get(f"tokenizer.{key}")
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise self.damaged(key, f"is {shown(value)}")
        return value

    def list(self, key: str, kind: type | tuple[type, ...], size: int | None = None) -> Any:
        """A list, of so many entries."""
        values = self.get(key, list)
        if values is None:
            raise self.damaged(key, "is missing")
        if not all(isinstance(value, kind) for value in values) or size not in (None, len(values)):
            raise self.damaged(key, f"is no list of {size or 'such'} entries")
        return values

    def token(self, name: str, size: int) -> int | None:
        """The id of a token with a name of its own. One that is no id counts as missing, as in llama.cpp; a note says
        so, unless it is the -1 that stands for none."""
        token: int | None = self.get(f"ggml.{name}_token_id", int)
        if token is None or 0 <= token < size:
            return token
        if token not in (-1, 0xFFFFFFFF):
            self.notes.append(f"{name}_token_id is {token}, but there are {size} tokens; left out")
        return None

    def model_name(self) -> str:
        """What the file calls its model, or nothing."""
        name = self.metadata.get("general.name")
        return name if isinstance(name, str) else ""

    def damaged(self, key: str, what: str) -> TokenizerError:
        return TokenizerError(f"{self.where}: tokenizer.{key} {what}; convert the model again")


class GgufTokens(NamedTuple):
    """types: as llama.cpp corrects them. ends: ids that the file names as ends, by keys, by their type and a name that
    ends texts, or by such a name in its chat template; where it names none, or types no token as a control token, those
    with such a name."""

    texts: list[str]
    types: list[TokenType]
    ends: frozenset[int]


def read_tokens(fields: Fields) -> GgufTokens:
    """The tokens of a file."""
    texts: list[str] = fields.list("ggml.tokens", str)
    numbers = [int(TokenType.NORMAL)] * len(texts)
    if fields.get("ggml.token_type", list) is not None:
        numbers = fields.list("ggml.token_type", int, len(texts))
    named = [key for key in NAMED_KEYS if fields.get(f"ggml.{key}_token_id", int) is not None]
    template = fields.get("chat_template", str) or ""
    keys = [fields.token(name, len(texts)) for name in ("eos", "eot", "eom")]
    ends = {token for token in keys if token is not None}
    named_ends = {texts[token] for token in ends}
    named_ends |= {text for text in KNOWN_ENDINGS if text in template}
    types = corrected_types(texts, numbers, named, named_ends)
    known = known_endings(zip(texts, types, strict=True))
    control = int(TokenType.CONTROL)
    untyped = control not in numbers
    ends |= {token for text, token in known.items() if untyped or text in named_ends or numbers[token] == control}
    return GgufTokens(texts, types, frozenset(ends or known.values()))


def common_fields(fields: Fields, tokens: GgufTokens, add_bos: bool, add_eos: bool = False) -> dict[str, Any]:
    """What all kinds share. add_bos, add_eos: what counts where the file does not say it."""
    n = len(tokens.texts)
    bos, eos, unknown, pad = (fields.token(name, n) for name in ("bos", "eos", "unknown", "padding"))
    return {
        "bos": bos,
        "eos": eos,
        "unknown": unknown,
        "pad": pad,
        "before": (bos,) if fields.get("ggml.add_bos_token", bool, add_bos) and bos is not None else (),
        "after": (eos,) if fields.get("ggml.add_eos_token", bool, add_eos) and eos is not None else (),
        "ends_text": tokens.ends,
        "chat_template": fields.get("chat_template", str),
        "notes": tuple(dict.fromkeys(fields.notes)),
    }
