"""The tokenizer that belongs to a source of weights."""

from __future__ import annotations

from rbe_edge.sources.tokenizers import Tokenizer, read_gguf, read_llama2c, read_sentencepiece, read_tokenizer
from rbe_edge.sources.types import Source


def source_tokenizer(source: Source, vocabulary: int) -> Tokenizer:
    """The source's tokenizer, with an id for every row of the embedding; vocabulary: how many those are.

    Raises TokenizerError where there is none that can be read, PackError where it is that of another model.
    """
    if source.tokenizer is None:
        return read_tokenizer(source.directory, vocabulary)
    if source.layout == "gguf":
        return read_gguf(source.tokenizer).fitted_to(vocabulary)
    if source.tokenizer.suffix == ".model":
        return read_sentencepiece(source.tokenizer).fitted_to(vocabulary)
    return read_llama2c(source.tokenizer).fitted_to(vocabulary)
