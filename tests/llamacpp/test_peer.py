"""llama.cpp's process where it dies: one line, and how to build it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from rbe_edge.errors import OptionError, RbeError
from rbe_edge.llama_cpp import peer, quantiser


@pytest.fixture
def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the place of Python, which writes its last words and dies of what its file says."""
    how, program = tmp_path / "how", tmp_path / "python"
    program.write_text(f"#!/bin/sh\nread line\necho 'first' >&2\necho 'last words' >&2\n. {how}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return how


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGILL], ids=lambda number: number.name)
def test_a_wrong_build_is_told_how_to_be_right(number: signal.Signals, dying: Path, tmp_path: Path) -> None:
    dying.write_text(f"kill -{int(number)} $$\n")
    with pytest.raises(RbeError) as raised:
        peer.Llama(tmp_path / "m.gguf", 64, 1)
    said = str(raised.value)
    assert said.startswith(f"llama.cpp died of {number.name}: last words; if GCC 12 built it")
    assert "CC=clang" in said and "-DGGML_NATIVE=OFF" in said and "\n" not in said


@pytest.mark.parametrize(("how", "said"), [("exit 3", "ended with code 3"), ("kill -9 $$", "died of SIGKILL")])
def test_another_end_is_not_blamed_on_the_build(how: str, said: str, dying: Path, tmp_path: Path) -> None:
    dying.write_text(how + "\n")
    with pytest.raises(RbeError) as raised:
        peer.Llama(tmp_path / "m.gguf", 64, 1)
    assert str(raised.value) == f"llama.cpp {said}: last words"


def test_the_quantiser_where_it_dies() -> None:
    """ggml aborts on what it refuses; a wrong build dies otherwise."""
    refused = quantiser.refusal("Q4_0", -signal.SIGABRT)
    assert isinstance(refused, OptionError) and "cannot quantise this model to Q4_0" in str(refused)
    assert str(quantiser.refusal("Q4_0", 1)) == str(refused)
    died = str(quantiser.refusal("Q4_0", -signal.SIGSEGV))
    assert died.startswith("llama.cpp died of SIGSEGV while it quantised to Q4_0; if GCC 12") and "CC=clang" in died
