"""Reads the tokenizers of published models and writes them as the `tokenizer` blob of a .rbe file.

    tokenizer = read_tokenizer(Path("SmolLM2-135M-Instruct"))
    blob = write_blob(tokenizer)

docs/tokenizers.md describes the blob and what the C library makes of it.
"""

from __future__ import annotations

from rbe_edge.sources.tokenizers.added_tokens import AddedToken
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.directory import read_tokenizer
from rbe_edge.sources.tokenizers.gguf_vocabulary import read_gguf
from rbe_edge.sources.tokenizers.hugging_face import read_tokenizer_json, read_vocabulary_and_merges
from rbe_edge.sources.tokenizers.llama2c import read_llama2c
from rbe_edge.sources.tokenizers.ranks import from_ranks, read_rank_file
from rbe_edge.sources.tokenizers.sentencepiece_model import read_sentencepiece
from rbe_edge.sources.tokenizers.tokenizer import Algorithm, Merge, PreTokenizer, SpacePrefix, Tokenizer, TokenType

__all__ = [
    "AddedToken",
    "Algorithm",
    "Merge",
    "PreTokenizer",
    "SpacePrefix",
    "TokenType",
    "Tokenizer",
    "from_ranks",
    "read_gguf",
    "read_llama2c",
    "read_rank_file",
    "read_sentencepiece",
    "read_tokenizer",
    "read_tokenizer_json",
    "read_vocabulary_and_merges",
    "write_blob",
]
