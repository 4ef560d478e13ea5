"""The Kotlin compiler and coroutines that the package kotlin-jupyter-kernel carries: Debian's are of 2019."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path


def missing() -> str:
    """What this machine lacks, in words; "" where nothing."""
    return "" if importlib.util.find_spec("run_kotlin_kernel") else "no Kotlin here: pip install kotlin-jupyter-kernel"


def jars() -> list[Path]:
    """The compiler with its libraries, and those that programs need."""
    found = importlib.util.find_spec("run_kotlin_kernel")
    assert found and found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0]) / "jars"
    return sorted(path for path in folder.glob("*.jar") if path.name.startswith(("kotlin", "annotations")))


def compile_kotlin(sources: list[Path], out: Path, class_path: str) -> None:
    """Warnings are errors."""
    own = os.pathsep.join(map(str, jars()))
    compiler = [
        "java",
        "-cp",
        own,
        "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler",
        "-no-stdlib",
        "-no-reflect",
        "-Werror",
    ]
    searched = f"{own}{os.pathsep}{class_path}"
    subprocess.run([*compiler, "-jvm-target", "1.8", "-cp", searched, "-d", str(out), *map(str, sources)], check=True)
