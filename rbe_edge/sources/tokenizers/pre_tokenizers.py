"""Recognises pre-tokenizer and normalizer of a tokenizer.json with BPE; what the C library does not know is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers.normalization import NO_NORMALIZATION, Normalization
from rbe_edge.sources.tokenizers.tokenizer import PreTokenizer, SpacePrefix

ESCAPED_SPACE = "\u2581"

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_MODERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|@| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = _MODERN.replace("@", r"\p{N}{1,3}")
QWEN2 = _MODERN.replace("@", r"\p{N}")
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r" ?[^\s\p{L}", r" ?[^\s\p{L}\p{M}")
_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+@"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*@"
    r"|#| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = _CASED.replace("@", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("#", r"\p{N}{1,3}")
TEKKEN = _CASED.replace("@", "").replace("#", r"\p{N}")
NUMBERS, HAN = r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
DEEPSEEK3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPARK = DEEPSEEK3.replace(r"[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|", r"[\p{P}\p{S}]+|[\r\n]|")
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
PATTERNS = {
    GPT2: PreTokenizer.GPT2,
    LLAMA3: PreTokenizer.LLAMA3,
    QWEN2: PreTokenizer.QWEN2,
    QWEN35: PreTokenizer.QWEN35,
    O200K: PreTokenizer.O200K,
    TEKKEN: PreTokenizer.TEKKEN,
    # the same pieces as Llama 3's: \s* takes ends of lines along, and \s+ behind \s+(?!\S) is one character
    CL100K: PreTokenizer.LLAMA3,
    CL100K.removesuffix("+"): PreTokenizer.LLAMA3,
    CL100K.replace("]?", "]?+").replace("+[\\r", "++[\\r"): PreTokenizer.LLAMA3,
}

SUPPORTED = (
    "byte-level BPE as in GPT-2, Llama 3, Qwen2, StarCoder/SmolLM, Falcon, GPT-4o/Phi-4-mini and Mistral Nemo, "
    "SentencePiece-style BPE as in Llama 2, Mistral, Phi-3 and Gemma, WordPiece as in BERT, and Unigram as in T5 and "
    "XLM-R"
)


@dataclass(frozen=True)
class TextRules:
    """What happens to text before tokens are found in it.

    byte_level: tokens are written in GPT-2's byte alphabet.
    prepends: the space prefix is the normalizer's, which works on the text between the tokens that are found first.
    late_spaces: spaces are escaped by the pre-tokenizer, behind the normalizer.
    normalization: of Unigram and WordPiece, before all else.
    """

    byte_level: bool
    pre_tokenizer: PreTokenizer
    nfc: bool
    escaped_spaces: bool
    space_prefix: SpacePrefix
    prefix_unless_space: bool
    prepends: bool = False
    late_spaces: bool = False
    normalization: Normalization = NO_NORMALIZATION


def steps_of(entry: Any, list_key: str) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, sequences taken apart."""
    if entry is None:
        return []
    if entry.get("type") == "Sequence":
        return [step for part in entry.get(list_key) or [] for step in steps_of(part, list_key)]
    return [entry]


def refusal(what: str, entry: Any, where: str) -> TokenizerError:
    """The error for a component that is not known."""
    text = str(entry)
    shown = text if len(text) <= 300 else text[:300] + "..."
    return TokenizerError(f"{where}: {what} {shown} is not supported; supported are {SUPPORTED}")


def _pattern(step: dict[str, Any]) -> str | None:
    """The pattern of a Split that keeps its matches as pieces."""
    pattern = step.get("pattern") or {}
    isolated = step.get("behavior") == "Isolated" and not step.get("invert")
    removed = step.get("behavior") == "Removed" and step.get("invert")
    return pattern.get("Regex") if isolated or removed else None


def _literal(step: dict[str, Any]) -> str | None:
    """The same, ends of lines written out."""
    pattern = _pattern(step)
    return None if pattern is None else pattern.replace("\r", r"\r").replace("\n", r"\n")


def _byte_level_kind(steps: list[dict[str, Any]]) -> PreTokenizer | None:
    """The pre-tokenizer that a list of steps with ByteLevel in it amounts to."""
    kinds = [step.get("type") for step in steps]
    uses_regex = next(bool(step.get("use_regex", True)) for step in steps if step.get("type") == "ByteLevel")
    if kinds == ["ByteLevel"]:
        return PreTokenizer.GPT2 if uses_regex else PreTokenizer.NONE
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and uses_regex:
        return PreTokenizer.STARCODER
    if kinds == ["Split", "ByteLevel"] and not uses_regex:
        return PATTERNS.get(_pattern(steps[0]) or "")
    patterns = [_literal(step) for step in steps if step.get("type") == "Split"]
    if kinds == ["Split", "Split", "Split", "ByteLevel"] and patterns == [NUMBERS, HAN, DEEPSEEK3] and not uses_regex:
        return PreTokenizer.DEEPSEEK3
    if (
        kinds == ["Split", "Split", "Split", "Digits", "ByteLevel"]
        and patterns == [NUMBERS, HAN, SPARK]
        and steps[3].get("individual_digits")
        and not uses_regex
    ):
        return PreTokenizer.SPARK
    if (
        kinds == ["Punctuation", "ByteLevel", "Digits", "Split"]
        and steps[0].get("behavior") == "Contiguous"
        and uses_regex
        and not steps[2].get("individual_digits")
        and _pattern(steps[3]) == "[0-9][0-9][0-9]"
    ):
        return PreTokenizer.FALCON
    return None


def read_text_rules(document: dict[str, Any], where: str) -> TextRules:
    """What the `normalizer` and `pre_tokenizer` of a tokenizer.json amount to."""
    entry = document.get("pre_tokenizer")
    steps = steps_of(entry, "pretokenizers")
    byte_level = next((step for step in steps if step.get("type") == "ByteLevel"), None)
    nfc = escaped = False
    prefix, unless_space = SpacePrefix.NONE, False
    prepends = late = False
    for step in steps_of(document.get("normalizer"), "normalizers"):
        kind = step.get("type")
        if kind == "NFC" and byte_level is not None:
            nfc = True
        elif kind == "Prepend" and step.get("prepend") == ESCAPED_SPACE and byte_level is None:
            prefix, prepends = SpacePrefix.FRAGMENT, True
        elif (
            kind == "Replace"
            and step.get("pattern") == {"String": " "}
            and step.get("content") == ESCAPED_SPACE
            and byte_level is None
        ):
            escaped = True
        else:
            raise refusal("the normalizer", step, where)
    if byte_level is not None:
        pre_tokenizer = _byte_level_kind(steps)
        if pre_tokenizer is None:
            raise refusal("the pre-tokenizer", entry, where)
        if byte_level.get("add_prefix_space"):
            if len(steps) > 1:  # it would stand in front of each piece of the step before
                raise refusal("the pre-tokenizer with add_prefix_space", entry, where)
            prefix, unless_space = SpacePrefix.FRAGMENT, True
        return TextRules(True, pre_tokenizer, nfc, False, prefix, unless_space)
    for step in steps:
        if step.get("type") == "Metaspace" and step.get("replacement") == ESCAPED_SPACE and not step.get("split", True):
            scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
            schemes = {"always": SpacePrefix.FRAGMENT, "first": SpacePrefix.FIRST, "never": SpacePrefix.NONE}
            if scheme not in schemes or prepends:
                raise refusal("the pre-tokenizer", step, where)
            prefix, unless_space, late, escaped = schemes[scheme], True, not escaped, True
        elif not (step.get("type") == "Split" and step.get("pattern") == {"String": " "} and escaped):
            # Gemma splits at spaces, of which its normalizer has left none.
            raise refusal("the pre-tokenizer", step, where)
    return TextRules(False, PreTokenizer.NONE, False, escaped, prefix, unless_space, prepends, late)
