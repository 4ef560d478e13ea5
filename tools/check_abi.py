"""Compares rbe_edge/_abi.py with the headers of native/include/rbe, so that the two cannot drift apart.

    python tools/check_abi.py            # prints the differences; exit code 1 where there are any

Sizes, offsets and constants come from a C compiler (tools/abi_probe.c); prototypes are read from the headers. The
headers also decide which structures, fields and constants the probe must have printed.
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
INCLUDE = REPOSITORY / "native" / "include"
HEADERS = [
    INCLUDE / "rbe" / f"{name}.h"
    for name in (
        "rbe",
        "chat",
        "codec",
        "effort",
        "encoder",
        "encoder_decoder",
        "experts",
        "faults",
        "fit",
        "governor",
        "gradients",
        "layer_embeddings",
        "modes",
        "parts",
        "power",
        "sampling",
        "threads",
    )
]
PROBE = REPOSITORY / "tools" / "abi_probe.c"

if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))  # the binding of this tree, not an installed one
from rbe_edge import _native, _version  # noqa: E402

STRUCTURES: dict[str, Any] = {
    cls.__doc__: cls
    for cls in vars(_native).values()
    if isinstance(cls, type) and issubclass(cls, ctypes.Structure) and cls is not ctypes.Structure and cls.__doc__
}

# How the C spelling of a type is written in Python. `const` does not matter to the ABI.
SCALARS: dict[str, Any] = {
    "int": ctypes.c_int,
    "rbe_status": ctypes.c_int,
    "size_t": ctypes.c_size_t,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "int8_t": ctypes.c_int8,
    "uint8_t": ctypes.c_uint8,
    "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "char": ctypes.c_char,
    "void *": ctypes.c_void_p,
    "rbe_log_callback": _native.LogCallback,
    "rbe_progress_callback": _native.ProgressCallback,
    "rbe_capture_callback": _native.CaptureCallback,
    "rbe_draw_callback": _native.DrawCallback,
    "rbe_governor_callback": _native.GovernorCallback,
    "rbe_gradient_callback": _native.GradientCallback,
    **STRUCTURES,
}


def compiler() -> list[str] | None:
    """The C compiler's command: $CC, else the first of cc, gcc, clang; None where there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    return next(([path] for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def run_probe(command: list[str]) -> list[list[str]]:
    """The lines that the probe prints, split into words."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "abi_probe"
        subprocess.run([*command, f"-I{INCLUDE}", str(PROBE), "-o", str(program)], check=True)
        output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return [line.split() for line in output.splitlines()]


def header_text() -> str:
    """The headers without comments and preprocessor lines, in one line."""
    text = "\n".join(header.read_text(encoding="utf-8") for header in HEADERS)
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return " ".join(text.split())


def ctype_of(spelling: str) -> Any:
    """The ctypes type of a C type such as `const rbe_tokenizer *` or `const char *const *`."""
    stars = spelling.count("*")
    name = " ".join(word for word in spelling.replace("*", " ").split() if word != "const")
    if name == "void":
        if stars == 0:
            return None
        name, stars = "void *", stars - 1
    result = SCALARS[name]
    for _ in range(stars):
        result = ctypes.POINTER(result)
    return result


def normal(ctype: Any) -> Any:
    """c_char_p and a pointer to c_char are the same to C."""
    if ctype is ctypes.c_char_p:
        return ctypes.POINTER(ctypes.c_char)
    if ctype is ctypes.POINTER(ctypes.c_char_p):
        return ctypes.POINTER(ctypes.POINTER(ctypes.c_char))
    return ctype


def parameter_types(parameters: str) -> list[Any]:
    if parameters.strip() == "void":
        return []
    return [ctype_of(re.sub(r"\w+$", "", parameter.strip())) for parameter in parameters.split(",")]


def header_prototypes(text: str) -> dict[str, tuple[Any, list[Any]]]:
    found = re.findall(r"RBE_API ([\w ]+?[ *]+)(rbe_\w+)\(([^()]*)\);", text)
    return {name: (ctype_of(result), parameter_types(parameters)) for result, name, parameters in found}


def header_fields(text: str) -> dict[str, list[tuple[str, Any]]]:
    structures: dict[str, list[tuple[str, Any]]] = {}
    for structure, body in re.findall(r"typedef struct (rbe_\w+) \{([^}]*)\}", text):
        structures[structure] = []
        for declaration in filter(None, map(str.strip, body.split(";"))):
            spelling, names = re.fullmatch(r"(.*?[ *])(\w[\w\[\], ]*)", declaration).groups()  # type: ignore[union-attr]
            for name in names.split(","):
                count = re.search(r"\[(\d+)\]", name)
                ctype = ctype_of(spelling) * int(count[1]) if count else ctype_of(spelling)
                structures[structure].append((re.sub(r"\[.*", "", name).strip(), ctype))
    return structures


def header_constants(text: str) -> list[str]:
    bodies = re.findall(r"enum(?: \w+)? \{([^}]*)\}", text)
    return [name for body in bodies for name in re.findall(r"(RBE_\w+) =", body)]


def differences(command: list[str]) -> list[str]:
    """What does not agree, one line each; empty where all does."""
    found: list[str] = []

    def compare(what: str, header: object, binding: object) -> None:
        if header != binding:
            found.append(f"{what}: the header has {header}, _abi.py has {binding}")

    text = header_text()
    fields = header_fields(text)
    constants = set(header_constants(text))
    prototypes = header_prototypes(text)
    if text.count("RBE_API ") != len(prototypes) or not fields or not constants:
        found.append("the header has declarations that tools/check_abi.py cannot read")

    lines = run_probe(command)
    printed_fields: dict[str, list[str]] = {}
    printed_constants = set()
    for kind, name, *rest in lines:
        if kind == "version":
            compare("RBE_VERSION", name, _version.__version__)
        elif kind == "constant":
            printed_constants.add(name)
            compare(name, int(rest[0]), _native.CONSTANTS.get(name))
        elif kind == "structure":
            printed_fields[name] = []
            compare(f"sizeof {name}", int(rest[0]), ctypes.sizeof(STRUCTURES[name]) if name in STRUCTURES else None)
        else:
            field, offset, size = rest[0], int(rest[1]), int(rest[2])
            printed_fields[name].append(field)
            bound = getattr(STRUCTURES.get(name), field, None)
            compare(f"{name}.{field}", (offset, size), bound and (bound.offset, bound.size))
    compare("fields in tools/abi_probe.c", {s: [name for name, _ in fields[s]] for s in fields}, printed_fields)
    missing = constants - printed_constants
    if missing:
        found.append(f"constants missing from tools/abi_probe.c: {sorted(missing)}")
    compare("constants", sorted(printed_constants), sorted(_native.CONSTANTS))

    for structure in fields.keys() & STRUCTURES.keys():
        bound_fields = [(name, normal(ctype)) for name, ctype in STRUCTURES[structure]._fields_]
        compare(f"fields of {structure}", [(name, normal(ctype)) for name, ctype in fields[structure]], bound_fields)
    compare("functions", sorted(prototypes), sorted(_native.PROTOTYPES))
    for name in prototypes.keys() & _native.PROTOTYPES.keys():
        result, parameters = _native.PROTOTYPES[name]
        compare(f"result of {name}", normal(prototypes[name][0]), normal(result))
        compare(f"arguments of {name}", [normal(p) for p in prototypes[name][1]], [normal(p) for p in parameters])
    return found


def main() -> int:
    command = compiler()
    if command is None:
        print("check_abi: no C compiler found; install one or set CC", file=sys.stderr)
        return 1
    found = differences(command)
    print("\n".join(found) or f"check_abi: {len(_native.PROTOTYPES)} functions and {len(STRUCTURES)} structures agree")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
