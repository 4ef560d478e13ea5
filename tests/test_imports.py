"""Who may look at whom: the rules of docs and CONTRIBUTING.md, proven by reading imports and by importing."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SPEC = importlib.util.find_spec("rbe_edge")
assert SPEC is not None and SPEC.origin is not None
PACKAGE = Path(SPEC.origin).parent

# What each room may import of the package, late imports included. Arrows go one way.
ROOMS = {
    "errors": set(),
    "_version": set(),
    "_abi": set(),
    "_native": {"_abi", "errors", "_version"},
    "runtime": {"_native", "errors", "_version"},
    "codes": {"_native", "errors"},
    "format": {"packing", "_native", "errors", "_version"},
    "sources": {"codes", "format", "packing", "runtime", "_native", "errors", "_version"},
    "packing": {"sources", "format", "codes", "runtime", "_native", "errors", "_version"},
    "grammar": {"runtime", "server", "errors"},
    "llama_cpp": {"sources", "format", "packing", "runtime", "bench", "errors", "_version"},
    "evaluation": {"runtime", "errors", "_version"},
    "comparison": {
        "llama_cpp", "sources", "format", "codes", "runtime", "packing", "evaluation", "_native", "errors", "_version",
    },
    "bench": {"llama_cpp", "sources", "format", "codes", "runtime", "packing", "errors", "_version"},
    "tuning": {"sources", "format", "codes", "packing", "evaluation", "runtime", "errors", "_version"},
    "store": {"runtime", "errors", "_version"},
    "tui": {"store", "sources", "runtime", "packing", "errors", "_version"},
    "server": {"grammar", "runtime", "errors", "_version", "_native"},
    "cli": {
        "server", "tui", "store", "tuning", "bench", "runtime", "packing", "sources", "format", "codes", "evaluation",
        "comparison", "llama_cpp", "errors", "_version",
    },
    "__init__": {"runtime", "errors", "_version"},
    "__main__": {"cli"},
}  # fmt: skip

HEAVY = [
    "torch",
    "transformers",
    "textual",
    "psutil",
    "platformdirs",
    "safetensors",
    "numpy",
    "jinja2",
    "rich",
    "huggingface_hub",
    "sentencepiece",
]


def _modules() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found.append((".".join(parts[:-1] if parts[-1] == "__init__" else parts), path))
    return found


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def _imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere in it; `from package import name` counts as package.name too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _python(code: str, cwd: Path) -> str:
    """What a fresh interpreter prints, away from the repository."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("module", "path"), _modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_arrows_go_one_way(module: str, path: Path) -> None:
    room = _room(module)
    assert room in ROOMS or room == "demo", f"{module} is in no known room; say in ROOMS what it may import"
    for imported in _imports(path):
        if imported.startswith("rbe_edge."):
            other = imported.split(".")[1]
            assert other == room or other in ROOMS[room], f"{module} must not import {imported}"


@pytest.mark.parametrize(("module", "path"), _modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_only_tui_imports_textual(module: str, path: Path) -> None:
    if not module.startswith("rbe_edge.tui"):
        assert not any(name.split(".")[0] == "textual" for name in _imports(path))


@pytest.mark.parametrize("module", ["rbe_edge", "rbe_edge.cli.main", "rbe_edge.runtime.conversation"])
def test_importing_brings_nothing_heavy(module: str, tmp_path: Path) -> None:
    code = f"import sys, json, {module}; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    assert json.loads(_python(code, tmp_path)) == []


def test_the_command_line_brings_nothing_heavy(tmp_path: Path) -> None:
    """All commands together; and one alone brings no other, `--version` none."""
    code = (
        f"import sys; from rbe_edge.cli.main import _parser; _parser()\nprint([m for m in {HEAVY} if m in sys.modules])"
    )
    assert _python(code, tmp_path).strip() == "[]"
    commands = {name.rpartition(".")[2] for name, _ in _modules() if name.endswith("_command")}
    for arguments, expected in (["--version"], set()), (["list", "."], {"list_command"}), (["--help"], commands):
        code = (
            "import contextlib, io, sys; from rbe_edge.cli.main import main\n"
            f"with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main({arguments})\n"
            "print(*(m.rpartition('.')[2] for m in sys.modules if m.endswith('_command')))"
        )
        assert set(_python(code, tmp_path).split()) == expected


def test_everything_imports_without_the_extras(tmp_path: Path) -> None:
    names = [name for name, _ in _modules() if not name.startswith(("rbe_edge.tui", "rbe_edge.server.app"))]
    code = (
        "import sys, importlib\n"
        "for name in ['torch', 'transformers', 'textual', 'huggingface_hub', 'sentencepiece', 'gguf', 'tokenizers',"
        " 'tiktoken', 'psutil', 'platformdirs', 'starlette', 'uvicorn']: sys.modules[name] = None\n"
        f"for name in {names}: name.endswith('__main__') or importlib.import_module(name)\n"
        "print('done')"
    )
    assert _python(code, tmp_path).strip() == "done"


def test_importing_loads_no_library(tmp_path: Path) -> None:
    code = "import rbe_edge, rbe_edge._native as n; print(n.library.cache_info().currsize)"
    assert _python(code, tmp_path).strip() == "0"


def test_public_names_exist(tmp_path: Path) -> None:
    import rbe_edge

    for name in rbe_edge.__all__:
        assert getattr(rbe_edge, name) is not None
    assert set(rbe_edge.__all__) <= set(dir(rbe_edge))
    with pytest.raises(AttributeError):
        _ = rbe_edge.no_such_name


# Headers of an operating system: only native/src/platform/ may know them.
SYSTEM_HEADERS = re.compile(
    r"#\s*include\s*<(sys/|unistd|fcntl|pthread|sched|dlfcn|windows|mach|dirent|poll|signal|asm/)"
)


def test_only_platform_knows_the_operating_system() -> None:
    sources = [*(REPOSITORY / "native" / "src").rglob("*.[ch]")]
    assert sources
    for source in sources:
        if "platform" not in source.relative_to(REPOSITORY / "native" / "src").parts:
            assert not SYSTEM_HEADERS.search(source.read_text(encoding="utf-8")), f"{source} includes a system header"


@pytest.mark.parametrize("folder", ["kernels", "layers"])
def test_kernels_and_layers_know_nothing_above_them(folder: str) -> None:
    forbidden = {
        "kernels": ("model", "session", "pack_", "layers/", "tokenizer"),
        "layers": ("pack_", "session", "platform/"),
    }
    for source in (REPOSITORY / "native" / "src" / folder).rglob("*.[ch]"):
        for included in re.findall(r'#\s*include\s*"([^"]+)"', source.read_text(encoding="utf-8")):
            assert not included.removeprefix("../").startswith(forbidden[folder]), f"{source} includes {included}"
