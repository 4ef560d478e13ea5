"""Who may look at whom: the tables of CONTRIBUTING.md, proven by reading imports and by importing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import native_rooms
import pytest
import rooms
from rooms import PACKAGE, REPOSITORY

from rbe_edge.runtime.build import library_path

TABLE = "room of `rbe_edge/`"

HEAVY = [
    "torch",
    "transformers",
    "textual",
    "platformdirs",
    "safetensors",
    "numpy",
    "jinja2",
    "rich",
    "huggingface_hub",
    "sentencepiece",
]


def _python(code: str, cwd: Path) -> str:
    """What a fresh interpreter prints, away from the repository."""
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_room_is_in_the_table() -> None:
    entries = {path for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert {path.stem for path in entries} - {"__pycache__"} == set(rooms.table(TABLE))


def test_rooms_know_what_the_table_says() -> None:
    """And the table allows nothing that no file uses."""
    allowed = rooms.table(TABLE)
    used: dict[str, set[str]] = {room: set() for room in allowed}
    for module, path in rooms.modules().items():
        for imported in rooms.imports(path):
            if imported.startswith("rbe_edge."):
                room, other = rooms.room(module), rooms.room(imported)
                assert other == room or other in allowed[room], f"{module} must not import {imported}"
                used[room] |= {other} - {room}
    unused = {room: knows - used[room] for room, knows in allowed.items() if knows - used[room]}
    assert not unused, f"CONTRIBUTING.md allows what nothing uses: {unused}"


def test_no_circle_of_rooms() -> None:
    assert rooms.circles(rooms.table(TABLE)) == []


def test_no_circle_of_files() -> None:
    assert rooms.circles(rooms.file_graph()) == []


def test_no_private_member_of_another_file() -> None:
    paths = [*(REPOSITORY / "rbe_edge").rglob("*.py"), *(REPOSITORY / "tools").rglob("*.py")]
    assert rooms.private_uses(paths) == []


def test_circles_and_private_members_are_found(tmp_path: Path) -> None:
    assert rooms.circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [{"b", "c"}]
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("class One:\n    def _mine(self): return self._mine\n", encoding="utf-8")
    other.write_text(
        "from rbe_edge.one import _two\nfrom rbe_edge import _native\none._mine\n_native._x\n", encoding="utf-8"
    )
    assert rooms.private_uses([one, other]) == [(other, 1, "_two"), (other, 3, "one._mine")]


def test_only_tui_imports_textual() -> None:
    for module, path in rooms.modules().items():
        if rooms.room(module) != "tui":
            assert not any(name.split(".")[0] == "textual" for name in rooms.imports(path)), module


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
    commands = {name.rpartition(".")[2] for name in rooms.modules() if name.endswith("_command")}
    for arguments, expected in (["--version"], set()), (["list", "."], {"list_command"}), (["--help"], commands):
        code = (
            "import contextlib, io, sys; from rbe_edge.cli.main import main\n"
            f"with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main({arguments})\n"
            "print(*(m.rpartition('.')[2] for m in sys.modules if m.endswith('_command')))"
        )
        assert set(_python(code, tmp_path).split()) == expected


def test_everything_imports_without_the_extras(tmp_path: Path) -> None:
    http = {
        "access",
        "access_log",
        "app",
        "bodies",
        "connections",
        "desk",
        "header_limits",
        "http_server",
        "pages",
        "shelf",
    }
    http |= {"ollama_models"}
    needing = {f"rbe_edge.server.{name}" for name in http}
    names = [
        name
        for name in rooms.modules()
        if not name.startswith("rbe_edge.tui") and name not in needing and not name.endswith("_routes")
    ]
    code = (
        "import sys, importlib\n"
        "for name in ['torch', 'transformers', 'textual', 'huggingface_hub', 'sentencepiece', 'gguf', 'tokenizers',"
        " 'tiktoken', 'platformdirs', 'starlette', 'uvicorn']: sys.modules[name] = None\n"
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


# What C11 offers everywhere, without threads, clocks and signals; and what compilers offer of the processor.
STANDARD_HEADERS = {
    "assert.h", "ctype.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h", "stdalign.h", "stdarg.h",
    "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h",
}  # fmt: skip
INTRINSICS = {"arm_acle.h", "arm_neon.h", "cpuid.h", "emmintrin.h", "immintrin.h"}

NATIVE_TABLE = "room of `native/src/`"


def test_only_platform_includes_system_headers() -> None:
    for source, header in native_rooms.system_includes():
        if native_rooms.room(source) != "platform":
            assert header in STANDARD_HEADERS | INTRINSICS, f"{source} includes <{header}>"


def test_native_rooms_know_rooms_above_them_in_the_table() -> None:
    allowed = rooms.table(NATIVE_TABLE)
    assert set(allowed) == native_rooms.rooms()
    above: set[str] = set()
    for room, knows in allowed.items():
        assert knows <= above, f"CONTRIBUTING.md: {room} knows {sorted(knows - above)}, below it in the table"
        above.add(room)


def test_native_rooms_know_what_the_table_says(tmp_path: Path) -> None:
    """By includes and by symbols. And the table allows nothing that no file uses."""
    objects = native_rooms.built_objects(library_path(), tmp_path)
    if objects is None:
        pytest.skip("to see the symbols that objects take, nm and a build tree or cmake are needed")
    allowed = rooms.table(NATIVE_TABLE)
    used: dict[str, set[str]] = {room: set() for room in allowed}
    forbidden = []
    for name, room, other, how in native_rooms.include_arrows() + native_rooms.symbol_arrows(objects):
        if room != other and other in allowed[room]:
            used[room].add(other)
        elif room != other:
            forbidden.append(f"{name} {how} of {other}")
    assert not forbidden, f"the table of CONTRIBUTING.md does not allow {forbidden}"
    unused = {room: knows - used[room] for room, knows in allowed.items() if knows - used[room]}
    assert not unused, f"CONTRIBUTING.md allows what nothing uses: {unused}"
