"""Bad input of every kind ends in one line that says what to do, the right exit code, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_models
from command_line import Rbe, one_line


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.write(tiny_models.MODELS["llama"], tmp_path_factory.mktemp("source") / "tiny")


@pytest.mark.parametrize("command", ["run", "inspect", "chat"])
class TestFiles:
    def arguments(self, command: str, path: Path) -> list[object]:
        return [command, path, *(["-p", "the"] if command == "run" else [])]

    def test_missing(self, rbe_here: Rbe, command: str, tmp_path: Path) -> None:
        assert "does not exist" in one_line(rbe_here(*self.arguments(command, tmp_path / "absent.rbe")), 1)

    def test_directory(self, rbe_here: Rbe, command: str, tmp_path: Path) -> None:
        assert "has no config.json" in one_line(rbe_here(*self.arguments(command, tmp_path)), 1)

    def test_foreign(self, rbe_here: Rbe, command: str, tmp_path: Path) -> None:
        path = tmp_path / "foreign.rbe"
        path.write_bytes(b"GGUF" + bytes(range(256)) * 20)
        one_line(rbe_here(*self.arguments(command, path)), 1)

    def test_empty(self, rbe_here: Rbe, command: str, tmp_path: Path) -> None:
        path = tmp_path / "empty.rbe"
        path.touch()
        one_line(rbe_here(*self.arguments(command, path)), 1)

    def test_truncated(self, rbe_here: Rbe, command: str, tiny_model: Path, tmp_path: Path) -> None:
        path = tmp_path / "short.rbe"
        path.write_bytes(tiny_model.read_bytes()[:-64])
        one_line(rbe_here(*self.arguments(command, path)), 1)

    def test_name_that_would_steer_a_terminal(self, rbe_here: Rbe, command: str, tmp_path: Path) -> None:
        assert "\x1b" not in one_line(rbe_here(*self.arguments(command, tmp_path / "\x1b[31mred.rbe")), 1)


def test_errors_as_json(rbe: Rbe, tmp_path: Path) -> None:
    for arguments in (["inspect", tmp_path], ["run", tmp_path, "-p", "a"], ["pack", tmp_path, "-o", "x.rbe"]):
        done = rbe(*arguments, "--json")
        assert one_line(done, 1) == f"rbe: {json.loads(done.stdout)['error']}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["run"],
        ["run", "x.rbe", "-p", "a", "--no-such-option"],
        ["run", "x.rbe", "-p", ""],
        ["run", "x.rbe"],
        ["run", "x.rbe", "-m", "y.rbe", "-p", "a"],
        ["run", "x.rbe", "-p", "a", "-n", "many"],
        ["run", "x.rbe", "-p", "a", "-n", "0"],
        ["run", "x.rbe", "-p", "a", "--temp", "-1"],
        ["run", "x.rbe", "-p", "a", "--temp", "nan"],
        ["run", "x.rbe", "-p", "a", "--top-p", "2"],
        ["run", "x.rbe", "-p", "a", "--min-p", "1"],
        ["run", "x.rbe", "-p", "a", "--repeat-penalty", "0"],
        ["run", "x.rbe", "-p", "a", "--stop", ""],
        ["run", "x.rbe", "-p", "a", "-t", "1000"],
        ["run", "x.rbe", "-p", "a", "-c", "-5"],
        ["run", "x.rbe", "-p", "a", "-b", "5000"],
        ["run", "x.rbe", "-p", "a", "--kv", "f8"],
        ["run", "x.rbe", "-p", "a", "-s", str(2**64)],
        ["inspect"],
        ["pack", "-o", "x.rbe"],
        ["chat", "x.rbe", "--chat-template-file", "absent.jinja"],
    ],
)
def test_wrong_usage(rbe_here: Rbe, arguments: list[str]) -> None:
    one_line(rbe_here(*arguments), 2)


def test_prompt_longer_than_the_context(rbe: Rbe, tiny_model: Path) -> None:
    line = one_line(rbe("run", tiny_model, "-p", "thing " * 100, "-c", 32), 1)
    assert "context holds 32" in line and "shorten it" in line


def test_context_longer_than_the_model(rbe: Rbe, tiny_model: Path) -> None:
    one_line(rbe("run", tiny_model, "-p", "thing", "-c", 100000), 1)


def test_tokenizer_of_another_model(rbe: Rbe, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(source, other)
    text = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    text["model"]["vocab"] |= {f"extra{i}": 272 + i for i in range(50)}
    (other / "tokenizer.json").write_text(json.dumps(text), encoding="utf-8")
    assert "tokenizer" in one_line(rbe("pack", other, "-o", "x.rbe"), 1)
    assert not (tmp_path / "x.rbe").exists()


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_pack_refuses_what_it_cannot_write(rbe: Rbe, source: Path, tmp_path: Path) -> None:
    one_line(rbe("pack", source, "-o", tmp_path / "no" / "such" / "directory" / "x.rbe", "--bits", 32), 1)
    existing = tmp_path / "existing.rbe"
    existing.write_bytes(b"mine")
    assert "--force" in one_line(rbe("pack", source, "-o", existing, "--bits", 32), 1)
    assert existing.read_bytes() == b"mine"
    one_line(rbe("pack", source, "-o", tmp_path, "--bits", 32, "--force"), 1)
    assert left_in(tmp_path) == ["existing.rbe"]
    done = rbe("pack", source, "-o", existing, "--bits", 32, "--force")
    assert done.returncode == 0 and done.stderr == "" and existing.stat().st_size > 1000


def test_pack_refuses_what_it_cannot_read(rbe: Rbe, source: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    one_line(rbe("pack", empty, "-o", "x.rbe"), 1)
    one_line(rbe("pack", tmp_path / "absent", "-o", "x.rbe"), 1)
    one_line(rbe("pack", source, "-o", "x.rbe", "--bits", 9), 1)
    unknown = tmp_path / "unknown"
    shutil.copytree(source, unknown)
    config = json.loads((unknown / "config.json").read_text())
    (unknown / "config.json").write_text(json.dumps({**config, "architectures": ["Mamba"], "model_type": "mamba"}))
    line = one_line(rbe("pack", unknown, "-o", "x.rbe"), 1)
    assert "mamba" in line.lower() and "llama" in line.lower()
    assert not (tmp_path / "x.rbe").exists()


def test_full_disk_while_packing(rbe: Rbe, source: Path, tmp_path: Path) -> None:
    """The limit on the size of a file fails a write in its middle, as a full disk does."""
    resource = pytest.importorskip("resource", reason="limits of processes are of POSIX systems")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    directory = tmp_path / "disk"
    directory.mkdir()
    line = one_line(rbe("pack", source, "-o", directory / "x.rbe", "--bits", 32, preexec_fn=limit), 1)
    assert "x.rbe" in line
    assert left_in(directory) == []


def test_pack_reports(rbe: Rbe, source: Path, tmp_path: Path) -> None:
    done = rbe("pack", source, "-o", "x.rbe", "--bits", 32, "--json")
    report = json.loads(done.stdout)
    assert report["file_bytes"] == (tmp_path / "x.rbe").stat().st_size
    assert report["bits_per_weight"] > 32 and {tensor["kind"] for tensor in report["tensors"]} == {"fp32"}
    done = rbe("pack", source, "-o", "y.rbe", "--bits", 32)
    assert done.returncode == 0 and "bits per weight" in done.stdout and done.stderr == ""
    assert (tmp_path / "x.rbe").read_bytes() == (tmp_path / "y.rbe").read_bytes()
