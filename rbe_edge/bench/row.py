"""One line of a benchmark's results."""

from __future__ import annotations

from dataclasses import dataclass

from rbe_edge.bench.speculation import Speculated
from rbe_edge.bench.workloads import Latency, Rate, Workload


@dataclass(frozen=True)
class Row:
    """One workload of one program. program: "rbe" or "llama.cpp". model: file and kind of weights. kernels: in use.
    kv: type of the KV cache. first_token_ms: from a prompt to the logits after it. bytes_per_token: of the file and the
    KV cache that one generated token reads, None for prompts. read_gb_per_s: what so many threads read from memory.
    of_bandwidth: bytes_per_token times the rate, relative to that. ratio: rbe / this program, median over alternating
    runs. speculation: where the row is of speculative decoding."""

    program: str
    model: str
    kernels: str
    workload: Workload
    threads: int
    rate: Rate
    latency: Latency | None = None
    kv: str = "f16"
    first_token_ms: float | None = None
    bytes_per_token: int | None = None
    read_gb_per_s: float | None = None
    of_bandwidth: float | None = None
    ratio: float | None = None
    speculation: Speculated | None = None

    def flat(self) -> dict[str, object]:
        """One level of keys, for CSV and JSON Lines."""
        guessed = self.speculation
        return {
            "program": self.program, "model": self.model, "kernels": self.kernels, "workload": str(self.workload),
            "depth": self.workload.depth, "threads": self.threads, "kv": self.kv,
            "tokens_per_s": self.rate.mean, "tokens_per_s_median": self.rate.median,
            "deviation": self.rate.deviation, "repetitions": len(self.rate.runs),
            "p50_ms": self.latency and self.latency.p50, "p95_ms": self.latency and self.latency.p95,
            "p99_ms": self.latency and self.latency.p99, "first_token_ms": self.first_token_ms,
            "bytes_per_token": self.bytes_per_token, "read_gb_per_s": self.read_gb_per_s,
            "of_bandwidth": self.of_bandwidth, "ratio": self.ratio,
            "speculate": guessed and guessed.method, "acceptance": guessed and guessed.acceptance,
            "tokens_per_check": guessed and guessed.tokens_per_check, "plain_share": guessed and guessed.plain_share,
            "pauses": guessed and guessed.pauses, "speedup": guessed and guessed.speedup,
        }  # fmt: skip
