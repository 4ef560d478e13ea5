"""Compiles the sources with one compiler: CMake and ninja in processes of their own, heard for how far they are."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rbe_edge import interrupts
from rbe_edge.building.compilers import INSTALL, Step
from rbe_edge.building.targets import Platform
from rbe_edge.errors import BuildError
from rbe_edge.progress import Report

#: The C program's target in CMake, and its file name in the build tree.
PROGRAM = "rbe"

_SYSTEMS = {"Linux": "Linux", "Android": "Linux", "Darwin": "Darwin", "Windows": "Windows"}

# What a person may have set for the compiler of this machine says nothing of another's: -march=native above all.
_FORGET = ("AR", "CC", "CFLAGS", "CPPFLAGS", "CPATH", "C_INCLUDE_PATH", "LDFLAGS", "LIBRARY_PATH", "RANLIB", "DESTDIR")

_STOP_S = 10  # for the compilers to end when they are asked to
_GONE_S = 0.5  # for what was killed to be gone

Log = Callable[[str], object]


@dataclass(frozen=True)
class Tools:
    """The commands of CMake and ninja."""

    cmake: str
    ninja: str


def tools() -> Tools:
    """Those of this Python's environment, else of the PATH. BuildError where one is missing."""

    def command(name: str) -> str:
        beside = str(Path(sys.executable).parent)
        found = shutil.which(name, path=beside) or shutil.which(name)
        if found is None:
            raise BuildError(f"{name} is not installed here; {INSTALL}")
        return found

    return Tools(command("cmake"), command("ninja"))


@dataclass(frozen=True)
class Tree:
    """A finished build tree. installed: holds lib/ and include/ as they are given to people."""

    build: Path
    installed: Path

    @property
    def program(self) -> Path:
        return self._existing(PROGRAM, f"{PROGRAM}.exe")

    @property
    def shared_library(self) -> Path:
        return self._existing("librbe.so", "librbe.dylib", "librbe.dll", "rbe.dll")

    def _existing(self, *names: str) -> Path:
        for name in names:
            if (self.build / "native" / name).is_file():
                return self.build / "native" / name
        raise BuildError(f"the build made no {names[0]}; report this with the output of --verbose")


def compile_sources(
    step: Step,
    platform: Platform,
    source: Path,
    scratch: Path,
    report: Report,
    *,
    jobs: int = 0,
    log: Log | None = None,
    preparing: Callable[[], object] = lambda: None,
) -> Tree:
    """Compiles `source` in the new directory `scratch`. report: counts compilations. jobs: at once, 0: one per core.
    log: hears every line that CMake and the compilers write. preparing: called often before the first compilation.
    BuildError, with their first line of error, where one fails."""
    found = tools()
    tree = Tree(scratch / "build", scratch / "installed")
    tree.build.mkdir(parents=True)
    toolchain = scratch / "toolchain.cmake"
    toolchain.write_text(_toolchain(step, platform, scratch), encoding="utf-8")
    options = {
        "CMAKE_TOOLCHAIN_FILE": toolchain,
        "CMAKE_MAKE_PROGRAM": found.ninja,
        "CMAKE_INSTALL_PREFIX": tree.installed,
        "CMAKE_INSTALL_LIBDIR": "lib",
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_TRY_COMPILE_CONFIGURATION": "Release",  # else zig makes its C library twice
        "CMAKE_C_COMPILER_LAUNCHER": "",
        "RBE_CODEC": "ON" if platform.encoder else "OFF",
        "RBE_CLI": "ON" if step.program else "OFF",
        **_flags(step, platform, source, scratch),
    }
    configure = [found.cmake, "-S", str(source), "-B", str(tree.build), "-G", "Ninja"]
    environment = _environment(scratch)
    run = _Runner(f"{platform.name} by {step.kind}", environment, log)
    run([*configure, *(f"-D{name}={value}" for name, value in options.items())], lambda line: preparing())
    run([found.ninja, "-C", str(tree.build), *([f"-j{jobs}"] if jobs else [])], _counting(report))
    run([found.cmake, "--install", str(tree.build)])
    return tree


def _environment(scratch: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in _FORGET and not name.startswith("CMAKE_")}
    # What zig compiles goes with the scratch directory; the C libraries that it makes once stay in its own cache.
    return {**kept, "ZIG_LOCAL_CACHE_DIR": str(scratch / "zig"), "NINJA_STATUS": "[%f/%t] ", "LC_ALL": "C"}


def _quoted(words: Sequence[str]) -> str:
    return " ".join('"' + word.replace("\\", "/").replace('"', '\\"') + '"' for word in words)


def _toolchain(step: Step, platform: Platform, scratch: Path) -> str:
    """CMake takes `zig cc` as a compiler of two words, but an archiver of one alone: scripts stand in for it."""
    lines = [
        f"set(CMAKE_SYSTEM_NAME {_SYSTEMS[platform.system]})",
        f"set(CMAKE_SYSTEM_PROCESSOR {platform.machine})",
        f"set(CMAKE_C_COMPILER {_quoted(step.compiler)})",
    ]
    commands = {"AR": step.archiver, "RANLIB": step.indexer}
    if platform.system == "Windows":
        commands["RC_COMPILER"] = (*step.archiver[:-1], "rc")
    for name, command in commands.items():
        script = scratch / name.lower()
        script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        lines.append(f"set(CMAKE_{name} {_quoted([str(script)])} CACHE FILEPATH tool)")
    return "\n".join(lines) + "\n"


def _flags(step: Step, platform: Platform, source: Path, scratch: Path) -> dict[str, str]:
    """Small files that say nothing of this machine's folders."""
    compile_flags = "-g0 -ffunction-sections -fdata-sections"
    for place, name in ((source, "rbe"), (scratch, "build")):
        if " " not in str(place):  # else the path stands in the few messages that name a source file
            compile_flags += f" -ffile-prefix-map={place}={name}"
    shared, program = "-s", "-s"
    if platform.system == "Darwin":
        program += " -Wl,-dead_strip"
    elif platform.system != "Windows":
        program += " -Wl,--gc-sections"
        program += " -static" if step.program and platform.static_program else ""  # zig has no static glibc
    if step.kind == "ndk":  # phones with pages of 16 KiB
        shared += " -Wl,-z,max-page-size=16384"
        program += " -Wl,-z,max-page-size=16384"
    return {
        "CMAKE_C_FLAGS": compile_flags,
        "CMAKE_SHARED_LINKER_FLAGS": shared,
        "CMAKE_EXE_LINKER_FLAGS": program,
    }


def _counting(report: Report) -> Log:
    """Hears ninja's lines, which begin as NINJA_STATUS says."""

    def hear(line: str) -> None:
        counted = re.match(r"\[(\d+)/(\d+)\] ", line)
        if counted is not None:
            report(int(counted[1]), int(counted[2]))

    return hear


class _Runner:
    """Runs commands, each in a process group of its own, so that Ctrl-C comes here alone and all of it is ended."""

    def __init__(self, what: str, environment: dict[str, str], log: Log | None) -> None:
        self._what = what
        self._environment = environment
        self._log = log

    def __call__(self, command: Sequence[str], hear: Log = lambda line: None) -> None:
        last: deque[str] = deque(maxlen=400)
        process: subprocess.Popen[str] | None = None
        try:
            with interrupts.deferred():  # else one that comes while it starts leaves it behind
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    text=True,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,
                )
            assert process.stdout is not None
            for line in process.stdout:
                last.append(line.rstrip())
                if self._log is not None:
                    self._log(line.rstrip())
                hear(line)
            code = process.wait()
        except BaseException:
            if process is not None:
                _stop(process)
            raise
        if code != 0:
            raise BuildError(f"{self._what}: {_reason(list(last))}")


def _stop(process: subprocess.Popen[str]) -> None:
    """With all that it has started: the compiler may be a child of a child, which nobody here can wait for."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_STOP_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    end = time.monotonic() + _GONE_S
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < end:
            os.killpg(process.pid, 0)  # raises where the group is gone
            time.sleep(0.005)
    if process.stdout is not None:
        process.stdout.close()


_FULL = re.compile(r"no space left|nospaceleft|disk quota exceeded|enospc", re.IGNORECASE)


def _reason(lines: Sequence[str]) -> str:
    """The first line that says what went wrong."""
    if any(_FULL.search(line) for line in lines):
        return "the disk is full; make room, or set TMPDIR to a folder on another disk"
    for line in _errors(lines):
        return f"{line}; see all of it with --verbose"
    return "the compiler failed; see what it says with --verbose"


def _errors(lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if line.startswith("CMake Error"):
            yield " ".join([line, *(part.strip() for part in lines[number + 1 : number + 3])])
        elif re.search(r"\b(fatal )?error: ", line):
            yield line.strip()
