"""Fuzzes one Python target by atheris: run_target.py NAME [options and folders of libFuzzer]. What it begins with is
written into the first folder. A finding ends the program with its traceback; its input is
kept where -artifact_prefix says."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).resolve().parent.parent
#: Folders whose modules the targets use.
SHARED = ("fuzz", "sources", "grammar", ".")


def target_names() -> list[str]:
    return sorted(path.stem.removeprefix("target_") for path in Path(__file__).parent.glob("target_*.py"))


def load(name: str) -> ModuleType:
    """The target; its folders are on the path from then on."""
    sys.path[:0] = [str(TESTS / folder) for folder in SHARED if str(TESTS / folder) not in sys.path]
    return importlib.import_module(f"target_{name}")


def beginnings(target: ModuleType) -> dict[str, bytes]:
    """The inputs that fuzzing begins with: those that the target makes, and those of its folder in the corpus, among
    which are earlier findings."""
    folder = Path(__file__).parent / "corpus" / target.__name__.removeprefix("target_")
    kept = {path.name: path.read_bytes() for path in sorted(folder.glob("*"))}
    return {**target.seeds(), **kept}


def main() -> None:
    import atheris

    name, options = sys.argv[1], sys.argv[2:]
    with atheris.instrument_imports(include=["rbe_edge"], enable_loader_override=False):
        target = load(name)
        for seed, data in beginnings(target).items():
            target.run(data)  # imports what is imported late
            folder = next((Path(option) for option in options if not option.startswith("-")), None)
            if folder is not None:
                (folder / seed).write_bytes(data)
    json_changes = importlib.import_module("json_changes")

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        found = json_changes.changed(data, seed) if target.IS_JSON and random.Random(seed).random() < 0.7 else None
        found = atheris.Mutate(data, most) if found is None else found
        return bytes(found[:most])

    atheris.Setup([sys.argv[0], f"-max_len={target.MOST_BYTES}", *options], target.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
