"""llama.cpp through the C interface that llama-cpp-python brings: its quantiser, and logits of a GGUF file."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge.errors import MissingExtra, ModelError, OptionError, RbeError
from rbe_edge.llama_cpp.peer import advice, death
from rbe_edge.sources.gguf.own_type import OwnType

FloatArray = npt.NDArray[np.float32]

_UBATCH = 512
_CONTEXT_STEP = 256  # llama.cpp's contexts are multiples of it

#: llama.cpp's mixtures ("file types"), named after the type of most matrices in each, roughly by size.
FILE_TYPES = (
    "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ2_S", "IQ2_M", "Q2_K", "IQ3_XXS", "IQ3_XS", "Q3_K_S", "IQ3_S", "IQ3_M", "Q3_K_M",
    "Q3_K_L", "IQ4_XS", "Q4_0", "IQ4_NL", "Q4_K_S", "Q4_K_M", "Q4_1", "Q5_0", "Q5_K_S", "Q5_K_M", "Q5_1", "Q6_K",
    "Q8_0", "F16", "BF16",
)  # fmt: skip


@cache
def binding() -> Any:
    """llama_cpp.llama_cpp, silenced. Raises MissingExtra."""
    try:
        from llama_cpp import llama_cpp
    except ImportError as error:
        raise MissingExtra(
            "the comparison runs llama.cpp, which needs llama-cpp-python; install it with "
            "`pip install 'rbe-edge[compare]'`"
        ) from error
    if not hasattr(llama_cpp, "llama_model_imatrix_data"):
        raise MissingExtra(
            "this llama-cpp-python hands no importance matrix to the quantiser; update it with "
            "`pip install -U 'rbe-edge[compare]'`"
        )
    llama_cpp.llama_log_set(_silent(llama_cpp), None)
    llama_cpp.llama_backend_init()
    return llama_cpp


@cache
def _silent(llama: Any) -> Any:
    """A log function that writes nothing. C keeps its address, so it must live as long as the process."""
    return llama.llama_log_callback(lambda level, text, data: None)


def version() -> str:
    """Of llama-cpp-python. Raises MissingExtra."""
    binding()
    import llama_cpp

    return str(llama_cpp.__version__)


def mixture_of(own: OwnType | None) -> str | None:
    """The mixture of FILE_TYPES that a GGUF file says it is, else the one named after the type of most of its weights;
    None where it is none."""
    if own is None:
        return None
    llama = binding()
    numbers = {getattr(llama, f"LLAMA_FTYPE_MOSTLY_{name}"): name for name in FILE_TYPES}
    said = None if own.file_type is None else numbers.get(own.file_type)
    return said or (own.grids[0] if own.grids[0] in FILE_TYPES else None)


def unknown_type(name: str, known: Iterable[str]) -> OptionError:
    return OptionError(f"{name} is no type of llama.cpp that is compared; take of {', '.join(known)}")


def quantize(
    source: Path,
    out: Path,
    file_type: str,
    importance: Mapping[str, FloatArray],
    *,
    projections_only: bool = False,
    threads: int = 0,
) -> None:
    """llama.cpp's quantiser on a GGUF file of fp32.

    file_type: of FILE_TYPES; llama.cpp's own mixture, embedding and lm_head included. projections_only: every matrix of
    the layers in the type of the name and all else as it is. importance: per tensor of the file, the mean square of
    each column of what it multiplies. Another process does it, because the quantiser aborts the process on an error.
    Raises OptionError where llama.cpp refuses, RbeError where it dies as a wrong build does.
    """
    if file_type not in FILE_TYPES:
        raise unknown_type(file_type, FILE_TYPES)
    binding()
    work = (source, out, file_type, dict(importance), projections_only, threads or os.cpu_count() or 1)
    process = multiprocessing.get_context("spawn").Process(target=_quantize, args=work)
    process.start()
    try:
        process.join()
    finally:
        if process.exitcode is None:  # Ctrl-C
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        if code != 0:
            out.unlink(missing_ok=True)
    if code != 0:
        raise refusal(file_type, code)


def refusal(file_type: str, code: int | None) -> RbeError:
    """Of the exit code of a process that quantises. ggml aborts on what it cannot do; a wrong build dies otherwise."""
    if code is not None and advice(code):
        return RbeError(f"llama.cpp {death(code)} while it quantised to {file_type}{advice(code)}")
    return OptionError(f"llama.cpp cannot quantise this model to {file_type}; leave the type out (--types)")


def _quantize(
    source: Path, out: Path, file_type: str, importance: dict[str, FloatArray], projections_only: bool, threads: int
) -> None:
    """In a process of its own, whose exit code says whether it could."""
    llama = binding()
    options = llama.llama_model_quantize_default_params()
    options.nthread = threads
    options.ftype = getattr(llama, f"LLAMA_FTYPE_MOSTLY_{file_type}")
    columns = {name: np.ascontiguousarray(values, np.float32) for name, values in importance.items()}
    entries = (llama.llama_model_imatrix_data * (len(columns) + 1))()  # the last, without a name, ends the list
    for entry, (name, values) in zip(entries, columns.items(), strict=False):
        entry.name = name.encode()
        entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        entry.size = values.size
    if columns:
        options.imatrix = entries
    if projections_only:
        options.pure = True
        options.token_embedding_type = options.output_tensor_type = llama.GGML_TYPE_F32
    sys.exit(1 if llama.llama_model_quantize(os.fsencode(source), os.fsencode(out), ctypes.byref(options)) else 0)


class LlamaCpp:
    """A GGUF file in llama.cpp, for logits. A context manager; one thread at a time."""

    def __init__(self, path: Path, context: int, threads: int = 0, *, exact_cache: bool = False) -> None:
        """context: tokens of the longest window. exact_cache: keys and values in fp32, else fp16 as by default."""
        self._llama = llama = binding()
        self._model: Any = None
        self._context: Any = None
        options = llama.llama_model_default_params()
        options.n_gpu_layers = 0
        options.use_extra_bufts = False  # weights stay in the file's pages, one copy
        self._model = llama.llama_model_load_from_file(os.fsencode(path), options)
        if not self._model:
            raise ModelError(f"{path.name}: llama.cpp cannot load this file; update llama-cpp-python")
        settings = llama.llama_context_default_params()
        settings.n_ctx = -(-context // _CONTEXT_STEP) * _CONTEXT_STEP
        settings.n_batch = settings.n_ctx
        settings.n_ubatch = min(_UBATCH, settings.n_ctx)
        settings.n_threads = settings.n_threads_batch = threads or os.cpu_count() or 1
        settings.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if exact_cache:
            settings.type_k = settings.type_v = llama.GGML_TYPE_F32
        self._context = llama.llama_init_from_model(self._model, settings)
        if not self._context:
            self.close()
            raise ModelError(f"{path.name}: llama.cpp makes no context of {context} tokens; give a smaller --window")
        self._vocabulary = int(llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model)))
        self._position = 0

    def close(self) -> None:
        context, self._context = self._context, None
        model, self._model = self._model, None
        if context:
            self._llama.llama_free(context)
        if model:
            self._llama.llama_model_free(model)

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def clear(self) -> None:
        """Empties the context."""
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        self._position = 0

    def logits(self, tokens: Sequence[int]) -> FloatArray:
        """Appends tokens; the logits after each, float32 [n][vocabulary]."""
        llama = self._llama
        batch = llama.llama_batch_init(len(tokens), 0, 1)
        try:
            batch.n_tokens = len(tokens)
            for at, token in enumerate(tokens):
                batch.token[at] = token
                batch.pos[at] = self._position + at
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = 0
                batch.logits[at] = 1
            if llama.llama_decode(self._context, batch) != 0:
                raise ModelError("llama.cpp cannot run these tokens; give a smaller --window")
        finally:
            llama.llama_batch_free(batch)
        self._position += len(tokens)
        found = np.ctypeslib.as_array(llama.llama_get_logits(self._context), (len(tokens), self._vocabulary))
        return np.array(found, np.float32)
