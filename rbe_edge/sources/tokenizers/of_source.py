"""The tokenizer that belongs to a source of weights."""

from __future__ import annotations

from rbe_edge.errors import PackError
from rbe_edge.sources.tokenizers import Tokenizer, read_gguf, read_llama2c, read_sentencepiece, read_tokenizer
from rbe_edge.sources.types import Source


def source_tokenizer(source: Source, vocabulary: int) -> Tokenizer:
    """The source's tokenizer, with an id for every row of the embedding; vocabulary: how many those are.

    Raises TokenizerError where there is none that can be read, PackError where it has more tokens than that.
    """
    if source.tokenizer is None:
        tokenizer = read_tokenizer(source.directory)
    elif source.layout == "gguf":
        tokenizer = read_gguf(source.tokenizer)
    elif source.tokenizer.suffix == ".model":
        tokenizer = read_sentencepiece(source.tokenizer)
    else:
        tokenizer = read_llama2c(source.tokenizer)
    if tokenizer.size > vocabulary:
        raise PackError(
            f"{source.name}: its tokenizer has {tokenizer.size} tokens but the model only {vocabulary}; "
            f"this is the tokenizer of another model"
        )
    return tokenizer.padded_to(vocabulary)
