"""Saving a session's state and going on from it: the same bits, refusals, hostile files, a disk that takes no more."""

from __future__ import annotations

import dataclasses
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from tiny_llama_like import WITH_OPTIONS

from rbe_edge import GenerationOptions, Model
from rbe_edge.errors import ContextFull, OptionError, RbeError, StateError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.options import KV_TYPES, KvType
from rbe_edge.store.states import StateFiles

TOKENS = [(7 * i * i + 3 * i) % 250 for i in range(90)]  # beyond one block of 64 positions
HEADER = struct.Struct("<8sIIQQIIIIII8x")


@pytest.fixture
def model(tiny_model: Path) -> Iterator[Model]:
    with Model.open(tiny_model) as opened:
        yield opened


def with_checksum(data: bytes) -> bytes:
    """The same file with file_bytes and checksum right."""
    data = data[:12] + bytes(4) + struct.pack("<Q", len(data)) + data[24:]
    return data[:12] + struct.pack("<I", zlib.crc32(data)) + data[16:]


@pytest.mark.parametrize("kv", KV_TYPES)
@pytest.mark.parametrize("n_tokens", [1, 64, 90])
def test_goes_on_with_the_same_bits(model: Model, tmp_path: Path, kv: KvType, n_tokens: int) -> None:
    path = tmp_path / "state"
    with model.session(context=128, kv=kv, threads=1) as session:
        session.prefill(TOKENS[:n_tokens])
        session.save(path)
        before = session.logits
        session.prefill([5, 6, 7])
        expected = session.logits
        assert session.tokens == (*TOKENS[:n_tokens], 5, 6, 7)
    with model.session(context=200, kv=kv, threads=2, pass_tokens=7) as other:
        other.prefill([9, 9, 9])
        assert other.restore(path) == TOKENS[:n_tokens]
        assert other.tokens == tuple(TOKENS[:n_tokens])
        np.testing.assert_array_equal(other.logits, before)
        other.prefill([5, 6, 7])
        np.testing.assert_array_equal(other.logits, expected)
        other.rewind(1)
        assert other.resume([*TOKENS[:n_tokens], 1]) == [*TOKENS[1:n_tokens], 1]


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gemma4", "qwen3", "qwen3_moe", "spark", "lfm2", *WITH_OPTIONS])
def test_of_other_architectures(tmp_path: Path, name: str) -> None:
    out = tmp_path / "model.rbe"
    pack(tiny_models.write(tiny_models.MODELS[name], tmp_path / "source"), out, PackOptions(bits=32))
    with Model.open(out) as model, model.session(threads=1) as session, model.session(threads=1) as other:
        session.prefill(TOKENS[:40])
        session.save(tmp_path / "state")
        session.prefill([1])
        other.restore(tmp_path / "state")
        other.prefill([1])
        np.testing.assert_array_equal(other.logits, session.logits)


def test_text_goes_on(model: Model, tmp_path: Path) -> None:
    options = GenerationOptions(max_tokens=8, ignore_end=True)
    with model.session(context=128) as session, model.session(context=128) as other:
        first = session.generate("Once upon a time", options)
        list(first)
        session.save(tmp_path / "state")
        other.restore(tmp_path / "state")
        again = [list(map(str, s.generate(" and", options))) for s in (session, other)]
        assert again[0] == again[1]


def test_empty_and_rewound_sessions(model: Model, tmp_path: Path) -> None:
    with model.session(context=128) as session, model.session(context=128) as other:
        session.save(tmp_path / "empty")
        session.prefill(TOKENS)
        session.rewind(70)
        session.save(tmp_path / "rewound")
        other.prefill([1, 2])
        assert other.restore(tmp_path / "rewound") == TOKENS[:70]
        with pytest.raises(RbeError, match="logits"):
            _ = other.logits
        assert other.restore(tmp_path / "empty") == [] and other.position == 0


def test_a_context_that_slid(model: Model, tmp_path: Path) -> None:
    with model.session(context=48, sinks=4) as session, model.session(context=48, sinks=4) as other:
        session.prefill(TOKENS)
        session.save(tmp_path / "state")
        assert tuple(other.restore(tmp_path / "state")) == session.tokens
        for token in range(20):  # it slides once more
            session.prefill([token])
            other.prefill([token])
        assert other.tokens == session.tokens
        np.testing.assert_array_equal(other.logits, session.logits)


def test_the_file_is_for_its_owner_and_replaced_whole(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"what was there before")
    with model.session(context=128) as session:
        session.prefill(TOKENS)
        session.save(path)
        assert path.stat().st_mode & 0o777 == 0o600
        session.prefill([1])
        session.save(path)
        assert session.restore(path) == [*TOKENS, 1]
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277])
def test_rights_whatever_the_umask(model: Model, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with model.session(context=128) as session:
            session.save(tmp_path / "state")
    finally:
        os.umask(before)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_only_files_are_replaced(model: Model, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real").write_bytes(b"old")
    os.mkfifo(tmp_path / "pipe")
    for name, target in {"to_pipe": "pipe", "dangling": "nothing", "circle": "circle", "link": "far/real"}.items():
        (tmp_path / name).symlink_to(target)
    there = sorted(os.listdir(tmp_path))
    with model.session(context=128) as session:
        session.prefill(TOKENS)
        for name, why in {
            "pipe": "is a device or a pipe", "to_pipe": "is a device or a pipe", "dangling": "is a link to nothing",
            "circle": "cannot be written", "far": "is a directory", "far/real/x": "cannot be written",
            "n" * 256: "cannot be written: File name too long",
        }.items():  # fmt: skip
            with pytest.raises(StateError, match=why) as raised:
                session.save(tmp_path / name)
            assert "\n" not in str(raised.value)
        assert sorted(os.listdir(tmp_path)) == there and (tmp_path / "pipe").is_fifo()
        session.save(tmp_path / "link")
        assert (tmp_path / "link").is_symlink() and session.restore(tmp_path / "far" / "real") == TOKENS
    assert os.listdir(tmp_path / "far") == ["real"]


@pytest.mark.parametrize("name", ["n" * 255, "n" * 249, "ü" * 127, "x" + "語" * 84, "🙂" * 63 + "xyz"])
def test_long_names(model: Model, tmp_path: Path, name: str) -> None:
    with model.session(context=128) as session:
        session.prefill(TOKENS)
        session.save(tmp_path / name)
        assert os.listdir(tmp_path) == [name] and session.restore(tmp_path / name) == TOKENS


KILLED = """
import sys
from rbe_edge import Model

with Model.open(sys.argv[1]) as model, model.session(context=200) as session:
    session.prefill([number % 250 for number in range(190)])
    print("saving", flush=True)
    while True:
        session.save("3.state")
"""


def test_a_save_that_is_killed(tiny_model: Path, tmp_path: Path) -> None:
    """While it saves, nobody takes its file for one that was left; when it is killed, the next start does."""
    files = StateFiles(tmp_path)
    command = [sys.executable, "-c", KILLED, str(tiny_model)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"saving\n"
        stopped: set[Path] = set()
        while not stopped and process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            stopped = {path for path in tmp_path.glob("3.state.*") if path.stat().st_size}
            if not stopped:
                process.send_signal(signal.SIGCONT)
                time.sleep(0.001)
        files.trim()
        assert stopped and stopped <= set(tmp_path.iterdir())
        process.kill()
    files.trim()
    assert os.listdir(tmp_path) in ([], ["3.state"])


def test_a_full_disk_leaves_what_was_there(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "state"
    with model.session(context=128) as session:
        session.prefill(TOKENS[:5])
        session.save(path)
        before = path.read_bytes()
        session.prefill(TOKENS[5:])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))  # a write beyond it fails
        try:
            with pytest.raises(StateError, match="cannot be written"):
                session.save(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes() == before and os.listdir(tmp_path) == ["state"]
        with pytest.raises(StateError, match="cannot be written"):
            session.save(tmp_path / "nowhere" / "state")
        with pytest.raises(StateError):
            session.save(tmp_path)
        assert os.listdir(tmp_path) == ["state"] and session.tokens == tuple(TOKENS)


def test_other_models_and_settings_are_refused(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "state"
    with model.session(context=128) as session:
        session.prefill(TOKENS)
        session.save(path)
    with model.session(context=128, kv="q8") as session:
        session.prefill([4, 5])
        expected = session.logits
        with pytest.raises(StateError, match="type f16, this session's is q8"):
            session.restore(path)
        assert session.tokens == (4, 5)
        np.testing.assert_array_equal(session.logits, expected)
    with model.session(context=80) as small, pytest.raises(ContextFull, match="90 tokens"):
        small.restore(path)
    out = tmp_path / "other.rbe"
    different = dataclasses.replace(tiny_models.MODELS["llama"], seed=2)
    pack(tiny_models.write(different, tmp_path / "source"), out, PackOptions(bits=32))
    with Model.open(out) as other, other.session() as session, pytest.raises(StateError, match="another model"):
        session.restore(path)
    with model.session(context=128) as session:
        path.write_bytes(with_checksum(path.read_bytes()[:8] + b"\4" + path.read_bytes()[9:]))
        with pytest.raises(StateError, match="version 4"):
            session.restore(path)
        with pytest.raises(StateError, match="No such file"):
            session.restore(tmp_path / "missing")
        with pytest.raises(StateError):
            session.restore(tmp_path)


def test_hostile_files(model: Model, tmp_path: Path) -> None:
    """Every damage is refused; with the checksum made right again, what is accepted can be run."""
    path = tmp_path / "state"
    source = random.Random(5)
    with model.session(context=128, threads=1) as session:
        session.prefill(TOKENS)
        session.save(path)
        good = path.read_bytes()
        fields = HEADER.unpack_from(good)
        assert fields[3] == len(good) and fields[9] == len(TOKENS)
        accepted = 0
        for round_ in range(600):
            data = bytearray(good)
            for _ in range(source.randrange(1, 3)):
                reach = HEADER.size if source.random() < 0.5 else len(data)
                at = source.randrange(min(reach, len(data)))
                kind = source.randrange(3)
                if kind == 0:
                    data = data[: max(at, 1)]
                elif kind == 1:
                    data[at] ^= 1 << source.randrange(8)
                else:
                    data[at : at + 4] = struct.pack("<I", source.choice([0, 1, 63, 65, 2**31, 2**32 - 1]))
            repaired = round_ % 3 != 0 and len(data) >= 24
            path.write_bytes(with_checksum(bytes(data)) if repaired else bytes(data))
            if not repaired and bytes(data) == good:
                continue
            before = session.tokens
            try:
                session.restore(path)
            except (StateError, ContextFull):
                assert session.tokens == before
            else:
                assert repaired
                accepted += 1
                session.prefill([3]) if session.position < 128 else None
        assert accepted > 20
        path.write_bytes(good)
        session.rewind()
        assert session.restore(path) == TOKENS


@pytest.mark.parametrize("kv", KV_TYPES)
def test_a_beginning_is_copied_from_another_session(model: Model, kv: KvType) -> None:
    with model.session(context=128, kv=kv) as whole, model.session(context=200, kv=kv, threads=2) as other:
        whole.prefill(TOKENS)
        other.prefill([1, 2])
        other.copy_from(whole, 70)
        assert other.tokens == tuple(TOKENS[:70]) and whole.tokens == tuple(TOKENS)
        with pytest.raises(RbeError, match="logits"):
            _ = other.logits
        other.prefill(other.resume(TOKENS))
        np.testing.assert_array_equal(other.logits, whole.logits)
        other.copy_from(whole, 0)
        assert other.position == 0


def test_what_cannot_be_copied(model: Model) -> None:
    with model.session(context=128) as session, model.session(context=128, kv="q8") as other:
        session.prefill([4, 5])
        other.prefill([6])
        with model.session(context=128) as like:
            for source, count, message in ((like, 1, "no more"), (like, -1, "no more"), (other, 1, "cache type")):
                with pytest.raises(OptionError, match=message):
                    session.copy_from(source, count)
            with pytest.raises(OptionError, match="another"):
                session.copy_from(session, 1)
            like.prefill(TOKENS)
            with model.session(context=64) as small, pytest.raises(ContextFull, match="90 tokens"):
                small.copy_from(like, 90)
        assert session.tokens == (4, 5)
        session.logits  # noqa: B018  still there
