"""What `rbe inspect` says of the parts of a file and of its table of power modes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rbe_edge.cli.output import size

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model
    from rbe_edge.runtime.parts import Mode, ModeTable


def part_lines(model: Model) -> Iterable[str]:
    """A line for each part, and a table where there are modes; nothing for a file without parts."""
    for part in model.parts.values():
        required = ", required" if part.required else ""
        unknown = "" if part.known else " (unknown to this version)"
        yield f"part {part.name}: version {part.version}, {size(part.data_bytes)}{required}{unknown}"
    if model.modes is not None:
        yield from mode_lines(model.modes)


def mode_lines(table: ModeTable) -> Iterable[str]:
    from rbe_edge.runtime.parts import MODE_NAMES

    yield f"power modes, measured on {table.text or 'nothing'}, divergence from {table.against}:"
    heads = f"{'per token':>10}  {'perplexity':>10}  {'KL':>8} {'+-':>8}  {'top-1':>6}  reads, planes in layers"
    yield f"  {'mode':<11}  {heads}"
    for name, mode in zip(MODE_NAMES, table.modes, strict=True):
        numbers = f"{mode.perplexity:>10.3f}  {mode.kl:>8.4f} {mode.kl_error:>8.4f}  {100 * mode.top1:>5.1f}%"
        yield f"  {name:<11}  {size(mode.bytes_per_token):>10}  {numbers}  {_effort(mode)}"


def _effort(mode: Mode) -> str:
    """'no attention in 2, attention 1 in 10': how many layers read that many planes of a step, where not all."""
    from rbe_edge.runtime.effort import SKIP

    words = []
    for name, planes in (("attention", mode.attention), ("feed-forward", mode.feed_forward)):
        words += [f"no {name} in {planes.count(SKIP)}"] if SKIP in planes else []
        words += [f"{name} {n} in {planes.count(n)}" for n in range(1, 5) if n in planes]
    words += [f"{name} {n}" for name, n in (("embedding", mode.embedding), ("lm_head", mode.lm_head)) if n]
    return f"{', '.join(words) or 'everything'}{f' ({mode.reason})' if mode.reason else ''}"


def part_report(model: Model) -> dict[str, object]:
    """`parts` and `modes` of the JSON object; modes: None where the file has no table."""
    parts = [dataclasses.asdict(part) for part in model.parts.values()]
    return {"parts": parts, "modes": None if model.modes is None else mode_report(model.modes)}


def mode_report(table: ModeTable) -> dict[str, object]:
    """A table of power modes for JSON."""
    from rbe_edge.runtime.parts import MODE_NAMES

    modes = []
    for name, mode in zip(MODE_NAMES, table.modes, strict=True):
        whole = (0,) * table.n_layers
        lists = {"attention": mode.attention or whole, "feed_forward": mode.feed_forward or whole}
        modes.append({"name": name, "found": mode.found, **dataclasses.asdict(mode), **lists})
    return {"text": table.text, "against": table.against, "modes": modes}
