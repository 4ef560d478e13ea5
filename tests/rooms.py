"""The rooms of CONTRIBUTING.md, and what the files of rbe_edge import: read, never run."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_SPEC = importlib.util.find_spec("rbe_edge")
assert _SPEC is not None and _SPEC.origin is not None
PACKAGE = Path(_SPEC.origin).parent


def table(first_cell: str) -> dict[str, set[str]]:
    """The table of CONTRIBUTING.md whose header begins with `first_cell`: each room, and the rooms that it knows.

    The first column names the room, the last one what it knows, both in backticks; columns between them are for people.
    """
    lines = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines) if _cells(line)[:1] == [first_cell]]
    assert len(starts) == 1, f"CONTRIBUTING.md must hold one table that begins with {first_cell!r}"
    rooms: dict[str, set[str]] = {}
    for line in lines[starts[0] + 2 :]:
        cells = _cells(line)
        if not cells:
            break
        (name,) = _names(cells[0])
        assert name not in rooms, f"CONTRIBUTING.md names the room {name} twice"
        rooms[name] = set(_names(cells[-1]))
    for name, knows in rooms.items():
        assert knows <= set(rooms), f"CONTRIBUTING.md: {name} knows {knows - set(rooms)}, which the table lacks"
    return rooms


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def _names(cell: str) -> list[str]:
    return [name.rstrip("/") for name in re.findall(r"`([^`]+)`", cell)]


def modules() -> dict[str, Path]:
    """The file of every module of rbe_edge, by the module's name; a package's is its `__init__`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module: str) -> str:
    """The folder or the file directly in rbe_edge that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere in it, for types only or late too.

    `from package import name` counts as package.name. A string that is the name of a module of rbe_edge counts: it is
    imported, or run as a program, by that name.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"rbe_edge(\.\w+)+", node.value):
                found.add(node.value)
    return found


def file_graph() -> dict[str, set[str]]:
    """For every module of rbe_edge those that it imports. That `import a.b` runs `a` too is not counted."""
    known = modules()
    graph = {}
    for module, path in known.items():
        named = {name if name in known else name.rpartition(".")[0] for name in imports(path)}
        graph[module] = (named & known.keys()) - {module}
    return graph


def circles(graph: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """The sets of more than one node that reach each other along the arrows."""
    reached = {start: _reached(graph, start) for start in graph}
    found: list[set[str]] = []
    for start in sorted(graph):
        if start in reached[start] and not any(start in circle for circle in found):
            found.append({other for other in reached[start] if start in reached[other]})
    return found


def _reached(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting += graph[node]
    return reached


def private_uses(paths: Iterable[Path]) -> list[tuple[Path, int, str]]:
    """Where a file uses a name that begins with one underscore and that another file defines: path, line, expression.

    `rbe_edge._native` and `rbe_edge._abi` may be used, with what is private in them. A name that the file defines too
    is taken for its own, unless it is asked of something imported.
    """
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    defined = {path: _defined(tree) for path, tree in trees.items()}
    anywhere = set().union(*defined.values())
    found = []
    for path, tree in trees.items():
        imported = _imported_from_us(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rbe_edge."):
                if str(node.module).endswith(("._native", "._abi")):
                    continue
                found += [(path, node.lineno, alias.name) for alias in node.names if _private(alias.name)]
            elif isinstance(node, ast.Attribute) and _private(node.attr) and node.attr in anywhere:
                owner = node.value.id if isinstance(node.value, ast.Name) else None
                if owner in ("_native", "_abi") or (node.attr in defined[path] and owner not in imported):
                    continue
                found.append((path, node.lineno, ast.unparse(node)))
    return found


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_")  # __init__, and _fields_ of ctypes, are for all


def _imported_from_us(tree: ast.AST) -> set[str]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {alias.asname or alias.name for n in nodes if (n.module or "").startswith("rbe_edge") for alias in n.names}


def _defined(tree: ast.AST) -> set[str]:
    """Functions, classes, variables, and attributes that are set on `self` or `cls`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                names.add(node.attr)
    return names
