"""Opens a source of any kind: hugging_face.py, llama2c.py, gguf/, and downloads by hub.py."""

from __future__ import annotations

from pathlib import Path

from rbe_edge.errors import PackError
from rbe_edge.sources import hub
from rbe_edge.sources.gguf.header import is_gguf
from rbe_edge.sources.gguf.source import open_gguf
from rbe_edge.sources.hugging_face import open_directory
from rbe_edge.sources.llama2c import open_checkpoint
from rbe_edge.sources.types import Source


def open_source(source: str | Path | hub.Fetched, tokenizer: Path | None = None, revision: str | None = None) -> Source:
    """Opens a directory, a GGUF file, a llama2.c checkpoint, what was fetched from the hub, or downloads `org/name`.
    Nothing but headers is read.

    Raises PackError with what to do; MissingExtra where a download needs huggingface_hub or quantised tensors gguf.
    """
    if isinstance(source, hub.Fetched):
        return open_directory(source.directory, source.repository)
    path = Path(source)
    if path.is_dir():
        if tokenizer is not None:
            raise PackError("--tokenizer is for llama2.c checkpoints; a Hugging Face directory has its own tokenizer")
        return open_directory(path)
    if path.is_file():
        if path.suffix == ".gguf" or is_gguf(path):
            if tokenizer is not None:
                raise PackError("--tokenizer is for llama2.c checkpoints; a GGUF file has its own tokenizer")
            return open_gguf(path)
        if path.suffix == ".bin" and not path.name.startswith("pytorch_model"):
            return open_checkpoint(path, tokenizer)
        raise PackError(
            f"{path}: not a source; give a Hugging Face directory, a GGUF file, a llama2.c .bin file or org/name"
        )
    if hub.is_repository(str(source)):
        return open_directory(hub.download(str(source), revision), str(source))
    raise PackError(f"{path}: not found; give a Hugging Face directory, a GGUF file, a llama2.c .bin file or org/name")
