"""A cold process without Python: time to the first token, and memory at the peak against file + KV cache.

    python tools/cold_start.py build/host/native/rbe --shape 135M --tokenizer DIRECTORY
    python tools/cold_start.py build/host/native/rbe FILE.rbe -p "The history of the city" -c 1024 --json

Runs `rbe run -v` some times for the first token, and once more with a long prompt until the context is full, so
that every page counts. The file is in the page cache. A shape has random bits in it, and the tokenizer of DIRECTORY,
which is to have no more tokens than the shape's vocabulary.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from rbe_edge.bench import shapes
from rbe_edge.sources.tokenizers.directory import read_tokenizer

LIMIT_MB = 8.0
"""Over file and KV cache, as this project sets itself."""

# A shell in between, that does not become the program: Linux counts the memory of whoever starts a program by
# replacing itself as that program's peak, and that would be Python's.
_APART = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]

_TIMES = re.compile(r"open ([\d.]+) ms, prefill (\d+) tokens ([\d.]+) ms, first token ([\d.]+) ms after start")
_MEMORY = re.compile(
    r"file ([\d.]+) MB, \w+ KV cache ([\d.]+) MB, other session memory ([\d.]+) MB, "
    r"peak resident ([\d.]+) MB, (\d+) threads"
)


@dataclass(frozen=True)
class Run:
    """Milliseconds and 10^6 bytes, as the program says. outside_ms: from before the start of the shell to the first
    output of the program, which comes with the first token, or to its end where the model says nothing."""

    open_ms: float
    prompt_tokens: int
    prefill_ms: float
    first_token_ms: float
    outside_ms: float
    file_mb: float
    kv_mb: float
    other_mb: float
    peak_mb: float
    threads: int

    @property
    def over_mb(self) -> float:
        """Peak memory over file and KV cache; negative where they were not all touched."""
        return self.peak_mb - self.file_mb - self.kv_mb


def run(program: Path, file: Path, arguments: list[str]) -> Run:
    command = [*_APART, str(program), "run", str(file), "-v", "--temp", "0", *arguments]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        outside = 1e3 * (time.perf_counter() - began)
        said = process.communicate()[1].decode(errors="replace")
    times, memory = _TIMES.search(said), _MEMORY.search(said)
    if process.returncode != 0 or times is None or memory is None:
        sys.exit(f"{program} failed: {said.strip()}")
    opened, n_tokens, prefill, token = times.groups()
    *sizes, threads = memory.groups()
    file_mb, kv_mb, other_mb, peak_mb = map(float, sizes)
    return Run(
        float(opened), int(n_tokens), float(prefill), float(token), outside, file_mb, kv_mb, other_mb, peak_mb,
        int(threads),
    )  # fmt: skip


def measure(program: Path, file: Path, prompt: str, context: int, threads: int, repetitions: int) -> dict[str, object]:
    """first_token_ms, outside_ms: median and most of the runs. memory: of a run whose prompt, the same again and again,
    fills half of the context, and which goes on to its end: passes of full size, all of the KV cache."""
    common = ["-p", prompt, "-c", str(context), "-t", str(threads)]
    runs = [run(program, file, [*common, "-n", "1"]) for _ in range(repetitions)]
    half = " ".join([prompt] * max(context // 2 // (runs[0].prompt_tokens + 1), 1))
    full = run(program, file, [*common, "-p", half, "-n", str(context)])
    middle = statistics.median
    return {
        "prompt_tokens": runs[0].prompt_tokens, "context": context, "threads": full.threads, "repetitions": repetitions,
        "open_ms": middle(one.open_ms for one in runs), "prefill_ms": middle(one.prefill_ms for one in runs),
        "first_token_ms": middle(one.first_token_ms for one in runs),
        "first_token_ms_most": max(one.first_token_ms for one in runs),
        "outside_ms": middle(one.outside_ms for one in runs),
        "memory": {**asdict(full), "over_mb": full.over_mb, "limit_mb": LIMIT_MB},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="the program `rbe` in C (cmake -DRBE_CLI=ON)")
    parser.add_argument("file", type=Path, nargs="?", help="a .rbe file")
    parser.add_argument("--shape", help="or a model of that shape: 135M, 0.5B, 1B, 3B")
    parser.add_argument("--planes", default="4", help="bits of its matrices, such as 3 or 2+2 (4)")
    parser.add_argument("--tokenizer", type=Path, help="a Hugging Face directory with its tokenizer")
    parser.add_argument("-p", "--prompt", default="The history of the city", help="(%(default)s)")
    parser.add_argument("-c", "--context", type=int, default=512, help="tokens (%(default)s)")
    parser.add_argument("-t", "--threads", type=int, default=0, help="(one per core)")
    parser.add_argument("-r", "--repetitions", type=int, default=10, help="(%(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    wanted = [arguments.file is None, arguments.shape is not None, arguments.tokenizer is not None]
    if any(wanted) != all(wanted):
        parser.error("give a FILE, or --shape with --tokenizer")
    with ExitStack() as stack:
        file = arguments.file
        if arguments.shape is not None:
            file = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rbe-cold-"))) / "shape.rbe"
            shape = shapes.shape_named(arguments.shape)
            planes = shapes.parse_planes(arguments.planes)
            shapes.write_model(shape, planes, file, tokenizer=read_tokenizer(arguments.tokenizer))
        found = measure(
            arguments.program, file, arguments.prompt, arguments.context, arguments.threads, arguments.repetitions
        )
    print(json.dumps(found, indent=1) if arguments.json else table(found))


def table(found: dict[str, object]) -> str:
    """Markdown rows under the head of docs/performance.md, "A cold process"."""
    memory = found["memory"]
    assert isinstance(memory, dict)
    return "\n".join(
        [
            "| opened | first token: median, most, from outside | file | KV cache | peak | over file + KV |",
            "|---|---|---|---|---|---|",
            f"| {found['open_ms']:.1f} ms | {found['first_token_ms']:.1f}, {found['first_token_ms_most']:.1f}, "
            f"{found['outside_ms']:.1f} ms | {memory['file_mb']:.1f} MB | {memory['kv_mb']:.1f} MB | "
            f"{memory['peak_mb']:.1f} MB | {memory['over_mb']:.1f} MB (limit {memory['limit_mb']:.0f}) |",
            "",
            f"{found['prompt_tokens']} tokens of prompt, {found['threads']} threads, context {found['context']}, "
            f"{found['repetitions']} runs; peak with {memory['prompt_tokens']} of prompt until the context is full, "
            f"session memory beside the cache {memory['other_mb']:.1f} MB",
        ]
    )


if __name__ == "__main__":
    main()
