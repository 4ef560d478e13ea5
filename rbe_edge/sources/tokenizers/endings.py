"""The tokens at which generation ends, as far as their names tell."""

from __future__ import annotations

from collections.abc import Mapping

# End of text or of a turn in the published models, by the exact text of the token.
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
)


def known_endings(special: Mapping[str, int]) -> set[int]:
    """Ids among the control and user-defined tokens whose text is known to end a text or a turn."""
    return {special[text] for text in KNOWN_ENDINGS if text in special}
