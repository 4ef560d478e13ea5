"""A model without a chat template: every command that asks it says so, and continues the text so far."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import tiny_models
from command_line import Rbe

from rbe_edge import GenerationOptions, Model, SamplingOptions
from rbe_edge.packing.pack import PackOptions, pack

GREEDY = ("--temp", "0", "-n", "8", "-t", "1")
OPTIONS = GenerationOptions(max_tokens=8, sampling=SamplingOptions(temperature=0))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    source = tiny_models.write(tiny_models.MODELS["llama"], folder / "source")
    told = json.loads((source / "tokenizer_config.json").read_text())
    told.pop("chat_template", None)
    (source / "tokenizer_config.json").write_text(json.dumps(told))
    (source / "chat_template.jinja").unlink(missing_ok=True)
    pack(source, folder / "bare.rbe", PackOptions(bits=32))
    return folder / "bare.rbe"


def continued(bare: Path, *said: str) -> list[str]:
    """What follows each of the texts, when each stands on a new line behind all that was said before."""
    found: list[str] = []
    with Model.open(bare) as model, model.session(kv="auto") as session:
        text = ""
        for one in said:
            text += ("\n" if text else "") + one
            found.append("".join(session.generate(session.resume(model.tokenize(text)), OPTIONS)))
            text += found[-1]
    return found


def test_chat(rbe: Rbe, bare: Path) -> None:
    done = rbe("chat", bare, *GREEDY, "--json", input="Once upon\nThen\n")
    assert done.returncode == 0 and "has no chat template" in done.stderr and done.stderr.count("\n") == 1
    said = [json.loads(line)["content"] for line in done.stdout.splitlines()]
    assert said == [text.lstrip() for text in continued(bare, "Once upon", "Then")]
    assert "chat template" not in rbe("chat", "demo", "Hello!").stderr


def test_run(rbe: Rbe, bare: Path) -> None:
    done = rbe("run", bare, "-p", "Once upon", *GREEDY, "--json")
    assert done.returncode == 0 and "has no chat template" in done.stderr and done.stderr.count("\n") == 1
    assert json.loads(done.stdout)["text"] == continued(bare, "Once upon")[0]
    raw = rbe("run", bare, "--raw", "-p", "Once upon", *GREEDY, "--json")
    assert json.loads(raw.stdout)["tokens"] == json.loads(done.stdout)["tokens"] and not raw.stderr


def test_the_program_in_c(program: Path, bare: Path) -> None:
    command = [program, "chat", bare, *GREEDY, "--json"]
    done = subprocess.run(command, input=b"Once upon\nThen\n", capture_output=True, timeout=120, check=False)
    assert done.returncode == 0 and b"has no chat template" in done.stderr and done.stderr.count(b"\n") == 1
    said = [json.loads(line)["content"] for line in done.stdout.splitlines()]
    assert said == [text.lstrip() for text in continued(bare, "Once upon", "Then")]
    done = subprocess.run([*command, "--template", "plain"], input=b"", capture_output=True, timeout=120, check=False)
    assert done.returncode == 0 and not done.stderr
