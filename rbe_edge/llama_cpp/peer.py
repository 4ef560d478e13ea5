"""llama.cpp as the other side of a benchmark: the same shape, run in alternation with ours. Extra `compare`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from rbe_edge.errors import RbeError

#: GCC 12 drops part of ggml's AMX tile configuration, so that ggml_backend_amx_mul_mat dies of one of these.
_AMX_SIGNALS = (signal.SIGSEGV, signal.SIGILL)

_AMX_ADVICE = (
    "; if GCC 12 built it, its AMX code is wrong: build llama-cpp-python with clang (CC=clang CXX=clang++), or with "
    "CMAKE_ARGS='-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON'"
)


def death(code: int) -> str:
    """How a process ended, by its exit code; below 0 it is the number of a signal."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"


def advice(code: int) -> str:
    """What to do about it, to be put behind: how to build llama.cpp where it died as a wrong build does."""
    return _AMX_ADVICE if -code in _AMX_SIGNALS else ""


class Llama:
    """llama.cpp with one GGUF file. A context manager; the process ends with it."""

    def __init__(self, path: Path, context: int, threads: int, kv: str = "f16") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rbe_edge.llama_cpp.llama_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            # It rounds a context up in steps of 256.
            asked = {"path": str(path), "context": context, "threads": threads, "kv": kv}
            self.system = self._ask(asked)["system"]
        except BaseException:
            self.close()
            raise

    def run(self, kind: str, n_tokens: int, depth: int) -> tuple[float, tuple[float, ...]]:
        """kind: "pp", a prompt of n_tokens, or "tg", n_tokens one after the other; `depth` tokens stand before them and
        are not timed. Returns seconds: of all tokens, and of each for "tg". Raises RbeError where llama.cpp fails or
        dies."""
        answer = self._ask({"kind": kind, "n_tokens": n_tokens, "depth": depth})
        return answer["seconds"], tuple(answer["token_seconds"])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        line = ""
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            assert self._process.stderr is not None
            said = self._process.stderr.read().strip().splitlines()
            code = self._process.wait()
            raise RbeError(f"llama.cpp {death(code)}{': ' + said[-1] if said else ''}{advice(code)}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RbeError(f"{answer['error']}")
        return answer
