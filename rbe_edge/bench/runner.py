"""Runs workloads, ours alone or in alternation with llama.cpp, and gathers the rows of a report."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.bench.depth import cache_of
from rbe_edge.bench.page_cache import forget_cached
from rbe_edge.bench.row import Row
from rbe_edge.bench.shapes import CONTEXT, Shape
from rbe_edge.bench.speculation import Continuing, SpeculationSettings, speculated
from rbe_edge.bench.workloads import Bench, Run, Workload, latency, rate
from rbe_edge.errors import OptionError
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.format.experts import is_of_expert
from rbe_edge.llama_cpp.peer import Llama
from rbe_edge.llama_cpp.peer_model import PAIRS, check_type, write_gguf
from rbe_edge.machine.hardware import read_bandwidth
from rbe_edge.progress import Listener, Progress
from rbe_edge.runtime.memory import ProfileEntry
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import CacheType, KvType

MAX_REPETITIONS = 1000


class Profile:
    """Adds up what sessions say of where their time went."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, float]] = {}

    def add(self, entries: Sequence[ProfileEntry]) -> None:
        for entry in entries:
            calls, spent = self._sums.get(entry.operation, (0, 0.0))
            self._sums[entry.operation] = (calls + entry.calls, spent + entry.ms)

    @property
    def entries(self) -> tuple[tuple[str, int, float], ...]:
        """Operation, calls, milliseconds."""
        return tuple((operation, *sums) for operation, sums in self._sums.items())


@dataclass(frozen=True)
class Settings:
    """repetitions: timed runs after one warm-up. threads: each count in turn, 0 for one per physical core.
    pass_tokens: tokens per prefill pass, 0 for the default. peers: ggml types to run llama.cpp with. profile: receives
    the time that our sessions take, of all runs and of filling the depth; None: it is not measured. kv: the type of
    the KV cache, for llama.cpp its nearest; of "auto" its usual one, f16, for there q8_0 is slower. speculation:
    generation continues a text and is run with guesses too."""

    workloads: Sequence[Workload]
    threads: Sequence[int] = (0,)
    repetitions: int = 5
    pass_tokens: int = 0
    peers: Sequence[str] = ()
    profile: Profile | None = None
    kv: KvType = "auto"
    speculation: SpeculationSettings | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.repetitions <= MAX_REPETITIONS:
            raise OptionError(f"--repetitions is from 1 to {MAX_REPETITIONS}, not {self.repetitions}")
        if self.speculation is not None:
            if self.peers or self.profile is not None:
                raise OptionError("--speculate compares with our own plain decoding; leave --against and --profile out")
            if any(workload.kind != "tg" for workload in self.workloads):
                raise OptionError("--speculate is for generation; give --workloads such as tg128@512")


def run(model: Model, label: str, shape: Shape | None, settings: Settings, progress: Listener) -> list[Row]:
    """One row per workload, number of threads and program, or way to guess. shape: what llama.cpp is to run; needed
    with peers. progress counts rounds: of a workload, one for each program or way."""
    rows: list[Row] = []
    rounds = Progress(progress, total=len(settings.workloads) * len(settings.threads) * (settings.repetitions + 1))
    with ExitStack() as stack:
        files = peer_files(stack, shape, settings.peers, progress)
        for threads in settings.threads:
            for workload in settings.workloads:
                rounds.what = f"{workload}, {label}"
                if settings.speculation is None:
                    rows += _workload(model, label, files, workload, threads, settings, rounds)
                else:
                    rows += _speculation(model, label, workload, threads, settings, settings.speculation, rounds)
    return rows


def peer_files(stack: ExitStack, shape: Shape | None, names: Sequence[str], listener: Listener) -> dict[str, Path]:
    """GGUF files of a shape, one for each type of weights, until the stack ends. Raises OptionError, MissingExtra."""
    if not names:
        return {}
    if shape is None:
        raise OptionError("--against needs a model of the Llama layout, whose shape llama.cpp can be given")
    directory = stack.enter_context(scratch_directory("bench"))
    files = {}
    progress = Progress(listener)
    for number, name in enumerate(names):
        progress.tell(f"making {name} for llama.cpp", number, len(names))
        files[name] = directory / f"{name}.gguf"
        write_gguf(shape, CONTEXT, name, files[name])
        forget_cached(files[name])
    return files


def _workload(
    model: Model,
    label: str,
    files: dict[str, Path],
    workload: Workload,
    threads: int,
    settings: Settings,
    rounds: Progress,
) -> list[Row]:
    with ExitStack() as stack:
        ours = stack.enter_context(
            Bench(model, workload, threads, settings.pass_tokens, settings.profile is not None, settings.kv)
        )
        peer_kv: CacheType = "f16" if settings.kv == "auto" else settings.kv
        theirs = {
            name: stack.enter_context(Llama(path, workload.context, ours.threads, peer_kv))
            for name, path in files.items()
        }
        runs: list[Run] = []
        peer_runs: dict[str, list[Run]] = {name: [] for name in theirs}
        for number in range(settings.repetitions + 1):  # the first is the warm-up
            rounds.step()
            gathered = [(runs, ours.run())] + [(peer_runs[name], _run(peer, workload)) for name, peer in theirs.items()]
            for where, result in gathered:
                if number:
                    where.append(result)
        if settings.profile is not None:
            settings.profile.add(ours.profile)
        own = _own_row(model, label, workload, ours.kv, ours.threads, runs)
        peers = [
            Row(
                "llama.cpp", name, "native", workload, ours.threads, rate(workload.n_tokens, found), latency(found),
                peer_kv, _first_token_ms(workload, found), ratio=_ratio(found, runs),
            )
            for name, found in peer_runs.items()
        ]  # fmt: skip
        return [own, *peers]


def _run(peer: Llama, workload: Workload) -> Run:
    return Run(*peer.run(workload.kind, workload.n_tokens, workload.depth))


def _speculation(
    model: Model,
    label: str,
    workload: Workload,
    threads: int,
    settings: Settings,
    speculation: SpeculationSettings,
    rounds: Progress,
) -> list[Row]:
    """Plain decoding and each way to guess, in alternation."""
    with ExitStack() as stack:
        ways = [
            stack.enter_context(
                Continuing(model, workload, speculation, how, threads, settings.pass_tokens, settings.kv)
            )
            for how in ("off", *speculation.methods)
        ]
        runs: list[list[Run]] = [[] for _ in ways]
        for number in range(settings.repetitions + 1):  # the first is the warm-up
            rounds.step()
            for way, kept in zip(ways, runs, strict=True):
                run = way.run()
                if number:
                    kept.append(run)
        plain = runs[0]
        own = _own_row(model, label, workload, ways[0].kv, ways[0].threads, plain)
        return [own] + [
            Row(
                "rbe", label, own.kernels, workload, own.threads, rate(workload.n_tokens, found), latency(found),
                way.kv, read_gb_per_s=own.read_gb_per_s,
                speculation=speculated(way, settings.repetitions, _ratio(plain, found)),
            )
            for way, found in zip(ways[1:], runs[1:], strict=True)
        ]  # fmt: skip


def _ratio(runs: list[Run], to: list[Run]) -> float:
    """How many times as long each of `runs` took as the one of `to` beside it; the median."""
    return statistics.median(run.seconds / other.seconds for run, other in zip(runs, to, strict=True))


def _own_row(model: Model, label: str, workload: Workload, kv: CacheType, threads: int, runs: list[Run]) -> Row:
    measured = rate(workload.n_tokens, runs)
    n_bytes = bytes_per_token(model, workload, kv) if workload.kind == "tg" else None
    read = read_bandwidth(threads)
    return Row(
        "rbe",
        label,
        model.info.kernel_set,
        workload,
        threads,
        measured,
        latency(runs),
        kv,
        _first_token_ms(workload, runs),
        n_bytes,
        read,
        n_bytes * measured.median / read / 1e9 if n_bytes is not None else None,
    )


def _first_token_ms(workload: Workload, runs: list[Run]) -> float | None:
    return 1e3 * statistics.median(run.seconds for run in runs) if workload.kind == "pp" else None


def bytes_per_token(model: Model, workload: Workload, kv: CacheType = "f16") -> int:
    """What one generated token reads on average: every tensor but those only looked up, of a mixture of experts as many
    as a token uses, and of the KV cache what is in the window of each layer that attends."""
    known, names = model.metadata, model.tensors
    looked_up = {"positions", "layer_embedding"} | ({"embedding"} if "head" in names else set())
    of_experts = sum(tensor.data_bytes for name, tensor in names.items() if is_of_expert(name))
    weights = sum(tensor.data_bytes for name, tensor in names.items() if name not in looked_up) - of_experts
    if of_experts:
        weights += of_experts * int(str(known["experts.used"])) // int(str(known["experts"]))
    layers, windows = cache_of(model), known.get("attention.windows")
    of_cache = sum(
        layer.heads * sum(layer.parts(kv)) * min(workload.mean_context, window or math.inf)
        for layer, window in zip(layers, windows if isinstance(windows, tuple) else (0,) * len(layers), strict=True)
    )
    return weights + round(of_cache)


def shape_of(model: Model) -> Shape | None:
    """The shape of a file, for llama.cpp; None where it has another layout than Llama's with a tied embedding."""
    known, names = model.metadata, set(model.tensors)
    keys = ("layers", "width", "heads", "kv_heads", "head_dim", "feed_forward", "vocabulary")
    numbers = [int(str(known.get(key, 0))) for key in keys]
    shape = Shape("file", model.info.path.name, *numbers)
    wanted = {name for name, _, _ in shape.tensors()} | {"rope.frequencies"}
    llama = known.get("norm.kind") == "rms" and known.get("norm.place") == "pre" and names == wanted
    return shape if llama else None


def check_types(names: Sequence[str]) -> None:
    """Raises OptionError for what is no ggml type, MissingExtra without the packages that llama.cpp needs."""
    for name in names:
        check_type(name)


def peer_types(model: Model) -> list[str]:
    """The ggml types whose quality is that of the model's projections or worse."""
    tensors = [tensor for name, tensor in model.tensors.items() if name.startswith("layers.") and tensor.plane_bits]
    weights = sum(tensor.rows * tensor.cols for tensor in tensors)
    bits = sum(sum(tensor.plane_bits) * tensor.rows * tensor.cols for tensor in tensors) / weights if weights else 4
    return list(PAIRS[min(PAIRS, key=lambda known: abs(known - bits))])
