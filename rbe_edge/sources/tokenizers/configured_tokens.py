"""What tokenizer_config.json, special_tokens_map.json and added_tokens.json add to a tokenizer.

transformers 5 decides what counts: `_from_pretrained` in tokenization_utils_base.py and `TokenizersBackend.__init__` in
tokenization_utils_tokenizers.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rbe_edge.sources.tokenizers.added_tokens import AddedToken, read_added_token

# The names of tokens that every tokenizer may have.
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def configured_tokens(
    config: Mapping[str, Any],
    special_map: Mapping[str, Any],
    older: Mapping[str, Any],
    listed: Iterable[Mapping[str, Any]],
    present: Iterable[Mapping[str, Any]],
    defaults: Mapping[str, str],
) -> list[AddedToken]:
    """The tokens to add, in their order.

    config: tokenizer_config.json.
    special_map, older, listed: special_tokens_map.json, added_tokens.json, and the added tokens of tokenizer.json. They
    count only where config has no added_tokens_decoder.
    present: the tokens that are added already.
    defaults: names that the class of the tokenizer gives to tokens.

    Raises KeyError, TypeError, ValueError or AttributeError where entries are damaged.
    """
    if "added_tokens_decoder" in config:
        numbered = _numbered(config["added_tokens_decoder"])
    else:
        texts = {text for text in (config.get(name) for name in NAMES) if isinstance(text, str)}
        texts |= {token.content for token in _extra(config)}
        texts |= {token.content for token in special_tokens(special_map, {})}
        config = {**config, **special_map}
        numbered = {
            int(index): AddedToken(int(index), text, text in texts, normalized=text not in texts)
            for text, index in older.items()
        }
        numbered |= _numbered({str(entry["id"]): entry for entry in listed})
    known = {entry["content"]: read_added_token(entry, None) for entry in present}
    tokens = [
        token
        for _, token in sorted(numbered.items())
        if dataclasses.replace(token, id=None) != known.get(token.content)
    ]
    named = list(_named(config, defaults))
    texts = {token.content for token in named}
    tokens = [dataclasses.replace(token, special=token.special or token.content in texts) for token in tokens]
    seen = known.keys() | {token.content for token in tokens}
    for token in [*named, *_extra(config)]:  # one text may be named twice, with other flags: the last count
        if token.content not in seen and token not in tokens:
            tokens.append(token)
    return tokens


def special_tokens(config: Mapping[str, Any], defaults: Mapping[str, str]) -> Iterator[AddedToken]:
    """The tokens that have names, then those that only are special."""
    yield from _named(config, defaults)
    yield from _extra(config)


def _numbered(entries: Mapping[str, Any]) -> dict[int, AddedToken]:
    return {int(index): read_added_token(entry, int(index)) for index, entry in entries.items()}


def _named(config: Mapping[str, Any], defaults: Mapping[str, str]) -> Iterator[AddedToken]:
    for name, text in defaults.items():
        if name not in config:
            yield AddedToken(None, text, True, only_known=True)
    own = [name for name in config if name.endswith("_token") and name not in NAMES]
    extra = config.get("extra_special_tokens")
    values = [config.get(name) for name in (*NAMES, *own)] + list(extra.values() if isinstance(extra, dict) else [])
    for value in values:
        if isinstance(value, str):
            yield AddedToken(None, value, True)
        elif isinstance(value, dict):
            yield read_added_token(value, None, special=True)


def _extra(config: Mapping[str, Any]) -> Iterator[AddedToken]:
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens")
    for value in extra if isinstance(extra, list) else []:
        yield AddedToken(None, value, True) if isinstance(value, str) else read_added_token(value, None)
