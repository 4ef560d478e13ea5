"""`rbe bench`: shapes, workloads, percentiles, output. No timing is asserted."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from tiny_shape import TINY, write_tiny

from rbe_edge.bench import depth, runner, shapes, slope, speculation, workloads
from rbe_edge.bench.row import Row
from rbe_edge.cli.main import main
from rbe_edge.errors import OptionError
from rbe_edge.llama_cpp import peer_model
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import KV_TYPES, KvType


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("shape"))


def test_published_shapes_have_their_published_sizes() -> None:
    sizes = {name: shape.parameters / 1e6 for name, shape in shapes.SHAPES.items()}
    assert sizes == pytest.approx({"135M": 134.5, "0.5B": 494, "1B": 1236, "3B": 3213}, rel=0.01)
    for shape in shapes.SHAPES.values():
        assert shape.heads * shape.head_dim == shape.width and shape.heads % shape.kv_heads == 0


def test_shape_runs_with_sane_activations(tiny: Path) -> None:
    with Model.open(tiny) as model, model.session(context=64) as session:
        assert model.info.parameters == TINY.parameters
        assert model.tensors["layers.0.attention.q"].plane_bits == (2, 2)
        session.prefill(list(range(20)))
        assert 0.3 < float(session.logits.std()) < 3
    same = shapes.write_model(TINY, (2, 2), tiny.with_name("again.rbe"))
    assert same is None and tiny.read_bytes() == tiny.with_name("again.rbe").read_bytes()


@pytest.mark.parametrize("text", ["", "pp", "tg0", "xx5", "tg5@", "tg5@-1", "pp9999999", "pp5,,tg5"])
def test_bad_workloads_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="no workload"):
        workloads.parse_workloads(text)


@pytest.mark.parametrize("text", ["0", "5", "2+", "a", "1+1+1+1+1"])
def test_bad_planes_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="not possible"):
        shapes.parse_planes(text)


def test_percentiles_and_rates() -> None:
    runs = [workloads.Run(1.0, tuple(n / 1000 for n in range(1, 51))), workloads.Run(2.0, (0.051,) * 50)]
    times = workloads.latency(runs)
    assert times is not None
    assert (times.p50, times.p95, times.p99) == pytest.approx((50, 51, 51))
    assert workloads.rate(50, runs).mean == pytest.approx(37.5)
    assert workloads.latency([workloads.Run(1.0)]) is None


def test_every_run_starts_from_the_same_context(tiny: Path) -> None:
    with Model.open(tiny) as model:
        for text in ("tg3@10", "pp7@5", "pp6"):
            (workload,) = workloads.parse_workloads(text)
            with workloads.Bench(model, workload, threads=1) as bench:
                for _ in range(3):
                    run = bench.run()
                    assert bench._session.position == workload.context
                    assert len(run.token_seconds) == (3 if workload.kind == "tg" else 0)
        with pytest.raises(OptionError, match="needs a context"):
            workloads.Bench(model, workloads.Workload("tg", 1, shapes.CONTEXT), threads=1)


@pytest.mark.parametrize("kv", KV_TYPES)
def test_a_deep_context_is_that_of_its_beginning_repeated(tiny: Path, tmp_path: Path, kv: KvType) -> None:
    tokens = [index * 31 % 300 for index in range(2 * depth.COMPUTED + 70)]
    states = []
    with Model.open(tiny) as model:
        for count in (depth.COMPUTED, 2 * depth.COMPUTED, len(tokens)):
            with model.session(context=2048, threads=1, kv=kv) as session:
                depth.fill(session, tokens[:count])
                made = session.info.kv
                assert session.position == count
                session.save(tmp_path / "state")
                states.append((tmp_path / "state").read_bytes())
                session.prefill([1])
                assert np.isfinite(session.logits).all()
        layers = depth.cache_of(model)
        parts, heads = layers[0].parts(made), sum(layer.heads for layer in layers)
    once, twice, more = (state[64 + 4 * (n + 300) :] for state, n in zip(states, (512, 1024, 1094), strict=True))
    assert len(once) == heads * 512 * sum(parts) and len(more) == heads * 1094 * sum(parts)
    for part in parts * heads:
        piece, once = once[: part * 512], once[part * 512 :]
        assert twice[: part * 1024] == piece * 2
        twice = twice[part * 1024 :]


def packed(name: str, directory: Path) -> Path:
    """A tiny model with a context of 2048 tokens."""
    source = tiny_models.MODELS[name]
    longer = dataclasses.replace(source, config={**source.config, "max_position_embeddings": 2048})
    return pack(tiny_models.write(longer, directory / "source"), directory / "m.rbe", PackOptions(bits=16)).path


@pytest.mark.parametrize("name", ["gemma4", "gemma4_joined"])
def test_layers_of_several_shapes_are_filled(tmp_path: Path, name: str) -> None:
    """Later layers keep nothing; all read keys of their own shape."""
    tokens = [index * 31 % 250 for index in range(2 * depth.COMPUTED)]
    with Model.open(packed(name, tmp_path)) as model:
        states = []
        for count in (depth.COMPUTED, len(tokens)):
            with model.session(context=2048, kv="q8") as session:
                depth.fill(session, tokens[:count])
                session.save(tmp_path / "state")
                states.append((tmp_path / "state").read_bytes()[64 + 4 * (count + model.info.vocabulary) :])
        layers = depth.cache_of(model)
        once, twice = states
        for part in (part for layer in layers if layer.is_own for part in layer.parts("q8") * layer.heads):
            size = part * depth.COMPUTED
            assert twice[: 2 * size] == once[:size] * 2
            once, twice = once[size:], twice[2 * size :]
        assert not once and not twice
        assert len({layer.head_dim for layer in layers}) == 2
        assert all(layer.is_own for layer in layers) == (name == "gemma4_joined")
        windows = model.metadata["attention.windows"]
        assert isinstance(windows, tuple)
        cache = sum(
            layer.heads * 2 * 2 * layer.head_dim * (int(str(window)) or 1000 + 1)
            for layer, window in zip(layers, windows, strict=True)
        )
        weights = sum(tensor.data_bytes for name, tensor in model.tensors.items() if name != "layer_embedding")
        assert runner.bytes_per_token(model, workloads.Workload("tg", 1, 1000)) == weights + cache


def test_a_token_reads_the_experts_that_it_uses(tmp_path: Path) -> None:
    with Model.open(packed("olmoe", tmp_path)) as model:
        n, used = (int(str(model.metadata[key])) for key in ("experts", "experts.used"))
        of_experts = sum(tensor.data_bytes for name, tensor in model.tensors.items() if ".experts." in name)
        of_routers = sum(tensor.data_bytes for name, tensor in model.tensors.items() if name.endswith(".router"))
        left_out = (of_experts - of_routers) * (n - used) / n
        (cache,) = {layer.heads * sum(layer.parts("f16")) for layer in depth.cache_of(model)}
        weights = sum(tensor.data_bytes for tensor in model.tensors.values())
        looked_up = model.tensors["embedding"].data_bytes if "head" in model.tensors else 0
        read = runner.bytes_per_token(model, workloads.Workload("tg", 1))
        assert read == weights - looked_up - left_out + cache * model.info.layers and left_out > 0


def test_a_hybrid_is_filled_by_computing(tmp_path: Path) -> None:
    """Its state is no list of keys and values; a token reads those of the layers that attend."""
    path = packed("lfm2", tmp_path)
    tokens = [index * 31 % 250 for index in range(2 * depth.COMPUTED + 5)]
    with Model.open(path) as model, model.session(context=2048) as filled, model.session(context=2048) as session:
        depth.fill(filled, tokens)
        session.prefill(tokens)
        assert np.array_equal(filled.logits, session.logits)
        assert sum(layer.heads for layer in depth.cache_of(model)) == 2 * 2
        workload = workloads.Workload("tg", 64, 1000)
        weights = sum(tensor.data_bytes for tensor in model.tensors.values())
        read = runner.bytes_per_token(model, workload)
        assert read == weights + round(2 * 2 * 2 * 16 * 2 * workload.mean_context)


def test_slopes_are_between_depths_of_one_program() -> None:
    def row(depth: int, p50: float, program: str = "rbe", n_bytes: int | None = None) -> Row:
        rates = workloads.Rate(1.0, 1.0, 0.0, (1.0,))
        times = workloads.Latency(p50, p50, p50)
        return Row(program, "m", "k", workloads.Workload("tg", 64, depth), 1, rates, times, "f16", None, n_bytes, 20.0)

    rows = [row(4096, 3.0, n_bytes=5_000_000), row(1024, 2.0, n_bytes=2_000_000), row(0, 9.0, "llama.cpp")]
    prompt = Row("rbe", "m", "k", workloads.Workload("pp", 64), 1, rows[0].rate)
    (found,) = slope.slopes([*rows, prompt])
    assert (found.from_tokens, found.to_tokens) == (1024 + 32.5, 4096 + 32.5)
    assert found.us_per_1k_tokens == pytest.approx(1000 / 3.072)
    assert found.read_us_per_1k_tokens == pytest.approx(3_000_000 / 3.072 / 20e3)


def test_bytes_of_a_token_are_all_weights_and_the_cache(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Model.open(tiny) as model:
        weights = sum(tensor.data_bytes for tensor in model.tensors.values())
        one = runner.bytes_per_token(model, workloads.Workload("tg", 1))
        assert one == weights + 2 * 2 * 2 * 2 * 32  # layers, k and v, fp16, heads, head_dim
        deep = runner.bytes_per_token(model, workloads.Workload("tg", 1, 100))
        assert deep - one == 100 * 512
        small = runner.bytes_per_token(model, workloads.Workload("tg", 1, 100), "q8q4")
        assert small - weights == 101 * 2 * 2 * (32 + 16 + 8)
        monkeypatch.setitem(vars(model), "metadata", {**model.metadata, "attention.windows": (0, 16)})
        slid = runner.bytes_per_token(model, workloads.Workload("tg", 1, 100))
        assert slid - weights == (101 + 16) * 256


Output = Callable[..., str]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Output:
    def run(*arguments: str) -> str:
        workloads = [] if "--workloads" in arguments else ["--workloads", "pp8,tg4"]
        assert main(["bench", *arguments, *workloads, "-r", "2", "-t", "1"]) == 0
        return capsys.readouterr().out

    return run


def test_all_forms_tell_the_same(bench: Output, tiny: Path) -> None:
    whole = json.loads(bench(str(tiny), "--json"))
    assert [row["workload"] for row in whole["results"]] == ["pp8", "tg4"]
    assert whole["machine"]["read_gb_per_s"] > 0 and len(whole["results"][0]["runs"]) == 2
    lines = [json.loads(line) for line in bench(str(tiny), "--jsonl").splitlines()]
    assert {line["program"] for line in lines} == {"rbe"} and lines[1]["p99_ms"] >= lines[1]["p50_ms"] > 0
    rows = list(csv.DictReader(io.StringIO(bench(str(tiny), "--csv"))))
    assert [row["workload"] for row in rows] == ["pp8", "tg4"] and rows[0]["first_token_ms"]
    assert "| tg4 " in bench(str(tiny))


def test_depths_give_a_slope(bench: Output, tiny: Path) -> None:
    for flags, kv, n_bytes in ([], "q8", 32 + 32 + 8), (["--kv", "f16"], "f16", 4 * 32):
        whole = json.loads(bench(str(tiny), "--workloads", "tg2@64,tg2@1100", *flags, "--json"))
        assert [(row["depth"], row["kv"]) for row in whole["results"]] == [(64, kv), (1100, kv)]
        assert whole["results"][0]["read_gb_per_s"] > 0
        (found,) = whole["slopes"]
        assert found["kv_bytes_per_1k_tokens"] == pytest.approx(1000 * 2 * 2 * n_bytes)
    assert "us per 1000 tokens; reading" in bench(str(tiny), "--workloads", "tg2@64,tg2@128")


def test_speculation_is_reported_beside_plain_decoding(bench: Output, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("How do I pack a model? " * 20, encoding="utf-8")
    arguments = (str(demo_path()), "--speculate", "lookup", "--text", str(text), "--workloads", "tg24@40")
    plain, guessed = json.loads(bench(*arguments, "--json"))["results"]
    assert plain["speculate"] is None and plain["of_bandwidth"] > 0 and plain["kv"] == guessed["kv"] == "q8"
    assert guessed["speculate"] == "lookup" and guessed["speedup"] > 0 and len(guessed["runs"]) == 2
    assert 0 <= guessed["acceptance"] <= 1 <= guessed["tokens_per_check"] and 0 < guessed["plain_share"] < 1
    table = bench(*arguments)
    assert "| tg24@40, lookup |" in table and "times plain decoding" in table and "switched off" in table
    rows = list(csv.DictReader(io.StringIO(bench(*arguments, "--csv"))))
    assert rows[0]["speculate"] == "" and rows[1]["speculate"] == "lookup" and rows[1]["pauses"]


def test_speculation_with_base_planes_counts_each_run(tiny: Path) -> None:
    settings = speculation.SpeculationSettings(["planes"], [index * 7 % 300 for index in range(50)], 4)
    with Model.open(tiny) as model:
        workload = workloads.Workload("tg", 12, 30)
        with speculation.Continuing(model, workload, settings, "planes", 1, 0, "f16") as way:
            for _ in range(3):
                run = way.run()
                assert len(run.token_seconds) == 12
            assert len(way.acceptances) == 3
            for found in way.acceptances:
                assert found.passes + found.accepted == 12 and 0 < found.checks < found.passes and found.drafted
            summed = speculation.speculated(way, 2, 1.5)
        last = way.acceptances[1:]
        drafted, accepted, checks = (sum(getattr(run, n) for run in last) for n in ("drafted", "accepted", "checks"))
        assert summed.acceptance == accepted / drafted and summed.speedup == 1.5
        assert summed.tokens_per_check == 1 + accepted / checks
        with pytest.raises(OptionError, match="--text has 50"):
            speculation.Continuing(model, workloads.Workload("tg", 1, 51), settings, "off", 1, 0, "f16")


def test_kernel_set_is_forced(bench: Output, tiny: Path) -> None:
    assert json.loads(bench(str(tiny), "--kernels", "scalar", "--json"))["results"][0]["kernels"] == "scalar"


def test_demo_is_a_shape_llama_cpp_can_be_given() -> None:
    with Model.open(demo_path()) as model:
        shape = runner.shape_of(model)
        assert shape is not None and shape.parameters == model.info.parameters


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either a MODEL or --shape"),
        (["--shape", "7B"], "there is no shape 7B"),
        (["--shape", "135M", "--planes", "9"], "planes '9'"),
        (["x.rbe", "--threads", "1,b"], "--threads 1,b"),
        (["x.rbe"], "does not exist"),
        (["demo", "--speculate", "lookup"], "--text FILE"),
        (["demo", "--speculate", "x", "--text", "x"], "lookup,planes"),
        (["demo", "--speculate", "lookup", "--text", "missing.txt"], "cannot be read"),
        (["demo", "--speculate", "lookup", "--text", __file__, "--workloads", "pp8"], "for generation"),
        (["demo", "--speculate", "lookup", "--text", __file__, "--profile"], "--profile out"),
    ],
)
def test_errors_say_what_to_do(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(demo_path()) if argument == "demo" else argument for argument in arguments]
    assert main(["bench", *arguments]) != 0
    assert message in capsys.readouterr().err


def test_llama_cpp_runs_in_alternation(bench: Output, tiny: Path) -> None:
    pytest.importorskip("llama_cpp")
    pytest.importorskip("gguf")
    arguments = (str(tiny), "--against", "llama.cpp", "--types", "Q4_0,Q4_K", "--json")
    rows = json.loads(bench(*arguments))["results"]
    assert [(row["program"], row["model"]) for row in rows[1:3]] == [("llama.cpp", "Q4_0"), ("llama.cpp", "Q4_K")]
    assert all(row["ratio"] > 0 for row in rows if row["program"] == "llama.cpp")
    assert [row["kv"] for row in rows[:3]] == ["q8", "f16", "f16"]  # each as it is usually run
    for kv in ("q8", "q8q4"):
        rows = json.loads(bench(*arguments, "--kv", kv, "--workloads", "tg2@8"))["results"]
        assert [row["kv"] for row in rows] == [kv] * 3 and rows[1]["ratio"] > 0
    with pytest.raises(OptionError, match="no type"):
        peer_model.check_type("Q4_Z")


@pytest.mark.parametrize(
    ("kv", "ours", "theirs"),
    [("auto", "q8", "f16"), ("q8", "q8", "q8"), ("q8q4", "q8q4", "q8q4"), ("f32", "f32", "f32")],
)
def test_llama_cpp_has_the_cache_that_it_usually_has(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, kv: KvType, ours: str, theirs: str
) -> None:
    """Unless --kv says otherwise; rows say which."""
    asked = []

    class StandIn:
        def __init__(self, path: Path, context: int, threads: int, kv: str) -> None:
            asked.append(kv)

        def __enter__(self) -> StandIn:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def run(self, kind: str, n_tokens: int, depth: int) -> tuple[float, tuple[float, ...]]:
            return 0.1, (0.1 / n_tokens,) * n_tokens

    monkeypatch.setattr(runner, "Llama", StandIn)
    monkeypatch.setattr(runner, "peer_files", lambda *_: {"Q4_0": Path("x.gguf")})
    settings = runner.Settings(workloads.parse_workloads("tg2"), (1,), 1, peers=["Q4_0"], kv=kv)
    with Model.open(tiny) as model:
        rows = runner.run(model, "tiny", TINY, settings, lambda *_: None)
    assert [(row.program, row.kv) for row in rows] == [("rbe", ours), ("llama.cpp", theirs)] and asked == [theirs]


def test_llama_cpp_is_an_extra(tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llama_cpp", None)
    assert main(["bench", str(tiny), "--against", "llama.cpp"]) == 1
    assert "rbe-edge[compare]" in capsys.readouterr().err
