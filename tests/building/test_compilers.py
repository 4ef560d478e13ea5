"""Which compiler makes what; and what a person is told where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbe_edge.building import compilers
from rbe_edge.building.targets import Platform, find
from rbe_edge.errors import BuildError, OptionError

PI = find("rpi5").platform
PHONE = find("android-arm64").platform
MAC = find("macos-arm64").platform


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What this machine has; empty at first."""
    found: dict[str, object] = {}
    monkeypatch.setattr(compilers, "zig", lambda: found.get("zig"))
    monkeypatch.setattr(compilers, "gcc", lambda platform: found.get("gcc") if platform.gcc else None)
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    return found


@pytest.fixture
def ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: dict[str, object]) -> Path:
    clang = tmp_path / "toolchains" / "llvm" / "prebuilt" / "linux-x86_64" / "bin" / f"{PHONE.ndk}-clang"
    clang.parent.mkdir(parents=True)
    clang.touch()
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path))
    return clang


def test_without_a_compiler_a_line_says_what_to_install(here: dict[str, object]) -> None:
    with pytest.raises(BuildError, match=r"pip install 'rbe-edge\[build\]'.* apt install gcc-aarch64-linux-gnu libc6"):
        compilers.plan(PI)
    with pytest.raises(BuildError, match="no compiler for macos-arm64") as raised:
        compilers.plan(MAC)
    assert "apt" not in str(raised.value)
    assert compilers.found_for(PI) == ()


@pytest.mark.parametrize(
    ("platform", "kind", "error", "line"),
    [
        (PI, "zig", BuildError, "pip install"),
        (PI, "gcc", BuildError, "apt install gcc-aarch64-linux-gnu"),
        (PI, "ndk", OptionError, "Android's targets only"),
        (PHONE, "ndk", BuildError, "ANDROID_NDK_HOME"),
        (MAC, "gcc", OptionError, "no gcc makes macos-arm64"),
    ],
)
def test_a_compiler_by_name(
    here: dict[str, object], platform: Platform, kind: compilers.Kind, error: type[Exception], line: str
) -> None:
    with pytest.raises(error, match=line):
        compilers.plan(platform, kind)


def test_the_first_found_wins(here: dict[str, object]) -> None:
    here["gcc"] = "/usr/bin/aarch64-linux-gnu-gcc"
    (gcc,) = compilers.plan(PI)
    assert gcc.kind == "gcc" and gcc.archiver == ("/usr/bin/aarch64-linux-gnu-ar",)
    here["zig"] = Path("/zig")
    musl, glibc = compilers.plan(PI)
    assert (musl.kind, musl.program, musl.library, musl.wheel) == ("zig", True, False, "musllinux_1_2_aarch64")
    assert glibc.compiler == ("/zig", "cc", "-target", "aarch64-linux-gnu.2.17", "-mcpu=generic")
    assert (glibc.program, glibc.library) == (False, True)
    assert compilers.plan(PI, "gcc") == (gcc,)


def test_android_gets_the_program_by_zig_and_the_libraries_by_the_ndk(here: dict[str, object], ndk: Path) -> None:
    (alone,) = compilers.plan(PHONE)
    assert alone.compiler == (str(ndk),) and alone.program and alone.library and alone.archiver[0].endswith("llvm-ar")
    here["zig"] = Path("/zig")
    program, library = compilers.plan(PHONE)
    assert (program.kind, program.program, program.library, program.wheel) == ("zig", True, False, "")
    assert (library.kind, library.program, library.library) == ("ndk", False, True)
    assert compilers.found_for(PHONE) == ("zig", "ndk")


def test_an_ndk_that_is_none(here: dict[str, object], ndk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ndk.unlink()
    with pytest.raises(BuildError, match="holds no aarch64-linux-android26-clang"):
        compilers.plan(PHONE)
    assert compilers.found_for(PHONE) == ()
