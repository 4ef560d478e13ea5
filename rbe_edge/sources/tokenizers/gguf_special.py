"""The types of a GGUF file's tokens, and which of them are looked for in text, as llama.cpp has them.

llama.cpp corrects the types that files give by the names of the tokens (`llama_vocab::impl::load` in llama-vocab.cpp).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rbe_edge.sources.tokenizers.added_tokens import AddedToken, AddedVocabulary, with_added
from rbe_edge.sources.tokenizers.pre_tokenizers import TextRules
from rbe_edge.sources.tokenizers.tokenizer import Tokenizer, TokenType

# Control tokens whatever the file says: those that end a text (special_eog_ids).
_ENDS = frozenset(
    (
        "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> "
        "<|eom_id|> <EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> "
        "<\uff5cend\u2581of\u2581sentence\uff5c> [e~["
    ).split(" ")
)
# Parts of code to be filled in: of each kind the first, unless the file names one by its key.
_FILLING = {
    "fim_pre": "<|fim_prefix|> <fim-prefix> <fim_prefix> <\uff5cfim\u2581begin\uff5c> <PRE> \u2581<PRE> <|code_prefix|>"
    " <|prefix|>",
    "fim_suf": "<|fim_suffix|> <fim-suffix> <fim_suffix> <\uff5cfim\u2581hole\uff5c> <SUF> \u2581<SUF> <|code_suffix|>"
    " <|suffix|>",
    "fim_mid": "<|fim_middle|> <fim-middle> <fim_middle> <\uff5cfim\u2581end\uff5c> <MID> \u2581<MID> <|code_middle|>"
    " <|middle|>",
    "fim_pad": "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]",
    "fim_rep": "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>",
    "fim_sep": "<|file_sep|>",
}
# Older keys of the same.
_OLDER_KEYS = {"prefix": "fim_pre", "suffix": "fim_suf", "middle": "fim_mid"}
NAMED_KEYS = (*_FILLING, *_OLDER_KEYS)
# gpt-oss shows these to people.
_USER_DEFINED = frozenset("<|channel|> <|message|> <|start|> <|constrain|>".split(" "))
# Phi-3's special tokens take the white space behind them, these apart.
_NOT_STRIPPING = frozenset(("<unk>", "<s>", "<|endoftext|>"))
_MAX_MERGED = 256  # characters of a token that text is thought to merge to


def corrected_types(
    texts: Sequence[str], numbers: Sequence[int], named: Collection[str], ends: Collection[str]
) -> list[TokenType]:
    """Types by texts and the numbers of the file; named: the keys of NAMED_KEYS that the file has. ends: what it names
    as ends.

    A number that is no type leaves a token of text. The unknown token counts as a control token: it is found in text.
    Unlike llama.cpp, a user-defined </s> that the file does not name as an end stays one: Gemma's HTML tag.
    """
    known = {int(kind): kind for kind in TokenType} | {int(TokenType.UNKNOWN): TokenType.CONTROL}
    types = [known.get(number, TokenType.NORMAL) for number in numbers]
    ids = {text: index for index, text in reversed(list(enumerate(texts)))}
    kinds = {_OLDER_KEYS.get(key, key) for key in named}
    control = set(_ENDS)
    tag = ids.get("</s>")
    if tag is not None and types[tag] is TokenType.USER_DEFINED and "</s>" not in ends:
        control.remove("</s>")
    for kind, names in _FILLING.items():
        found = [name for name in names.split(" ") if name in ids]
        if found and kind not in kinds:
            control.add(min(found, key=ids.__getitem__))
    for text in control & ids.keys():
        types[ids[text]] = TokenType.CONTROL
    shown = set(_USER_DEFINED)
    if {"<|return|>", "<|call|>"} <= ids.keys() or ("<|flush|>" in ids and ids.keys() & {"<|call|>", "<|calls|>"}):
        shown.add("<|end|>")
    for text in shown & ids.keys():
        types[ids[text]] = TokenType.USER_DEFINED
    if "<|tool_response>" in ids and "</s>" in ids:
        types[ids["</s>"]] = TokenType.NORMAL
    return types


def as_text(
    types: Iterable[TokenType], kinds: Collection[TokenType], reachable: Collection[int]
) -> tuple[TokenType, ...]:
    """The types, with tokens of some kinds as text where text comes to them: llama.cpp makes no difference."""
    return tuple(TokenType.NORMAL if kind in kinds and index in reachable else kind for index, kind in enumerate(types))


def made_of_others(texts: Sequence[str], types: Sequence[TokenType]) -> set[int]:
    """The unused tokens that text comes to: of one character, or of two other tokens. Only short ones are looked at."""
    known = set(texts)
    return {
        index
        for index, (text, kind) in enumerate(zip(texts, types, strict=True))
        if kind is TokenType.UNUSED
        and len(text) <= _MAX_MERGED
        and (len(text) == 1 or any(text[:cut] in known and text[cut:] in known for cut in range(1, len(text))))
    }


def with_special(tokenizer: Tokenizer, texts: Sequence[str], name: str) -> Tokenizer:
    """The tokenizer with its special tokens looked for all at once, in the text as it was given. name: of the model."""
    strips = any(part in name.lower() for part in ("phi-3", "phi3"))
    added = AddedVocabulary({text: index for index, text in reversed(list(enumerate(texts)))})
    added.add(
        AddedToken(index, text, kind is TokenType.CONTROL, strip_right=strips and text not in _NOT_STRIPPING)
        for index, (text, kind) in enumerate(zip(texts, tokenizer.types, strict=True))
        if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)
    )
    rules = TextRules(
        byte_level=not tokenizer.escaped_spaces,
        pre_tokenizer=tokenizer.pre_tokenizer,
        nfc=tokenizer.nfc,
        escaped_spaces=tokenizer.escaped_spaces,
        space_prefix=tokenizer.space_prefix,
        prefix_unless_space=False,
        normalization=tokenizer.normalization,
    )
    return with_added(tokenizer, added, rules)
