"""What `/metrics` says, in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

import bisect
import threading
import time
from collections import deque

from rbe_edge.machine.process import resident_bytes

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_RATE_WINDOW_S = 10.0

_COUNTERS = {
    "rbe_requests_total": "Requests by path and HTTP status",
    "rbe_prompt_tokens_total": "Prompt tokens computed",
    "rbe_cached_prompt_tokens_total": "Prompt tokens that a slot still held",
    "rbe_generated_tokens_total": "Tokens generated",
    "rbe_cancelled_total": "Answers whose client went away",
}
_GAUGES = {
    "rbe_slots": "Answers that can be generated at the same time",
    "rbe_slots_busy": "Answers being generated",
    "rbe_queue_length": "Requests that wait for a slot",
    "rbe_session_bytes": "Memory of all sessions",
    "rbe_model_bytes": "Size of the models' files",
}
_HISTOGRAMS = {
    "rbe_request_seconds": "From the request to the end of the answer",
    "rbe_first_token_seconds": "From the request to the first token",
    "rbe_queue_seconds": "Waiting for a slot",
}


class Metrics:
    """Of all models. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[tuple[str, str], float] = {(name, ""): 0 for name in _COUNTERS if "requests" not in name}
        self._gauges: dict[str, dict[object, float]] = {name: {} for name in _GAUGES}
        self._histograms = {name: [0] * (len(_BUCKETS) + 1) for name in _HISTOGRAMS}
        self._sums = dict.fromkeys(_HISTOGRAMS, 0.0)
        self._seconds: deque[tuple[int, int]] = deque()  # second, tokens generated in it

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        # Values of labels are ours (paths of routes, statuses), never a client's text.
        text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        with self._lock:
            self._counters[name, text] = self._counters.get((name, text), 0) + amount

    def count_token(self) -> None:
        now = int(time.monotonic())
        with self._lock:
            self._counters["rbe_generated_tokens_total", ""] += 1
            if self._seconds and self._seconds[-1][0] == now:
                self._seconds[-1] = (now, self._seconds[-1][1] + 1)
            else:
                self._seconds.append((now, 1))
            while self._seconds[0][0] < now - _RATE_WINDOW_S:
                self._seconds.popleft()

    def set(self, name: str, value: float, owner: object = None) -> None:
        """owner: whose part of the number it is, such as a model's scheduler; the sum is told."""
        with self._lock:
            self._gauges[name][owner] = value

    def forget(self, owner: object) -> None:
        """Its parts of all numbers are gone."""
        with self._lock:
            for parts in self._gauges.values():
                parts.pop(owner, None)

    def observe(self, name: str, seconds: float) -> None:
        with self._lock:
            self._histograms[name][bisect.bisect_left(_BUCKETS, seconds)] += 1
            self._sums[name] += seconds

    def text(self) -> str:
        lines: list[str] = []
        now = time.monotonic()
        with self._lock:
            for name, meaning in _COUNTERS.items():
                lines += [f"# HELP {name} {meaning}", f"# TYPE {name} counter"]
                for (counter, labels), value in sorted(self._counters.items()):
                    if counter == name:
                        lines.append(f"{name}{{{labels}}} {value:.0f}" if labels else f"{name} {value:.0f}")
            recent = sum(tokens for second, tokens in self._seconds if second >= now - _RATE_WINDOW_S)
            gauges = {name: sum(parts.values()) for name, parts in self._gauges.items()}
            gauges |= {"rbe_tokens_per_second": recent / _RATE_WINDOW_S}
            gauges["process_resident_memory_bytes"] = resident_bytes()
            more = {
                "rbe_tokens_per_second": f"Tokens generated per second, over the last {_RATE_WINDOW_S:g} s",
                "process_resident_memory_bytes": "Memory of the process, with what is mapped of the model",
            }
            for name, meaning in {**_GAUGES, **more}.items():
                lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", f"{name} {gauges[name]:.10g}"]
            for name, meaning in _HISTOGRAMS.items():
                lines += [f"# HELP {name} {meaning}", f"# TYPE {name} histogram"]
                total = 0
                for bound, amount in zip([*map(str, _BUCKETS), "+Inf"], self._histograms[name], strict=True):
                    total += amount
                    lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
                lines += [f"{name}_sum {self._sums[name]:.6f}", f"{name}_count {total}"]
        return "\n".join(lines) + "\n"
