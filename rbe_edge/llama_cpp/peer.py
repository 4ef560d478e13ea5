"""llama.cpp as the other side of a benchmark: the same shape, run in alternation with ours. Extra `compare`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rbe_edge.errors import RbeError


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
            how = f"signal {-code}" if code < 0 else f"code {code}"
            raise RbeError(
                f"llama.cpp ended with {how}{': ' + said[-1] if said else ''}; if it died of an illegal instruction, "
                "build llama-cpp-python with CMAKE_ARGS='-DGGML_AMX_TILE=OFF -DGGML_AMX_INT8=OFF'"
            )
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RbeError(f"{answer['error']}")
        return answer
