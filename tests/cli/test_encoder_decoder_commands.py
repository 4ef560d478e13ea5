"""An encoder-decoder at the command line: it answers to a prompt, and holds no conversation."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import tiny_encoder_decoders
from command_line import Rbe, one_line
from tiny_encoder_decoders import ENCODER_DECODERS

from rbe_edge import GenerationOptions, Model
from rbe_edge.packing.pack import PackOptions, pack

PROMPT = "the cat on a mat"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    source = tiny_encoder_decoders.write(ENCODER_DECODERS["byt5"], folder / "byt5")
    return pack(source, folder / "byt5.rbe", PackOptions(bits=32)).path


def answer(path: Path) -> list[int]:
    with Model.open(path) as model, model.session(kv="auto") as session:
        assert session.info.kv == "f16"  # of an encoder-decoder
        generation = session.generate(PROMPT, GenerationOptions(max_tokens=8))
        "".join(generation)
        return generation.tokens


def test_run(rbe: Rbe, path: Path) -> None:
    """The likeliest words where nobody says otherwise; and what is drawn with a temperature."""
    done = rbe("run", path, "-p", PROMPT, "-n", "8", "--json")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert json.loads(done.stdout)["tokens"] == answer(path)
    hot = [rbe("run", path, "-p", PROMPT, "-n", "8", "--json", "--temp", "3", "--seed", str(seed)) for seed in (1, 2)]
    assert len({tuple(json.loads(one.stdout)["tokens"]) for one in hot}) == 2


def test_the_program_in_c(program: Path, path: Path) -> None:
    command = [program, "run", path, "-p", PROMPT, "-n", "8", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["tokens"] == answer(path) and not done.stderr
    done = subprocess.run([program, "chat", path], input="hello\n", capture_output=True, text=True, timeout=60)
    assert "ask it with rbe run" in one_line(done, 1)


def test_what_is_refused(rbe: Rbe, path: Path, tmp_path: Path) -> None:
    assert "ask it with rbe run" in one_line(rbe("chat", path, "hello"), 1)
    (tmp_path / "text.txt").write_text("the cat " * 100)
    assert "no measure" in one_line(rbe("eval", path, "--text", tmp_path / "text.txt"), 2)
    assert "no measure" in one_line(rbe("eval", path), 2)
    tuned = tmp_path / "tuned.rbe"
    assert "texts with their answers" in one_line(rbe("tune", path, "--source", path, "-o", tuned), 2)
    assert not tuned.exists()
    long = one_line(rbe("run", path, "-p", "a" * 100, "-c", "64"), 1)
    assert "101 tokens" in long and "64" in long
