"""Chat templates through a file: packed with their form, shown by `rbe inspect`, and used by the C program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import tiny_models

from rbe_edge import Conversation, GenerationOptions, Model
from rbe_edge.cli.main import main
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.reader import RbeFile, read_file
from rbe_edge.format.writer import PackWriter
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.chat_template import Message, template_of
from rbe_edge.runtime.conversation import prompt_tokens
from rbe_edge.terminal_text import printable

TAKES_BOS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}U{% elif m.role == 'system' %}S{% else %}A"
    "{% endif %}{{ m.content | trim + eos_token }}{% endfor %}{% if add_generation_prompt %}A{% endif %}"
)
DATED = "{{ strftime_now('%Y') }}" + TAKES_BOS


def packed(directory: Path, template: str) -> Path:
    """A tiny model with this template, and a tokenizer that begins texts with BOS."""
    source = tiny_models.write(tiny_models.MODELS["llama"], directory / "source")
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings |= {"chat_template": template, "add_bos_token": True}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    return pack(source, directory / "packed.rbe", PackOptions(bits=32)).path


def copy_pack(stored: RbeFile, out: Path, metadata: Mapping[str, MetadataValue]) -> None:
    """The same file with other metadata."""
    entries = [tensor.entry for tensor in stored.tensors.values()]
    with PackWriter(out, metadata, stored.codebooks, stored.blobs, entries, force=True) as file:
        for name, tensor in stored.tensors.items():
            file.write_tensor([bytes(stored.data(name))], tensor.error, tensor.tensor_scale)
        file.commit()


def talk(program: Path, file: Path, *arguments: str, lines: list[str]) -> subprocess.CompletedProcess[bytes]:
    command = [program, "chat", file, "-t", "1", "-n", "4", "--temp", "0", *arguments]
    return subprocess.run(
        command, input="\n".join([*lines, ""]).encode(), capture_output=True, timeout=120, check=False
    )


def inspected(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["inspect", str(file)]) == 0
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("chat without Python: "))


def test_a_template_by_its_proven_form(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = packed(tmp_path, TAKES_BOS)
    turns = ["one", "<|endoftext|> 2"]
    with Model.open(file) as model:
        assert "start user strip \\bU\n" in str(model.metadata["chat_form"])
        prompt = prompt_tokens(model, template_of(model).render_marked([Message("user", "one")]))
        bos = model.tokenize("")
        assert prompt[: len(bos)] == bos and prompt[len(bos) : 2 * len(bos)] != bos  # BOS once
        with model.session(kv="auto") as session:
            conversation = Conversation(session, GenerationOptions(max_tokens=4), system="Be.")
            wanted = [printable("".join(conversation.send(turn)).lstrip()) for turn in turns]
    done = talk(program, file, "--system", "Be.", lines=turns)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == "".join(reply + "\n" for reply in wanted)
    assert inspected(file, capsys) == "chat without Python: by the proven chat form of the file"


def test_a_template_of_which_nothing_is_proven(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = packed(tmp_path, DATED)
    done = talk(program, file, lines=["one"])
    assert done.returncode == 1 and done.stdout == b"" and done.stderr.count(b"\n") == 1
    assert b"nothing is proven of this model's chat template: line 1 writes the date" in done.stderr
    assert b"use the Python command, or give --template chatml" in done.stderr
    assert "no; nothing is proven of this model's chat template: line 1 writes" in inspected(file, capsys)
    assert talk(program, file, "--template", "plain", lines=["one"]).returncode == 0


def test_a_file_of_before(program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a form: a template that the library knows, and one that it does not know."""
    for template, known in ((tiny_models.CHAT_TEMPLATE, True), (TAKES_BOS, False)):
        stored = read_file(packed(tmp_path / f"{known}", TAKES_BOS))
        metadata = {key: value for key, value in stored.metadata.items() if key != "chat_form"}
        file = tmp_path / "before.rbe"
        copy_pack(stored, file, {**metadata, "chat_template": template})
        done = talk(program, file, lines=["one"])
        if known:
            assert done.returncode == 0 and "chatml, a template that the library knows" in inspected(file, capsys)
        else:
            assert done.returncode == 1 and b"holds no proven form" in done.stderr and b"pack the model" in done.stderr
            assert "no; this file holds no proven form" in inspected(file, capsys)
        changed = tmp_path / "changed.rbe"
        copy_pack(stored, changed, {**stored.metadata, "chat_template": TAKES_BOS + " "})
        done = talk(program, changed, lines=["one"])
        assert done.returncode == 1 and b"made of another chat template" in done.stderr
