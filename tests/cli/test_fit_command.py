"""`rbe fit`, and the check before models are run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from command_line import Rbe, one_line

from rbe_edge.machine.devices import DEVICES
from rbe_edge.packing.outline import write_outline
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime import fit
from rbe_edge.runtime.model import demo_path


def test_table_and_verdict(rbe_here: Rbe) -> None:
    done = rbe_here("fit", demo_path())
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "it fits"
    assert "KV cache, 1024 tokens q8" in done.stdout and "available: this machine" in done.stdout
    half = json.loads(rbe_here("fit", demo_path(), "--json", "-c", "512").stdout)["total"]  # by the processor's kernels
    done = rbe_here("fit", demo_path(), "--available", str(half))
    assert done.returncode == 1 and "are missing; it fits with -c 512" in done.stdout.splitlines()[-1]
    again = rbe_here("fit", demo_path(), "--available", str(half), "-c", "512")
    assert again.returncode == 0
    found = json.loads(rbe_here("fit", demo_path(), "--json", "--device", "rpi-zero2").stdout)
    assert found["where"] == "rpi-zero2" and found["advice"]["fits"] and found["total"] > found["kv_bytes"] > 0
    wider = json.loads(rbe_here("fit", demo_path(), "--json", "--kv", "f16").stdout)
    assert (found["kv"], wider["kv"]) == ("q8", "f16") and found["kv_bytes"] < 0.6 * wider["kv_bytes"]


def test_states_that_do_not_grow_with_the_context(rbe_here: Rbe, tmp_path: Path) -> None:
    """Of a source that is not packed, and of its file."""
    source = tiny_models.write(tiny_models.MODELS["granite4"], tmp_path / "source")
    file = pack(source, tmp_path / "m.rbe", PackOptions(bits=16)).path
    for path in (source, file):
        kept = []
        for context in ("32", "64"):
            done = rbe_here("fit", path, "-c", context)
            assert f"KV cache and states, {context} tokens q8" in done.stdout
            kept.append(json.loads(rbe_here("fit", path, "-c", context, "--json").stdout)["kv_bytes"])
        # 3 layers of 128 channels x 24, and 3 rows of 176, in two copies at least; one layer attends with 2 heads of 16
        assert kept[0] > 3 * 2 * 4 * (128 * 24 + 3 * 176) and kept[1] - kept[0] < 32 * 2 * 2 * 16 * 2 + 4096


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fit"], 2, "there is no model"),
        (["fit", "DEMO", "--device", "rpi6"], 2, "there is no device rpi6; known are rpi5-2gb, "),
        (["fit", "DEMO", "--device", "rpi3", "--available", "1G"], 2, "not both"),
        (["fit", "DEMO", "--bits", "3"], 2, "--bits is for sources"),
        (["fit", "DEMO", "-c", "99999"], 1, "this model takes at most"),
        (["fit", "nowhere.rbe"], 1, "nowhere.rbe: No such file"),
        (["fit", "/"], 1, "/"),
    ],
)
def test_refusals_are_one_line(rbe_here: Rbe, arguments: list[str], code: int, message: str) -> None:
    done = rbe_here(*(str(demo_path()) if word == "DEMO" else word for word in arguments))
    assert message in one_line(done, code)


def test_devices(rbe_here: Rbe) -> None:
    done = rbe_here("fit", "--devices")
    assert done.returncode == 0 and all(name in done.stdout for name in DEVICES)
    assert all(0 < device.available < device.total for device in DEVICES.values())
    assert {entry["name"] for entry in json.loads(rbe_here("fit", "--devices", "--json").stdout)} == set(DEVICES)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_outline_takes_what_the_packed_file_takes(rbe_here: Rbe, tmp_path: Path, name: str) -> None:
    source = tiny_models.write(tiny_models.MODELS[name], tmp_path / "source")
    outline, packed = tmp_path / "outline.rbe", tmp_path / "packed.rbe"
    for bits in (16.0, 8.0):
        write_outline(source, bits, outline)
        pack(source, packed, PackOptions(bits=bits, calibrate="none", force=True))
        guessed, real = fit.estimate(outline), fit.estimate(packed)
        # The packer writes a few lines of provenance more, and small tensors in another way where that is exact.
        assert abs(guessed.total - real.total) < 4096 + 0.02 * real.total
        assert guessed.kv_bytes == real.kv_bytes and guessed.pass_bytes == real.pass_bytes
    done = rbe_here("fit", source, "--bits", "16", "--kv", "f16", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["kv_bytes"] == real.kv_bytes
    assert "--bits 1 is not possible" in one_line(rbe_here("fit", source, "--bits", "1"), 1)


def test_commands_refuse_before_they_open(rbe_here: Rbe, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(path: object, wish: object = None) -> None:
        raise fit.DoesNotFit("the demo does not fit: 7 MB are needed; it fits with -c 512")

    monkeypatch.setattr(fit, "check", none_left)
    for command in (["run", demo_path(), "-p", "hi"], ["chat", "--plain", demo_path()], ["serve", demo_path()]):
        assert "it fits with -c 512" in one_line(rbe_here(*command), 1)
    done = rbe_here("run", demo_path(), "-p", "hi", "-n", "2", "--force-memory")
    assert done.returncode == 0 and done.stdout
