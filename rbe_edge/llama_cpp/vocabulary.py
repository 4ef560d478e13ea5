"""A tokenizer as GGUF's metadata. The comparison feeds token ids, but a file without its vocabulary would be
incomplete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers.byte_level import byte_of_character
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, PreTokenizer, TokenType

if TYPE_CHECKING:
    from rbe_edge.sources.tokenizers import Tokenizer

_SPLITS = {
    PreTokenizer.GPT2: "gpt-2", PreTokenizer.LLAMA3: "llama-bpe", PreTokenizer.QWEN2: "qwen2",
    PreTokenizer.STARCODER: "starcoder", PreTokenizer.FALCON: "falcon", PreTokenizer.O200K: "gpt-4o",
    PreTokenizer.TEKKEN: "tekken", PreTokenizer.DEEPSEEK3: "deepseek-v3", PreTokenizer.SPARK: "spark2_5",
    PreTokenizer.QWEN35: "qwen35",
}  # fmt: skip


def write_vocabulary(writer: Any, tokenizer: Tokenizer) -> None:
    """Adds tokens, types, and merges or scores to a GGUFWriter. TokenizerError for Unigram."""
    if tokenizer.algorithm is Algorithm.UNIGRAM:
        raise TokenizerError("a tokenizer with Unigram cannot be written as GGUF; compare another model")
    words = tokenizer.algorithm is Algorithm.WORD_PIECES
    bytes_alone = tokenizer.algorithm is Algorithm.BYTE_PAIRS
    letters = {byte: character for character, byte in byte_of_character().items()}

    def shown(token: int) -> str:
        data, kind = tokenizer.tokens[token], tokenizer.types[token]
        if kind is TokenType.UNUSED:
            return f"[PAD{token}]"  # every text must be another
        if kind is TokenType.BYTE:
            return f"<0x{data[0]:02X}>"
        if kind is not TokenType.NORMAL:
            return data.decode("utf-8", "replace")
        if bytes_alone:
            return "".join(letters[byte] for byte in data)
        if words:  # of punctuation the decoded text has no space in front
            return ("" if token in tokenizer.continuing else "\u2581") + data.decode("utf-8", "replace").lstrip(" ")
        return data.decode("utf-8", "replace").replace(" ", "\u2581")

    writer.add_tokenizer_model("gpt2" if bytes_alone else "bert" if words else "llama")
    if words:
        writer.add_tokenizer_pre("default")
        for around, name in ((tokenizer.before, "cls"), (tokenizer.after, "seperator")):  # GGUF's own spelling
            if around:
                writer.add_uint32(f"tokenizer.ggml.{name}_token_id", around[0])
    elif bytes_alone:
        writer.add_tokenizer_pre(_SPLITS.get(tokenizer.pre_tokenizer, "default"))
        writer.add_token_merges([f"{shown(merge.left)} {shown(merge.right)}" for merge in tokenizer.merges])
    else:
        writer.add_token_scores(list(tokenizer.scores) or _scores(tokenizer))
    writer.add_token_list([shown(token) for token in range(tokenizer.size)])
    writer.add_token_types([int(kind) for kind in tokenizer.types])
    for token, add in (
        (tokenizer.bos, writer.add_bos_token_id), (tokenizer.eos, writer.add_eos_token_id),
        (tokenizer.unknown, writer.add_unk_token_id), (tokenizer.pad, writer.add_pad_token_id),
    ):  # fmt: skip
        if token is not None:
            add(token)
    begins = bool(tokenizer.before) if words else tokenizer.bos is not None and tokenizer.bos in tokenizer.before
    writer.add_add_bos_token(begins)
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)


def _scores(tokenizer: Tokenizer) -> list[float]:
    """Scores that merge in the order of the ranks."""
    scores = [0.0] * tokenizer.size
    for merge in reversed(tokenizer.merges):
        scores[merge.result] = -1.0 - merge.rank
    return scores
