"""`rbe build`: the program, the library and the wheel for another machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.output import ProgressBar, ended_in_order, note, printable, size
from rbe_edge.errors import OptionError

if TYPE_CHECKING:
    from rbe_edge.building.build import Built

_EXAMPLE = """\
example:
  rbe build                                what can be built, and with what
  rbe build --target rpi5                  into ./build-rbe/rpi5
  rbe build --target rpi5 --bundle demo    and one file with program and model
  rbe build --all -o dist
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "build",
        help="build the program and the library for another machine (extra `build`)",
        description="Compiles the program, the library and the Python wheel for another machine. Without --target: "
        "what can be built, and which compilers are here. The extra `build` brings a compiler for all targets.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--target", metavar="T", action="append", default=[], help="the device; repeatable")
    which.add_argument("--all", action="store_true", help="every target")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        default=Path("build-rbe"),
        help="gets a folder per target (%(default)s)",
    )
    parser.add_argument("--compiler", choices=("zig", "gcc", "ndk"), help="use this one (the first that is found)")
    parser.add_argument(
        "--bundle", metavar="MODEL", help="also one .tar.gz with the program and this .rbe file; `demo`: the demo model"
    )
    parser.add_argument("-j", "--jobs", metavar="N", type=int, default=0, help="compile N files at once (one per core)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the compilers write")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.building.build import BuildOptions, build
    from rbe_edge.building.targets import TARGETS, find

    if arguments.jobs < 0:
        raise OptionError("--jobs is a count, 1 or more")
    targets = TARGETS if arguments.all else tuple(dict.fromkeys(map(find, arguments.target)))
    if not targets:
        if arguments.bundle is not None or arguments.compiler is not None:
            raise OptionError("for which machine? give --target, or --all")
        return _show_targets(arguments.json)
    model = None if arguments.bundle is None else _model(arguments.bundle)
    options = BuildOptions(
        output=arguments.output,
        compiler=arguments.compiler,
        bundle=model,
        jobs=arguments.jobs,
        log=(lambda line: print(printable(line), file=sys.stderr)) if arguments.verbose else None,
    )
    done: list[Built] = []
    with ended_in_order(), ProgressBar() as bar:
        for built in build(targets, options, None if arguments.verbose else bar.show):
            done.append(built)
            bar.pause()
            _tell(built, quiet=arguments.json)
    if arguments.json:
        print(json.dumps({"built": [asdict(built) for built in done]}))
    return 1 if any(built.error for built in done) else 0


def _tell(built: Built, *, quiet: bool) -> None:
    if built.error:
        note(f"{built.target}: {built.error}")
    elif not quiet:
        print(f"{printable(built.directory)}: {size(sum(built.files.values()))} in {built.seconds:.0f} s")
        for name, n_bytes in built.files.items():
            if not name.startswith(("include/", "lib/cmake/")):
                print(f"  {size(n_bytes):>10}  {printable(name)}")
        sys.stdout.flush()
        if built.note:
            note(f"{built.target}: {built.note}")


def _model(name: str) -> Path:
    """The file of the model, opened once: a bundle with a damaged one would fail on the device."""
    from rbe_edge.runtime.model import Model, demo_path

    path = demo_path() if name == "demo" else Path(name)
    with Model.open(path):
        return path


def _show_targets(as_json: bool) -> int:
    from rbe_edge.building.compilers import KINDS, found_for
    from rbe_edge.building.targets import TARGETS

    rows = [(target, found_for(target.platform)) for target in TARGETS]
    if as_json:
        found = [{**asdict(target), "compilers": kinds} for target, kinds in rows]
        print(json.dumps({"targets": found}))
        return 0
    for line in _table([(t.name, t.what, t.platform.baseline, ", ".join(kinds) or "none here") for t, kinds in rows]):
        print(line)
    here = {kind for _, kinds in rows for kind in kinds}
    missing = {
        "zig": "pip install 'rbe-edge[build]', for all targets",
        "gcc": "apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross, for 64-bit ARM",
        "ndk": "set ANDROID_NDK_HOME, for libraries for Android",
    }
    for kind in KINDS:
        if kind not in here:
            print(f"no {kind} here: {missing[kind]}")
    return 0


def _table(rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    lines = [("target", "device", "least processor", "compilers here"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for line in lines:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[3]])
