"""`rbe inspect`: what a .rbe file holds."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.chosen_model import WHAT, chosen_model
from rbe_edge.cli.output import printable, size
from rbe_edge.cli.part_lines import part_lines, part_report

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model
    from rbe_edge.runtime.model_info import TensorInfo

_EXAMPLE = """\
example:
  rbe inspect smol.rbe
  rbe inspect smol.rbe --tensors
  rbe inspect smol.rbe --json --verify
"""

_SHOWN_CHARACTERS = 100  # of a long text, such as a chat template; --json gives all of it


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "inspect",
        help="show what a .rbe file holds",
        description="Shows hyper-parameters, tokenizer, sizes, provenance, parts and, with --tensors, every tensor.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_inspect_arguments(parser)


def add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `rbe inspect` and `rbe show`."""
    parser.add_argument("file", metavar="MODEL", type=Path, help=WHAT)
    parser.add_argument("--tensors", action="store_true", help="list every tensor with its planes and measured error")
    parser.add_argument("--verify", action="store_true", help="read the whole file and verify its checksums")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.runtime.model import Model

    with Model.open(chosen_model(arguments.file), verify=arguments.verify) as model:
        model.verify()
        if arguments.json:
            print(json.dumps(_report(model, arguments.tensors, arguments.verify)))
            return 0
        for line in _lines(model):
            print(_safe(line))
        if arguments.tensors:
            print()
            for line in _table(model.tensors.values()):
                print(_safe(line))
        if arguments.verify:
            print("checksums: correct")
    return 0


def _safe(line: str) -> str:
    """Names come from the file, and may hold anything, a line break too."""
    return printable(line.replace("\n", " "))


def _report(model: Model, with_tensors: bool, verified: bool) -> dict[str, object]:
    report: dict[str, object] = {
        **dataclasses.asdict(model.info),
        "path": str(model.info.path),
        "bits_per_weight": model.info.bits_per_weight,
        "tokenizer_size": model.tokenizer_size,
        "n_tensors": len(model.tensors),
        "verified": verified,
        "chat_without_python": _native_chat(model),
        "metadata": dict(model.metadata),
        **part_report(model),
    }
    if with_tensors:
        report["tensors"] = [
            {**dataclasses.asdict(tensor), "bits_per_weight": tensor.bits_per_weight}
            for tensor in model.tensors.values()
        ]
    return report


def _lines(model: Model) -> Iterable[str]:
    info = model.info
    tokens = model.tokenizer_size
    yield (
        f"{info.path}: format {info.format_version}, {size(info.file_bytes)}, {info.parameters:,} weights, "
        f"{info.bits_per_weight:.2f} bits per weight of the whole file"
    )
    yield f"tokenizer: {f'{tokens} tokens' if tokens else 'none'}"
    yield f"tensors: {len(model.tensors)} ({_kinds(model.tensors.values())})"
    yield f"runs with: {info.kernel_set} kernels"
    yield f"chat without Python: {_native_chat(model)}"
    if "experts" in model.metadata:
        used, n = model.metadata["experts.used"], model.metadata["experts"]
        also = " and a shared one" if model.metadata.get("experts.shared") else ""
        yield f"experts: {used} of {n}{also} for each token, which reads {size(model.read_bytes())} of weights"
    yield from part_lines(model)
    width = max((len(key) for key in model.metadata), default=0)
    for key, value in model.metadata.items():
        yield f"{key:<{width}}  {_shown(value)}"


def _native_chat(model: Model) -> str:
    """What the program in C and others without Python can do with the chat template."""
    from rbe_edge.errors import TemplateError
    from rbe_edge.packing.chat_form import style_of, written
    from rbe_edge.runtime.chat_template import Message

    template, form = (str(model.metadata.get(key, "")) for key in ("chat_template", "chat_form"))
    if not template:
        return "plain, there is no template"
    tokens = {key: str(model.metadata.get(key, "")) for key in ("bos_token", "eos_token")}
    try:
        written(template, form, tokens, [Message("user", "Hello!")], True)
    except TemplateError as error:
        return f"no; {error}"
    return "by the proven chat form of the file" if form else f"{style_of(template)}, a template that the library knows"


def _kinds(tensors: Iterable[TensorInfo]) -> str:
    """How many bytes each kind of tensor takes: 'trellis 4: 1.2 MiB, fp32: 10.0 KiB'."""
    totals: dict[str, int] = {}
    for tensor in tensors:
        name = " ".join([tensor.kind, _planes(tensor)]).strip()
        totals[name] = totals.get(name, 0) + tensor.data_bytes
    return ", ".join(f"{name}: {size(n_bytes)}" for name, n_bytes in sorted(totals.items(), key=lambda kind: -kind[1]))


def _planes(tensor: TensorInfo) -> str:
    """'4+2'; 'to 4+2' where bands have other ones; '' without planes."""
    planes = "+".join(map(str, tensor.plane_bits))
    return f"to {planes}" if tensor.kind == "bands" else planes


def _shown(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    text = " ".join(text.split())
    if len(text) > _SHOWN_CHARACTERS:
        return f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters; all with --json)"
    return text


def _table(tensors: Iterable[TensorInfo]) -> Iterable[str]:
    tensors = list(tensors)
    width = max((len(tensor.name) for tensor in tensors), default=4)
    heads = f"{'rows':>7} {'cols':>7}  {'kind':<8} {'planes':<8} {'rotation':>8} {'bits':>6}  {'error':>9}"
    yield f"{'tensor':<{width}}  {heads}"
    for tensor in tensors:
        yield (
            f"{tensor.name:<{width}}  {tensor.rows:>7} {tensor.cols:>7}  {tensor.kind:<8} {_planes(tensor) or '-':<8} "
            f"{tensor.rotation_block or '-':>8} {tensor.bits_per_weight:>6.2f}  {tensor.error:>9.3g}"
        )
