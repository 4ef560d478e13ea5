"""Normalization as a list of steps: read from the normalizer of a tokenizer.json, and applied to single texts.

The C library does the same to whole texts (native/src/text/tokenizer/steps.c). Here it serves what is looked for in
normalized text.
"""

from __future__ import annotations

import base64
import binascii
import enum
import struct
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.messages import shown

MAX_STEPS = 16
MAX_REPLACEMENT_BYTES = 256
_MAX_KEY_BYTES = 64


class StepKind(enum.IntEnum):
    """What a step does; docs/tokenizers.md describes them."""

    CHARSMAP = 1
    CLEAN = 2
    SPACE_HAN = 3
    NFC = 4
    NFD = 5
    DROP_MARKS = 6
    LOWER = 7
    STRIP = 8
    REPLACE = 9
    SQUEEZE = 10


class Keys(enum.IntEnum):
    """How keys of the map of characters are looked for: the longest at each place, as llama.cpp does; by clusters of
    characters, as package tokenizers does; the longest where no user-defined token begins, as SentencePiece does."""

    LONGEST = 0
    OF_CLUSTERS = 1
    BESIDE_TOKENS = 2


@dataclass(frozen=True)
class Step:
    """A step. option: a number whose meaning depends on the kind. old, new: of REPLACE; SQUEEZE has `new` alone."""

    kind: StepKind
    option: int = 0
    old: str = ""
    new: str = ""

    def __post_init__(self) -> None:
        longest = max(len(self.old.encode("utf-8")), len(self.new.encode("utf-8")))
        if longest > MAX_REPLACEMENT_BYTES:
            raise TokenizerError(
                f"a normalizer that replaces or puts {longest} bytes; {MAX_REPLACEMENT_BYTES} are supported"
            )


@dataclass(frozen=True)
class Normalization:
    """Steps, and the map of characters (SentencePiece's precompiled_charsmap) that one of them may need."""

    steps: tuple[Step, ...] = ()
    charsmap: bytes = b""

    def __post_init__(self) -> None:
        if len(self.steps) > MAX_STEPS:
            raise TokenizerError(f"a normalizer of {len(self.steps)} steps; {MAX_STEPS} are supported")
        if self.charsmap:
            _check_charsmap(self.charsmap)

    def apply(self, text: str) -> str:
        """The normalized text."""
        for step in self.steps:
            text = _apply(step, text, self.charsmap)
        return text


NO_NORMALIZATION = Normalization()


def bert_steps(*, clean: bool, han: bool, strip_accents: bool, lower: bool) -> tuple[Step, ...]:
    """The steps of BERT's normalizer, in the order of package tokenizers."""
    steps = [Step(StepKind.CLEAN)] if clean else []
    steps += [Step(StepKind.SPACE_HAN)] if han else []
    steps += [Step(StepKind.NFD), Step(StepKind.DROP_MARKS)] if strip_accents else []
    steps += [Step(StepKind.LOWER)] if lower else []
    return tuple(steps)


def charsmap_step(keys: Keys) -> Step:
    """The map of characters."""
    return Step(StepKind.CHARSMAP, keys)


def read_normalization(entries: Iterable[Mapping[str, Any]], where: str) -> Normalization:
    """The normalizers of a tokenizer.json, sequences taken apart. TokenizerError names what is not known."""
    steps: list[Step] = []
    charsmap = b""
    for entry in entries:
        kind = entry.get("type")
        if kind == "Precompiled":
            if charsmap:
                raise TokenizerError(f"{where}: a second normalizer Precompiled is not supported")
            charsmap = _decoded(entry.get("precompiled_charsmap"), where)
            steps.append(charsmap_step(Keys.OF_CLUSTERS))
        else:
            steps.extend(_steps_of(kind, entry, where))
    try:
        return Normalization(tuple(steps), charsmap)
    except TokenizerError as error:
        raise TokenizerError(f"{where}: {error}") from None


def _steps_of(kind: object, entry: Mapping[str, Any], where: str) -> tuple[Step, ...]:
    simple = {
        "NFC": Step(StepKind.NFC),
        "NFD": Step(StepKind.NFD),
        "Lowercase": Step(StepKind.LOWER),
        "StripAccents": Step(StepKind.DROP_MARKS, 1),
    }
    if isinstance(kind, str) and kind in simple:
        return (simple[kind],)
    if kind == "BertNormalizer":
        lower = bool(entry.get("lowercase", True))
        accents = entry.get("strip_accents")
        return bert_steps(
            clean=bool(entry.get("clean_text", True)),
            han=bool(entry.get("handle_chinese_chars", True)),
            strip_accents=lower if accents is None else bool(accents),
            lower=lower,
        )
    if kind == "Strip":
        sides = bool(entry.get("strip_left", True)) + 2 * bool(entry.get("strip_right", True))
        return (Step(StepKind.STRIP, sides),)
    pattern, content = entry.get("pattern"), entry.get("content")
    if kind == "Replace" and isinstance(pattern, dict) and isinstance(content, str):
        if pattern.get("Regex") == " {2,}":
            return (Step(StepKind.SQUEEZE, new=content),)
        old = pattern.get("String")
        if isinstance(old, str) and old:
            return (Step(StepKind.REPLACE, old=old, new=content),)
    raise TokenizerError(
        f"{where}: the normalizer {shown(dict(entry))} is not supported for Unigram and WordPiece; supported are "
        f"BertNormalizer, Precompiled, NFC, NFD, Lowercase, StripAccents, Strip, and Replace of a text or of ' {{2,}}'"
    )


def _decoded(text: object, where: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise TokenizerError(f"{where}: the precompiled_charsmap is no base64; download the file again")
    return data


def _check_charsmap(data: bytes) -> None:
    """Raises TokenizerError where the C library would refuse the map."""
    size = int.from_bytes(data[:4], "little")
    texts = data[4 + size :]
    if len(data) < 8 or size == 0 or size % 4 or size > len(data) - 4 or (texts and texts[-1] != 0):
        raise TokenizerError("the precompiled_charsmap is damaged; download the file again")
    longest = max((len(text) for text in texts.split(b"\0")), default=0)
    if longest > MAX_REPLACEMENT_BYTES:
        raise TokenizerError(
            f"a precompiled_charsmap that puts {longest} bytes for a character; {MAX_REPLACEMENT_BYTES} are supported"
        )


def _apply(step: Step, text: str, charsmap: bytes) -> str:
    """One step. Clusters of several characters are not looked at: of such a text each character counts by itself."""
    match step.kind:
        case StepKind.CHARSMAP:
            return _mapped(text, charsmap)
        case StepKind.CLEAN:
            return "".join(filter(None, map(_clean, text)))
        case StepKind.SPACE_HAN:
            return "".join(f" {character} " if _is_han(ord(character)) else character for character in text)
        case StepKind.NFC | StepKind.NFD:
            return unicodedata.normalize("NFC" if step.kind is StepKind.NFC else "NFD", text)
        case StepKind.DROP_MARKS:
            categories = ("Mn", "Mc", "Me") if step.option else ("Mn",)
            return "".join(character for character in text if unicodedata.category(character) not in categories)
        case StepKind.LOWER:
            return "".join(character.lower() for character in text)
        case StepKind.STRIP:
            text = text.lstrip() if step.option & 1 else text
            return text.rstrip() if step.option & 2 else text
        case StepKind.REPLACE:
            return text.replace(step.old, step.new)
        case StepKind.SQUEEZE:
            return _squeezed(text, step.new)


def _clean(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if character in "\0\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co"):
        return ""
    return " " if character.isspace() else character


def _is_han(code: int) -> bool:
    blocks = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F))
    more = ((0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F))
    return any(first <= code <= last for first, last in (*blocks, *more))


def _squeezed(text: str, new: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(text):
        end = at
        while end < len(text) and text[end] == " ":
            end += 1
        parts.append(new if end - at >= 2 else text[at])
        at = end if end - at >= 2 else at + 1
    return "".join(parts)


def _mapped(text: str, charsmap: bytes) -> str:
    size = int.from_bytes(charsmap[:4], "little")
    units = struct.unpack(f"<{size // 4}I", charsmap[4 : 4 + size])
    texts = charsmap[4 + size :]
    return "".join(_mapped_character(character, units, texts) for character in text)


def _mapped_character(character: str, units: tuple[int, ...], texts: bytes) -> str:
    """What the double array (darts-clone, S. Yata) holds for a character, or the character."""

    def offset(unit: int) -> int:
        return unit >> 10 << ((unit & 1 << 9) >> 6)

    data = character.encode("utf-8", "replace")
    at = offset(units[0])
    ends = False
    for byte in data:
        at ^= byte
        if byte == 0 or at >= len(units) or units[at] & 0x800000FF != byte:
            return character
        ends = bool(units[at] >> 8 & 1)
        at ^= offset(units[at])
    if not ends or at >= len(units):
        return character
    begin = units[at] & 0x7FFFFFFF
    if begin >= len(texts):
        return character
    return texts[begin : texts.index(b"\0", begin)].decode("utf-8", "replace")
