"""Memory of a model: a limit for the resident part of the file, rows that are kept, arenas that come again, profile."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rbe_edge.bench import shapes
from rbe_edge.cli.main import main
from rbe_edge.errors import ModelError, OptionError
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import CachePolicy

SHAPE = shapes.Shape("wide", "nothing", 6, 1024, 16, 4, 64, 4096, 8192)
"""61 M weights: 36 MB, above the least limit of such a file, 10 MB."""

SMOOTH = Path(__file__).parent.parent / "golden" / "v2" / "extremes.rbe"
TOKENS = [(index * 997) % SHAPE.vocabulary for index in range(40)]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wide") / "wide.rbe"
    shapes.write_model(SHAPE, (4,), path)
    return path


def mapping_lines(path: Path, key: str) -> list[str]:
    """What Linux says under a key of each of the process's mappings of a file."""
    values, inside = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith(key + ":"):
            values.append(line.split(":", 1)[1])
    return values


def resident_bytes(path: Path) -> int:
    """Of the process's mappings of a file."""
    return sum(1024 * int(value.split()[0]) for value in mapping_lines(path, "Rss"))


@contextmanager
def most_resident(path: Path) -> Iterator[list[int]]:
    """The list holds the largest of many samples, taken on a thread meanwhile. On a busy machine they may be few: the
    caller takes one too, where it counts."""
    most, stop = [0], threading.Event()

    def sample() -> None:
        while not stop.is_set():
            most[0] = max(most[0], resident_bytes(path))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def logits_of(model: Model) -> np.ndarray:
    with model.session(context=64, threads=2, pass_tokens=16) as session:
        session.prefill(TOKENS)
        for token in TOKENS[:4]:
            session.prefill([token])
        return session.logits.copy()


def logits_behind(model: Model, tokens: list[int]) -> np.ndarray:
    """20 tokens in passes, and the others one by one."""
    with model.session(context=64, threads=2, pass_tokens=16) as session:
        session.prefill(tokens[:20])
        for token in tokens[20:]:
            session.prefill([token])
        return session.logits.copy()


def stays_within(path: Path, limit: int, tokens: list[int], expected: np.ndarray) -> None:
    """With the same answers."""
    with most_resident(path) as most, Model.open(path, max_memory=limit) as model:
        assert resident_bytes(path) <= limit
        np.testing.assert_array_equal(logits_behind(model, tokens), expected)
        most[0] = max(most[0], resident_bytes(path))
    assert 0 < most[0] <= limit


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
def test_resident_part_of_the_file_stays_under_the_limit(wide: Path) -> None:
    size = wide.stat().st_size
    limit = size // 2
    with most_resident(wide) as most, Model.open(wide) as model:
        expected = logits_of(model)
        most[0] = max(most[0], resident_bytes(wide))
        assert model.memory.resident_limit == 0
    assert most[0] > limit + (4 << 20)  # so the samples can tell
    with most_resident(wide) as most, Model.open(wide, max_memory=limit) as model:
        assert resident_bytes(wide) <= limit
        assert 0 < model.memory.resident_pinned < limit == model.memory.resident_limit
        assert np.array_equal(logits_of(model), expected)
        most[0] = max(most[0], resident_bytes(wide))
        assert np.array_equal(model.tensor_rows("embedding", 5, 2), model.tensor_rows("embedding", 5, 2))
    assert 0 < most[0] <= limit


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
def test_large_pages_are_asked_for_where_all_of_the_file_stays(wide: Path) -> None:
    with Model.open(wide):
        asked = ["hg" in flags.split() for flags in mapping_lines(wide, "VmFlags")]
    with Model.open(wide, max_memory=20_000_000):
        sparing = ["hg" in flags.split() for flags in mapping_lines(wide, "VmFlags")]
    assert asked == [True] and sparing == [False]


def test_too_small_a_limit_names_the_least_possible(wide: Path) -> None:
    with pytest.raises(ModelError, match=r"limit of 1000 bytes is too small .* needs at least") as failure:
        Model.open(wide, max_memory=1000)
    least = int(str(failure.value).rsplit(" ", 1)[1])
    assert least < wide.stat().st_size // 2
    with Model.open(wide, max_memory=least) as model, model.session(context=16, threads=1) as session:
        session.prefill([1])
    with pytest.raises(ModelError, match="too small"):
        Model.open(wide, max_memory=least - 1)
    with pytest.raises(OptionError, match="max_memory must be"):
        Model.open(wide, max_memory=-1)


def test_a_limit_above_the_file_is_none() -> None:
    with Model.open(SMOOTH, max_memory=1 << 30) as model:
        assert model.memory.resident_limit == 0


def generated_rows(model: Model) -> int:
    return sum(tensor.rows for tensor in model.tensors.values() if tensor.kind in ("seed64", "basis"))


def run_smooth(cache: CachePolicy | None) -> tuple[np.ndarray, int, int, int]:
    with Model.open(SMOOTH, cache=cache) as model, model.session(threads=2) as session:
        tokens = [token % model.info.vocabulary for token in range(3, 11)]
        for _ in range(2):
            session.rewind(0)
            session.prefill(tokens)
        known = model.memory
        assert known.cache_used <= known.cache_limit
        return session.logits.copy(), known.cache_hits, known.cache_misses, known.cache_used


def test_kept_rows_change_nothing_and_are_counted() -> None:
    plain, hits, misses, used = run_smooth(CachePolicy(embeddings=False, attention=False, feed_forward=False))
    assert hits == misses == used == 0
    kept, hits, misses, used = run_smooth(None)
    assert np.array_equal(kept, plain) and used > 0
    assert hits >= misses > 0  # the second prompt finds all rows that the first one needed
    with Model.open(SMOOTH) as model:
        assert misses <= generated_rows(model)
    small, few, many, used = run_smooth(CachePolicy(max_bytes=20_000))
    assert np.array_equal(small, plain) and few < hits and many > misses and 0 < used <= 20_000
    with pytest.raises(OptionError, match="max_bytes must be 1 or more"):
        CachePolicy(max_bytes=0)


def test_memory_of_a_freed_session_serves_the_next(wide: Path) -> None:
    with Model.open(wide) as model:
        model.session(context=64, threads=1).close()
        before = model.memory
        assert before.sessions_in_use == 0 < before.sessions_held == before.sessions_peak
        with model.session(context=64, threads=1):
            known = model.memory
            assert known.sessions_reused == 1 and known.sessions_held == 0
            assert known.sessions_in_use == known.sessions_peak == before.sessions_peak
        model.trim_memory()
        assert model.memory.sessions_held == 0 and model.memory.sessions_taken == 2


def test_a_reused_arena_gives_the_same_logits() -> None:
    with Model.open(SMOOTH) as model:
        found = []
        for _ in range(2):
            with model.session(threads=1) as session:
                session.prefill([3, 4, 5])
                found.append(session.logits.copy())
        assert model.memory.sessions_reused == 1 and np.array_equal(*found)


def test_profile_counts_every_step(wide: Path) -> None:
    with Model.open(wide) as model:
        with model.session(context=64, threads=1, pass_tokens=16, profile=True) as session:
            session.prefill(TOKENS)  # 3 passes
            for token in TOKENS[:4]:
                session.prefill([token])
            known = {entry.operation: entry for entry in session.profile}
        with model.session(context=64) as session, pytest.raises(ModelError, match="made with `profile`"):
            session.profile  # noqa: B018
    passes, layers, heads = 3 + 4, SHAPE.layers, 1 + 4
    for operation in ("query, key, value", "rotary, cache", "attention", "attention output", "gate, up", "down"):
        assert known[operation].calls == passes * layers and known[operation].ms > 0
    assert known["embedding"].calls == passes and known["head"].calls == heads
    assert known["norm, activation, rotation, rounding"].calls == 4 * passes * layers + heads


def test_bench_prints_the_profile(wide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--workloads", "tg2@3", "-r", "1", "-t", "1", "--json"]
    assert main(["bench", str(wide), "--profile", "--max-memory", "20M", *options]) == 0
    profile = {entry["operation"]: entry for entry in json.loads(capsys.readouterr().out)["profile"]}
    assert profile["attention"]["calls"] == SHAPE.layers * (1 + 2 * 2) and profile["down"]["ms"] > 0
    assert main(["bench", str(wide), *options]) == 0
    assert "profile" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("size", ["0", "M", "-5", "1T", "1.2.3G", "9999999999999999G"])
def test_bad_sizes_are_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "x.rbe", f"--max-memory={size}", "hello"])
    assert "no size of memory; give such as 200M" in capsys.readouterr().err
