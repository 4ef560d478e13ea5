"""Real builds with the compilers of this machine, and what their programs answer under emulation."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from rbe_edge._version import __version__
from rbe_edge.building import compilers
from rbe_edge.building.build import BuildOptions, Built, build
from rbe_edge.building.targets import Target, find
from rbe_edge.runtime.model import demo_path

pytest.importorskip("pyproject_metadata")
pytest.importorskip("auditwheel")
needs_zig = pytest.mark.skipif(compilers.zig() is None, reason="needs the package ziglang")
needs_cmake = pytest.mark.skipif(shutil.which("ninja") is None, reason="needs cmake and ninja")

HELLO = "#include <rbe/rbe.h>\n#include <stdio.h>\nint main(void) { puts(rbe_version()); }\n"
GREETING = "Hello! It is nice to meet you. You can ask me about this kit, about batteries, or for a tiny story.\n"


def _build(name: str, options: BuildOptions) -> Built:
    (built,) = build([find(name)], options)
    assert built.error == "", built.error
    return built


def _answers(target: Target, program: Path) -> None:
    """The demo model's first answer, as each processor that must run the target."""
    emulator = shutil.which(target.platform.emulator)
    if emulator is None:
        pytest.skip(f"needs {target.platform.emulator} ({target.platform.emulator_package})")
    assert target.cores
    for core in target.cores:
        command = [emulator, "-cpu", core, str(program), "chat", str(demo_path()), "--temp", "0"]
        done = subprocess.run(command, input="Hello!\n", capture_output=True, text=True, check=False, timeout=300)
        assert (done.returncode, done.stdout) == (0, GREETING), (core, done.stderr)


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Android's target: the program by zig, the libraries by what stands in for the NDK, zig under its names."""
    target = find("android-arm64")
    root = tmp_path_factory.mktemp("phone")
    tools = root / "ndk" / "toolchains" / "llvm" / "prebuilt" / "linux-x86_64" / "bin"
    tools.mkdir(parents=True)
    for name, words in {
        f"{target.platform.ndk}-clang": "cc -target aarch64-linux-musl",
        "llvm-ar": "ar",
        "llvm-ranlib": "ranlib",
    }.items():
        unrefined = "-O0 -fno-sanitize=undefined" if " -target" in words else ""  # nothing that it makes is run
        (tools / name).write_text(f'#!/bin/sh\nexec "{compilers.zig()}" {words} "$@" {unrefined}\n')
        (tools / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_NDK_HOME", str(root / "ndk"))
        patch.setenv("CFLAGS", "-march=native -Dmain=nonsense")  # of this machine: must not come in
        built = _build(target.name, BuildOptions(output=root / "out", bundle=demo_path()))
    assert built.compilers == ("zig aarch64-linux-musl", "ndk aarch64-linux-android26")
    return root / "out" / target.name


@needs_zig
@needs_cmake
def test_zig_makes_a_program_that_answers(phone: Path, tmp_path: Path) -> None:
    program = phone / "bin" / "rbe"
    assert program.stat().st_size < 1_500_000
    _answers(find("android-arm64"), program)
    with tarfile.open(phone / "rbe-android-arm64-demo.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / "rbe-android-arm64-demo"
    assert (unpacked / "rbe").read_bytes() == program.read_bytes()
    assert (unpacked / "demo.rbe").read_bytes() == demo_path().read_bytes()


@needs_zig
@needs_cmake
def test_the_ndk_makes_libraries_and_a_wheel(phone: Path) -> None:
    names = {path.relative_to(phone).as_posix() for path in phone.rglob("*") if path.is_file()}
    assert {"lib/librbe.so", "lib/librbe.a", "include/rbe/rbe.h", "lib/pkgconfig/rbe.pc", "SHA256SUMS"} <= names
    assert "lib/cmake/rbe/rbeConfig.cmake" in names
    assert [name for name in names if name.endswith("-py3-none-android_26_arm64_v8a.whl")]
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=phone, check=True)
    for path in (phone / "lib" / "librbe.so", phone / "lib" / "librbe.a"):
        assert str(Path(__file__).parents[2]).encode() not in path.read_bytes(), "says where it was built"


@needs_zig
@needs_cmake
@pytest.mark.parametrize("how", ["rbe::rbe_static", "pkg-config"])
def test_programs_of_others_find_the_library(phone: Path, tmp_path: Path, how: str) -> None:
    """The folder moved, its CMake package and its pkg-config file still lead to it."""
    moved = tmp_path / "somewhere else"
    shutil.copytree(phone, moved)
    (tmp_path / "hello.c").write_text(HELLO)
    compiler = [str(compilers.zig()), "cc", "-target", "aarch64-linux-musl"]
    program = tmp_path / "build" / "hello"
    program.parent.mkdir()
    if how == "pkg-config":
        if shutil.which("pkg-config") is None:
            pytest.skip("needs pkg-config")
        environment = {**os.environ, "PKG_CONFIG_PATH": str(moved / "lib" / "pkgconfig")}
        asked = ["pkg-config", "--static", "--cflags", "--libs", "rbe"]
        said = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout
        subprocess.run(
            [*compiler, "-static", "hello.c", *shlex.split(said), "-o", str(program)], cwd=tmp_path, check=True
        )
    else:
        (tmp_path / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.20)\nproject(hello C)\nfind_package(rbe 0.1 REQUIRED)\n"
            f"add_executable(hello hello.c)\ntarget_link_libraries(hello PRIVATE {how})\n"
        )
        options = [
            "-DCMAKE_SYSTEM_NAME=Linux",
            f"-DCMAKE_C_COMPILER={';'.join(compiler)}",
            f"-DCMAKE_PREFIX_PATH={moved}",
        ]
        configure = ["cmake", "-S", ".", "-B", "build", "-G", "Ninja", *options]
        subprocess.run(configure, cwd=tmp_path, check=True, capture_output=True)
        subprocess.run(["cmake", "--build", "build"], cwd=tmp_path, check=True, capture_output=True)
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is not None:
        done = subprocess.run([emulator, str(program)], capture_output=True, text=True, check=True)
        assert done.stdout == f"{__version__}\n"


@needs_cmake
def test_debians_gcc_makes_all_of_a_target(tmp_path: Path) -> None:
    target = find("rpi-armv7")
    if compilers.gcc(target.platform) is None:
        pytest.skip(f"needs {target.platform.gcc_packages}")
    heard: list[tuple[str, int, int]] = []
    options = BuildOptions(output=tmp_path, compiler="gcc")
    (built,) = build([target], options, lambda *progress: heard.append(progress))
    assert built.error == "" and built.compilers == ("gcc arm-linux-gnueabihf",)
    _answers(target, tmp_path / target.name / "bin" / "rbe")
    (wheel,) = [name for name in built.files if name.endswith(".whl")]
    assert "manylinux" in wheel and wheel.endswith("_armv7l.whl")
    done = [progress[1] for progress in heard]
    assert done == sorted(done) and len(done) > 50 and heard[-1][1:] == (100, 100)


def _running(marker: str) -> list[str]:
    """Commands of processes that name `marker`."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if marker in command:
            found.append(command)
    return found


@needs_zig
@needs_cmake
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(tmp_path: Path, number: int, code: int) -> None:
    temporary, output = tmp_path / "scratch", tmp_path / "out"
    temporary.mkdir()
    command = [sys.executable, "-m", "rbe_edge", "build", "--target", "android-arm64", "-o", str(output)]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        limit = time.monotonic() + 120
        while not _running(f"{temporary}/rbe-build-") and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.05)
        time.sleep(1)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, "")
    assert list(temporary.iterdir()) == [] and not output.exists()
    limit = time.monotonic() + 30
    while _running(f"{temporary}/") and time.monotonic() < limit:  # killed, and not gone yet on a busy machine
        time.sleep(0.05)
    assert _running(f"{temporary}/") == []


def test_what_fails_is_one_line_and_json(tmp_path: Path) -> None:
    """Without any compiler of the NDK; nothing is compiled."""
    environment = {name: value for name, value in os.environ.items() if name != "ANDROID_NDK_HOME"}
    command = [sys.executable, "-m", "rbe_edge", "build", "--target", "android-arm64", "--compiler", "ndk", "--json"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "ANDROID_NDK_HOME" in done.stderr
    (built,) = json.loads(done.stdout)["built"]
    assert built["target"] == "android-arm64" and "ANDROID_NDK_HOME" in built["error"] and built["files"] == {}
    assert list(tmp_path.iterdir()) == []
