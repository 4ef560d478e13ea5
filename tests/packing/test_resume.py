"""An interrupted packing goes on where it was, and its file is that of an uninterrupted one, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models

from rbe_edge.cli.main import main
from rbe_edge.cli.output import ProgressBar
from rbe_edge.codes import trellis
from rbe_edge.errors import Cancelled, PackError
from rbe_edge.packing import survey
from rbe_edge.packing.held_out import HeldOut
from rbe_edge.packing.kept import kept_directory
from rbe_edge.packing.pack import PackOptions, PackReport, pack

TEXT = "the cat and the dog sat on the mat, and then the dog ate the cake of the cat. " * 14

BEFORE_ENCODING = ("reading weights", "reading the text", "measuring what counts", "checking 1 of")

ENDED = """
import os, signal, sys
from pathlib import Path
from rbe_edge.cli import output
from rbe_edge.cli.main import main

seen = []
def end(bar, what, done, total):
    seen.append(what)
    if what.startswith(sys.argv[1]) and seen.count(what) == 1:
        os.kill(os.getpid(), int(sys.argv[2]))

output.ProgressBar.show = end
sys.exit(main(["pack", "tiny", "-o", "m.rbe", "--bits", "4", "--calibrate", "text.txt"]))
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text(TEXT)
    return tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PackReport, int]]:
    """`source` packed without interruption, and how many matrices were encoded, measured ones too."""
    directory = tmp_path_factory.mktemp("whole")
    (directory / "text.txt").write_text(TEXT)
    tiny = tiny_models.write(tiny_models.MODELS["llama"], directory / "tiny")
    counted = 0
    encode = trellis.encode

    def count(*arguments, **named):  # type: ignore[no-untyped-def]
        nonlocal counted
        counted += 1
        return encode(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trellis, "encode", count)
        yield pack(tiny, directory / "m.rbe", options(directory)), counted


def options(tmp_path: Path, **others: object) -> PackOptions:
    return PackOptions(**{"bits": 4, "calibrate": tmp_path / "text.txt", **others})  # type: ignore[arg-type]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Planes of the matrices that are encoded, measured ones too."""
    found: list[tuple[int, ...]] = []
    encode = trellis.encode

    def count(weights, planes, *arguments, **named):  # type: ignore[no-untyped-def]
        found.append(planes)
        return encode(weights, planes, *arguments, **named)

    monkeypatch.setattr(trellis, "encode", count)
    return found


# While the copy is made; on the way forward and back; in the middle of measuring; in a layer; between layers; when all
# but the name is there.
@pytest.mark.parametrize(
    ("at", "number", "code"),
    [
        ("reading weights", signal.SIGKILL, -signal.SIGKILL),
        ("reading the text", signal.SIGINT, 130),
        ("measuring what counts", signal.SIGKILL, -signal.SIGKILL),
        ("checking 1 of", signal.SIGINT, 130),
        ("checking 3 of", signal.SIGKILL, -signal.SIGKILL),
        ("encoding layers.0.feed_forward.up", signal.SIGTERM, 128 + signal.SIGTERM),
        ("encoding layers.1.attention.q", signal.SIGKILL, -signal.SIGKILL),
        ("writing", signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_ended(
    source: Path,
    tmp_path: Path,
    encoded: list[tuple[int, ...]],
    whole: tuple[PackReport, int],
    at: str,
    number: signal.Signals,
    code: int,
) -> None:
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    command = [sys.executable, "-c", ENDED, at, str(int(number))]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, timeout=300, capture_output=True, text=True)
    assert ended.returncode == code, ended.stderr
    if number != signal.SIGKILL:
        assert ended.stderr == "rbe: interrupted; the same command goes on from what is finished\n"
    beside = {"m.rbe", ".m.rbe.part"} if number == signal.SIGKILL else set()
    assert set(names(tmp_path)) - {"cache", "text.txt", "tiny"} <= beside and not (tmp_path / "m.rbe").exists()
    assert [path for path in (tmp_path / "tiny").iterdir() if path.name.startswith(".")] == []
    resumed = pack(source, tmp_path / "m.rbe", options(tmp_path, threads=1))
    uninterrupted, n_encoded = whole
    assert resumed.path.read_bytes() == uninterrupted.path.read_bytes()
    assert [tensor.error for tensor in resumed.tensors] == [tensor.error for tensor in uninterrupted.tensors]
    assert len(encoded) < n_encoded or at in BEFORE_ENCODING
    if at == "writing":
        assert encoded == []
    assert names(tmp_path) == ["cache", "m.rbe", "text.txt", "tiny"]
    assert not [path for path in kept_directory().iterdir() if path.suffix != ".kept"], "no copy is left"


def stopped(source: Path, out: Path, chosen: PackOptions, at: str = "encoding layers.1.attention.q") -> None:
    with pytest.raises(Cancelled):
        pack(source, out, chosen, lambda what, done, total: what == at)


def test_another_size_measures_nothing_again(source: Path, tmp_path: Path, encoded: list[tuple[int, ...]]) -> None:
    pack(source, tmp_path / "4.rbe", options(tmp_path))
    encoded.clear()
    report = pack(source, tmp_path / "3.rbe", options(tmp_path, bits=3.5))
    assert len(encoded) == sum(tensor.kind == "trellis" for tensor in report.tensors)


def test_a_survey_goes_on_and_serves_other_sizes(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    feedback_factor = survey.feedback_factor

    def count(moment, *arguments, **named):  # type: ignore[no-untyped-def]
        made.append(len(moment))
        return feedback_factor(moment, *arguments, **named)

    monkeypatch.setattr(survey, "feedback_factor", count)
    chosen = options(tmp_path, effort="quick")

    def in_the_second_layer(what: str, done: int, total: int) -> bool:
        return len(made) == 10  # two for each input

    with pytest.raises(Cancelled):
        pack(source, tmp_path / "m.rbe", chosen, in_the_second_layer)
    made.clear()
    stopped(source, tmp_path / "m.rbe", chosen)
    n_inputs = 2 * 4 + 1
    assert len(made) == 2 * (n_inputs - 4), "those of the first layer are kept"
    made.clear()
    resumed = pack(source, tmp_path / "m.rbe", chosen)
    pack(source, tmp_path / "3.rbe", options(tmp_path, effort="quick", bits=3.5))
    assert made == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another cache"))
    whole = pack(source, tmp_path / "whole.rbe", options(tmp_path, effort="quick", threads=1))
    assert len(made) == 2 * n_inputs and whole.path.read_bytes() == resumed.path.read_bytes()


def test_a_survey_that_was_removed(source: Path, tmp_path: Path) -> None:
    chosen = options(tmp_path, effort="quick")

    def remove(what: str, done: int, total: int) -> None:
        if what == "encoding layers.1.attention.q":
            for path in kept_directory().glob("*.kept"):
                path.unlink()

    with pytest.raises(PackError, match="removed from the cache"):
        pack(source, tmp_path / "m.rbe", chosen, remove)
    pack(source, tmp_path / "m.rbe", chosen)


def test_a_damaged_factor_is_made_again(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = options(tmp_path)
    whole = pack(source, tmp_path / "whole.rbe", chosen)
    largest = max(kept_directory().glob("*.kept"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    with pytest.raises(PackError, match="start again"):
        pack(source, tmp_path / "m.rbe", chosen)
    assert pack(source, tmp_path / "m.rbe", chosen).path.read_bytes() == whole.path.read_bytes()


def test_another_configuration_or_tokenizer_is_another_model(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their weights are the same."""
    pack(source, tmp_path / "m.rbe", options(tmp_path))
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    second = pack(source, tmp_path / "second.rbe", options(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another cache"))
    alone = pack(source, tmp_path / "alone.rbe", options(tmp_path))
    assert second.path.read_bytes() == alone.path.read_bytes()


def test_work_of_another_kind_is_not_taken(source: Path, tmp_path: Path, encoded: list[tuple[int, ...]]) -> None:
    (tmp_path / "other.txt").write_text(TEXT.replace("cake", "cat"))
    out = tmp_path / "m.rbe"
    first = options(tmp_path, effort="quick")
    for others in ({"bits": 3}, {"calibrate": "none"}, {"calibrate": tmp_path / "other.txt"}):
        stopped(source, out, first)
        encoded.clear()
        report = pack(source, out, options(tmp_path, **{"effort": "quick", **others}))
        assert len(encoded) == sum(tensor.kind == "trellis" for tensor in report.tensors)
        out.unlink()


def test_what_is_finished_is_kept_until_the_file_is_whole(source: Path, tmp_path: Path) -> None:
    chosen = options(tmp_path, calibrate="none")
    stopped(source, tmp_path / "m.rbe", chosen)
    assert len(names(kept_directory())) > 3
    assert kept_directory().stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in kept_directory().iterdir())
    pack(source, tmp_path / "m.rbe", chosen)
    assert names(kept_directory()) == [] and names(tmp_path) == ["cache", "m.rbe", "text.txt", "tiny"]


def test_stopped_while_the_loss_is_measured(
    source: Path, tmp_path: Path, whole: tuple[PackReport, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has the name then, and the next run encodes nothing."""

    def press(self: HeldOut, packed: Path) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "m.rbe"
    with monkeypatch.context() as patch:
        patch.setattr(HeldOut, "of", press)
        with pytest.raises(KeyboardInterrupt):
            pack(source, out, options(tmp_path))
    assert not list(tmp_path.glob("*.rbe*")) and not list(tmp_path.glob(".*"))
    monkeypatch.setattr(trellis, "encode", lambda *_, **__: pytest.fail("it encodes again"))
    assert pack(source, out, options(tmp_path)).held_out is not None
    assert out.read_bytes() == whole[0].path.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which file a descriptor is of")
def test_only_the_file_itself_waits_for_the_disk(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the copy with dense weights, eight times as large, nothing need last; on a slow card that takes a minute, in
    which no Ctrl-C is obeyed."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    pack(source, tmp_path / "m.rbe", options(tmp_path))
    assert not any("dense" in name for name in synced) and any(name.endswith(".part") for name in synced)


def test_without_a_cache(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pack(source, tmp_path / "whole.rbe", options(tmp_path, effort="quick"))
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    report = pack(source, tmp_path / "m.rbe", options(tmp_path, effort="quick"))
    assert report.path.read_bytes() == whole.path.read_bytes()
    (note,) = report.notes
    assert "nothing could be kept there" in note and "\n" not in note


def test_no_room_for_the_copy(source: Path, tmp_path: Path) -> None:
    """The disk is as full as a limit on the size of files makes it."""
    code = (
        "import resource, signal, sys\nfrom rbe_edge.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n"
        'sys.exit(main(["pack", "tiny", "-o", "m.rbe", "--effort", "quick", "--calibrate", "text.txt"]))'
    )
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, timeout=120, capture_output=True, text=True
    )
    assert done.returncode == 1 and "no room to write it" in done.stderr and done.stderr.count("\n") == 1
    assert names(tmp_path) == ["cache", "text.txt", "tiny"] and names(kept_directory()) == []


def test_the_command_says_how_to_go_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(bar: ProgressBar, what: str, done: int, total: int) -> None:
        if what == "encoding layers.1.attention.q":
            raise KeyboardInterrupt

    arguments = ["pack", str(source), "-o", str(tmp_path / "m.rbe"), "--bits", "3", "--calibrate", "none"]
    with monkeypatch.context() as patch:
        patch.setattr(ProgressBar, "show", stop)
        assert main(arguments) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert main(arguments) == 0


def test_an_effort_that_is_none(source: Path, tmp_path: Path) -> None:
    with pytest.raises(PackError, match="effort 'fast' is not known; give quick, normal, best"):
        pack(source, tmp_path / "m.rbe", options(tmp_path, effort="fast"))
