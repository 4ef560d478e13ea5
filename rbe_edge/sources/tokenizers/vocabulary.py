"""The parts of a tokenizer.json that all kinds of tokenizers share: vocabulary, added tokens, post-processor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers.added_tokens import AddedToken, AddedVocabulary, read_added_token
from rbe_edge.sources.tokenizers.byte_level import to_bytes
from rbe_edge.sources.tokenizers.pre_tokenizers import ESCAPED_SPACE, SUPPORTED
from rbe_edge.sources.tokenizers.tokenizer import TokenType
from rbe_edge.terminal_text import one_line

BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def added_vocabulary(
    vocabulary: Mapping[str, int], document: Mapping[str, Any], more: Sequence[AddedToken]
) -> AddedVocabulary:
    """The added tokens of a tokenizer.json, and more."""
    added = AddedVocabulary(vocabulary)
    added.add(read_added_token(entry, entry["id"]) for entry in document.get("added_tokens") or [])
    added.add(more)
    return added


def assemble(
    vocabulary: dict[str, int],
    added: AddedVocabulary,
    path: Path,
    *,
    byte_level: bool,
    byte_fallback: bool,
    escaped_spaces: bool,
) -> tuple[tuple[bytes, ...], tuple[TokenType, ...]]:
    """Bytes and types of all ids. Ids that nothing uses become unused tokens without bytes."""
    ids = [*vocabulary.values(), *(index for index, _ in added.tokens())]
    if not ids or min(ids) < 0 or max(ids) >= 2 * len(ids) + 1024:
        raise TokenizerError(f"{path}: ids do not number the {len(ids)} tokens; download the file again")
    tokens = [b""] * (max(ids) + 1)
    types = [TokenType.UNUSED] * len(tokens)
    for text, index in vocabulary.items():
        types[index] = TokenType.NORMAL
        byte = BYTE_TOKEN.fullmatch(text) if byte_fallback else None
        if byte_level:
            tokens[index] = to_bytes(text)
        elif byte is not None:
            types[index] = TokenType.BYTE
            tokens[index] = bytes([int(byte[1], 16)])
        else:
            tokens[index] = (text.replace(ESCAPED_SPACE, " ") if escaped_spaces else text).encode("utf-8", "replace")
    for index, token in added.tokens():
        if types[index] is TokenType.BYTE:
            continue
        content = token.content.replace(ESCAPED_SPACE, " ") if escaped_spaces else token.content
        tokens[index] = content.encode("utf-8", "replace")
        types[index] = TokenType.CONTROL if token.special else TokenType.USER_DEFINED
    return tuple(tokens), tuple(types)


def with_unknown(types: tuple[TokenType, ...], unknown: int | None) -> tuple[TokenType, ...]:
    """The types, with the unknown token marked as such where it would be a normal one."""
    if unknown is None or types[unknown] is not TokenType.NORMAL:
        return types
    return (*types[:unknown], TokenType.UNKNOWN, *types[unknown + 1 :])


def affixes(entry: Any, path: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that a post-processor puts before and after a text."""
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    if entry is None:
        return before, after
    kind = entry.get("type")
    if kind == "Sequence":
        for part in entry.get("processors") or []:
            inner_before, inner_after = affixes(part, path)
            before, after = inner_before + before, after + inner_after
    elif kind == "TemplateProcessing":
        ids = {name: tuple(token["ids"]) for name, token in (entry.get("special_tokens") or {}).items()}
        seen_text = False
        for item in entry.get("single") or []:
            if "Sequence" in item:
                seen_text = True
            elif seen_text:
                after += ids[item["SpecialToken"]["id"]]
            else:
                before += ids[item["SpecialToken"]["id"]]
    elif kind in ("BertProcessing", "RobertaProcessing"):
        before, after = (int(entry["cls"][1]),), (int(entry["sep"][1]),)
    elif kind != "ByteLevel":
        raise TokenizerError(
            f"{path}: the post-processor {one_line(str(kind), 40)} is not supported; supported are {SUPPORTED}"
        )
    return before, after
