"""The tokens at which generation ends, as far as their names tell."""

from __future__ import annotations

from collections.abc import Iterable

from rbe_edge.sources.tokenizers.tokenizer import TokenType

# End of a text or of a turn in models of the architectures that are packed, by the exact text of the token. llama.cpp
# has them all (llama-vocab.cpp, special_eog_ids).
KNOWN_ENDINGS = (
    "<|endoftext|>",  # GPT-2, Qwen, Phi, StarCoder, SmolLM
    "<|end_of_text|>",  # Llama 3
    "<|eot_id|>",  # Llama 3
    "<|eom_id|>",  # Llama 3.1
    "<|im_end|>",  # ChatML: Qwen, SmolLM
    "<|end|>",  # Phi-3
    "<end_of_turn>",  # Gemma
    "</s>",  # Llama 2, Mistral, TinyLlama
    "<eos>",  # Gemma
    "<\uff5cend\u2581of\u2581sentence\uff5c>",  # DeepSeek-R1 distilled to Llama and Qwen
    "<EOT>",  # Code Llama and its kind
    "_<EOT>",
    "[EOT]",
    "[EOS]",
)


def known_endings(tokens: Iterable[tuple[str, TokenType]]) -> dict[str, int]:
    """Texts and ids of the control tokens that are known to end a text or a turn. tokens: in the order of their ids.

    Tokens of other types are text, whatever they are called: to Gemma </s> is the end of what is struck out in HTML.
    """
    return {
        text: index for index, (text, kind) in enumerate(tokens) if kind is TokenType.CONTROL and text in KNOWN_ENDINGS
    }
