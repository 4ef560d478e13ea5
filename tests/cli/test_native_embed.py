"""`rbe embed` of the program in C beside Model.embed: the same vectors, and one line for what it cannot do.

Skipped where the program was not built.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import encoder_files as files
import numpy as np
import pytest

from rbe_edge.runtime.demo import demo_path
from rbe_edge.runtime.model import Model

TEXTS = ["the cat sat on a mat", "paris", 'a "dog"\tin f\u00e9', "big river " * 20]


def run(program: Path, *arguments: object, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(program), "embed", *map(str, arguments)]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False, cwd="/"
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    files.write(tmp_path / "tiny.rbe", files.Shape(pooling="mean"))
    return tmp_path / "tiny.rbe"


def read(done: subprocess.CompletedProcess[str]) -> tuple[list[str], np.ndarray]:
    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [row["text"] for row in rows], np.array([row["embedding"] for row in rows], np.float32)


def test_vectors_are_those_of_python(program: Path, path: Path) -> None:
    with Model.open(path) as model:
        expected = model.embed(TEXTS)
        most = model.embed(TEXTS, pooling="max")
    for done in (run(program, path, *TEXTS), run(program, path, "-t", 2, "-b", 7, "--", *TEXTS)):
        texts, vectors = read(done)
        assert texts == TEXTS
        np.testing.assert_allclose(vectors, expected, atol=1e-7)
    _, vectors = read(run(program, path, *TEXTS, "--pooling", "max"))
    np.testing.assert_allclose(vectors, most, atol=1e-7)


def test_lines_of_standard_input(program: Path, path: Path) -> None:
    lines = [f"{word} sat on {word}" for word in files.WORDS[6:26]] * 4  # more than a call takes
    with Model.open(path) as model:
        expected = model.embed(lines)
    given = "\n".join(["", f"  {lines[0]} ", *lines[1:], " "])
    for arguments in ([path], [path, "-"]):
        texts, vectors = read(run(program, *arguments, given=given))
        assert texts == lines
        np.testing.assert_allclose(vectors, expected, atol=1e-7)
    assert run(program, path).stdout == ""


def test_long_texts(program: Path, path: Path) -> None:
    long = "cat " * 200
    done = run(program, path, "a", long)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "rbe: text 2: it has 202 tokens, and this model takes at most 96; shorten it, or add --cut\n"
    with Model.open(path) as model:
        expected = model.embed([long], cut=True)
    np.testing.assert_allclose(read(run(program, path, long, "--cut"))[1], expected, atol=1e-7)


def test_models_that_embed_nothing(program: Path, tmp_path: Path) -> None:
    done = run(program, demo_path(), "a")
    assert done.returncode == 1 and "was not trained to embed texts" in done.stderr
    assert read(run(program, demo_path(), "a", "--pooling", "mean"))[1].shape[0] == 1
    shape = files.Shape(pooling="cls", pooled=((3, "none"),), kind="classes", head="none")
    files.write(tmp_path / "classes.rbe", shape)
    done = run(program, tmp_path / "classes.rbe", "a")
    assert done.returncode == 1 and "gives scores of classes" in done.stderr
    done = subprocess.run([program, "run", tmp_path / "classes.rbe", "-p", "a"], capture_output=True, text=True)
    assert done.returncode == 1 and "is an encoder, which writes no text; `rbe embed`" in done.stderr


def test_a_default_prompt_is_mentioned(program: Path, tmp_path: Path) -> None:
    changes: dict[str, files.MetadataValue | None] = {
        "embedding.prompts": '{"query": "the "}', "embedding.default_prompt": "query",
    }  # fmt: skip
    files.write(tmp_path / "tiny.rbe", files.Shape(pooling="mean"), changes=changes)
    done = run(program, tmp_path / "tiny.rbe", "a")
    assert done.returncode == 0 and "default prompt is not put before the texts" in done.stderr


@pytest.mark.parametrize("wrong", [["--pooling", "none"], ["--threads", "65"], ["-b", "513"], ["--top", "3"]])
def test_wrong_options(program: Path, path: Path, wrong: list[str]) -> None:
    done = run(program, path, "a", *wrong)
    assert done.returncode == 2 and done.stderr.startswith("rbe: ") and done.stderr.count("\n") == 1
