"""The model that `rbe bench` measures: a file, or one of random bits in a shape."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path

from rbe_edge.cli.output import ProgressBar
from rbe_edge.files.scratch import scratch_directory


def model_file(arguments: argparse.Namespace, stack: ExitStack, bar: ProgressBar) -> tuple[Path, str]:
    """FILE, or a file of --shape and --planes that goes with the stack, and what to call it. Raises OptionError."""
    from rbe_edge.bench import shapes
    from rbe_edge.bench.page_cache import forget_cached

    if arguments.shape is None:
        return arguments.file, arguments.file.name
    planes, shape = shapes.parse_planes(arguments.planes), shapes.shape_named(arguments.shape)
    path = stack.enter_context(scratch_directory("bench")) / "shape.rbe"
    label = f"{shape.name}, planes {arguments.planes}"
    bar.show(f"making {label}", 0, 1)
    shapes.write_model(shape, planes, path)
    forget_cached(path)
    return path, label
