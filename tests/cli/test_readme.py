"""The README's first example and its programs give what the README says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rbe_edge import _native
from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.options import GenerationOptions

REPOSITORY = Path(__file__).resolve().parent.parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
GREETING = "Hello! It is nice to meet you. You can ask me about this kit, about batteries, or for a tiny story.\n"


def _program(language: str) -> str:
    (program,) = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(program)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(demo_path(), tmp_path / "smol.rbe")
    return tmp_path


def test_the_first_example(folder: Path) -> None:
    shown = re.search(r"^    \$ printf '(.*)' \| rbe chat\n((?:    .*\n)+)", README, re.MULTILINE)
    assert shown is not None
    done = subprocess.run(
        [sys.executable, "-m", "rbe_edge", "chat"],
        cwd=folder,
        input=shown[1].replace("\\n", "\n"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == re.sub("^    ", "", shown[2], flags=re.MULTILINE)
    assert done.stdout.startswith(GREETING)


def test_the_python_program(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _program("python")], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == GREETING


def _built(folder: Path, program: str) -> Path:
    (folder / "program.c").write_text(program, encoding="utf-8")
    library = Path(_native.library().path)
    compile_it = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "program.c", "-o", "program"]
    link_it = ["-I", str(REPOSITORY / "native" / "include"), str(library), f"-Wl,-rpath,{library.parent}"]
    subprocess.run(compile_it + link_it, cwd=folder, check=True)
    return folder / "program"


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_c_program(folder: Path) -> None:
    program = _built(folder, _program("c"))
    done = subprocess.run([program], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == GREETING


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_program_of_the_header(folder: Path) -> None:
    """It stands in the comment at the top, complete."""
    header = (REPOSITORY / "native" / "include" / "rbe" / "rbe.h").read_text(encoding="utf-8")
    lines = header[: header.index(" * Conventions.")].splitlines()[2:]
    program = _built(folder, "\n".join(line.removeprefix(" *").removeprefix("     ") for line in lines))
    text = "Once upon a time"
    done = subprocess.run([program, "smol.rbe", text], cwd=folder, capture_output=True, text=True, check=True)
    with Model.open(folder / "smol.rbe") as model, model.session() as session:
        expected = "".join(session.generate(text, GenerationOptions(max_tokens=40)))
    assert done.stdout == expected + "\n"
    failed = subprocess.run([program, "no.rbe", text], cwd=folder, capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "no.rbe" in failed.stdout
