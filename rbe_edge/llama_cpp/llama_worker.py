"""llama.cpp in a process of its own, driven over standard input and output: a crash in it is an error here, and does
not end this process.

A line in is {"path": PATH, "context": N, "threads": N, "kv": TYPE} or {"kind": "pp" | "tg", "n_tokens": N,
"depth": N}; a line out is {"system": TEXT}, {"seconds": S, "token_seconds": [...]} or {"error": TEXT}.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from typing import Any

_BATCH = 512  # llama.cpp's own default for a physical batch

# The cache types of ours and its nearest: ggml types of keys and of values, by their numbers in ggml.h.
_KV_TYPES = {"f16": (1, 1), "f32": (0, 0), "q8": (8, 8), "q8q4": (8, 2)}


class Worker:
    def __init__(self, llama_cpp: Any) -> None:
        self._lib = llama_cpp
        self._model: Any = None
        self._context: Any = None
        self._position = 0
        llama_cpp.llama_backend_init()

    def open(self, path: str, context: int, threads: int, kv: str) -> dict[str, Any]:
        lib = self._lib
        self._model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self._model:
            return {"error": "llama.cpp could not load the model"}
        options = lib.llama_context_default_params()
        options.n_ctx = context
        options.n_batch = options.n_ubatch = _BATCH
        options.type_k, options.type_v = _KV_TYPES[kv]
        options.n_threads = options.n_threads_batch = threads
        self._context = lib.llama_init_from_model(self._model, options)
        if not self._context:
            return {"error": "llama.cpp could not make a context"}
        self._vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        return {"system": lib.llama_print_system_info().decode(errors="replace")}

    def run(self, kind: str, n_tokens: int, depth: int) -> dict[str, Any]:
        lib = self._lib
        lib.llama_memory_seq_rm(lib.llama_get_memory(self._context), 0, depth, -1)
        self._position = min(self._position, depth)
        if self._position < depth:
            self._decode(list(range(self._position, depth)), _BATCH)
        if kind == "pp":
            began = time.perf_counter()
            self._decode(list(range(n_tokens)), _BATCH)
            return {"seconds": time.perf_counter() - began, "token_seconds": []}
        times = []
        for index in range(n_tokens):
            began = time.perf_counter()
            self._decode([index], 1)
            times.append(time.perf_counter() - began)
        return {"seconds": sum(times), "token_seconds": times}

    def _decode(self, numbers: list[int], size: int) -> None:
        lib = self._lib
        for start in range(0, len(numbers), size):
            piece = [number * 31 % self._vocabulary for number in numbers[start : start + size]]
            array = (ctypes.c_int32 * len(piece))(*piece)
            status = lib.llama_decode(self._context, lib.llama_batch_get_one(array, len(piece)))
            if status != 0:
                raise RuntimeError(f"llama_decode failed with {status}")
            lib.llama_get_logits(self._context)  # waits until they are there
            self._position += len(piece)


def main() -> None:
    # What llama.cpp prints to the standard streams must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    import llama_cpp

    quiet = llama_cpp.llama_log_callback(lambda level, text, user: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    worker = Worker(llama_cpp)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = worker.open(**asked) if "path" in asked else worker.run(**asked)
        except Exception as error:  # whatever it is, the other side is to hear of it
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
