"""`rbe pull`: fetches a model from the hub and packs it into the model folder; alone, a list to choose from."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.chosen_model import waiting
from rbe_edge.cli.output import columns, cut, note, printable, size
from rbe_edge.errors import OptionError
from rbe_edge.models import curated, find, folder
from rbe_edge.packing.effort_name import EFFORT_NAMES
from rbe_edge.runtime.encoder_kinds import try_it

if TYPE_CHECKING:
    from rbe_edge.cli.pull_table import Expected

_BITS = (3, 4, 5)
_HUB = r"(?:https?://)?(?:huggingface\.co/|hf\.co/)?"  # as it stands in a browser

_EXAMPLE = """\
example:
  rbe pull                    a list: sizes, licences, what fits here, how fast
  rbe pull smollm2-135m       fetch and pack it; then: rbe chat smollm2-135m
  rbe pull qwen2.5-0.5b:5bit
  rbe pull HuggingFaceTB/SmolLM2-360M-Instruct --bits 3 --effort normal

Needs: pip install 'rbe-edge[hub]'
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "pull",
        help="fetch a model and pack it; alone: a list of models",
        description="Fetches a model from the hub and packs it into the model folder. A model that is there already is "
        "packed anew only where the hub has a newer one. Without MODEL: a short list, and what each takes here.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a name of the list, or org/name of the hub")
    parser.add_argument("--bits", metavar="B", type=float, help="bits per weight of the whole file (4)")
    parser.add_argument("--effort", choices=EFFORT_NAMES, default="quick", help="quick takes minutes (%(default)s)")
    parser.add_argument("--json", action="store_true", help="write the list, or what was made, as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.model is None:
        return _list(arguments.json)
    repository, bits = _wanted(arguments.model, arguments.bits)
    with waiting() as waiter:
        path = find.pulled(repository, waiter, bits, arguments.effort)
    name = folder.name_of(path)
    if arguments.json:
        print(json.dumps({"name": name, "path": str(path), "repository": repository, "bytes": path.stat().st_size}))
        return 0
    print(f"{printable(name)}: {size(path.stat().st_size)} in {printable(str(path))}")
    print(f"try it: {try_it(printable(name), path)}")
    return 0


def _wanted(text: str, bits: float | None) -> tuple[str, float]:
    """Repository and bits of what was asked for. Raises OptionError."""
    match = re.fullmatch(_HUB + r"(.*?)/?(?::(\d{1,2}(?:\.\d{1,4})?)bit)?", text)
    base, named = (match[1], match[2]) if match else (text, None)
    if named and bits is not None and float(named) != bits:
        raise OptionError(f"{text} and --bits {bits:g} differ; give the bits once")
    offer = curated.named(base)
    if offer is None and not find.is_repository(base):
        raise OptionError(_unknown(base))
    return offer.repository if offer else base, float(named) if named else find.DEFAULT_BITS if bits is None else bits


def _unknown(base: str) -> str:
    if Path(base).exists() and base:
        return f"{base} is here, and needs no hub; to pack it: rbe pack {base}"
    near = difflib.get_close_matches(base.lower(), curated.names(), 1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{base!r} is neither on the list nor org/name of the hub; {meant}`rbe pull` shows the list"


def _list(as_json: bool) -> int:
    from rbe_edge.cli.pull_table import expectations

    found = expectations(curated.offers(), _BITS)
    if as_json:
        print(json.dumps([_entry(expected) for expected in found]))
        return 0
    width = max(len(expected.offer.name) for expected in found)
    heads = " ".join(f"{f'{bits} bits':>8}" for bits in _BITS)
    print(f"{'name':<{width}} {heads} {'memory':>8} {'tokens/s':>8} {'here':<9} licence; what for")
    for expected in found:
        offer = expected.offer
        sizes = " ".join(f"{_short(offer.file_bytes(bits)):>8}" for bits in _BITS)
        speed = "?" if expected.tokens_per_second is None else f"{expected.tokens_per_second:.3g}"
        fits = {True: "fits", False: "too large", None: "?"}[expected.fits]
        line = f"{offer.name:<{width}} {sizes} {_short(expected.memory):>8} {speed:>8} {fits:<9} {_licence(offer)}"
        print(cut(f"{line}; {offer.what}", columns(sys.stdout)))
    note(
        "memory: to run at 4 bits with a context of 4096 at most. tokens/s: at 4 bits, what memory and cores of this "
        "machine allow at most. *: the hub wants the licence to be accepted, and a login. Fetch one: rbe pull NAME"
    )
    return 0


def _licence(offer: curated.Offer) -> str:
    name = offer.licence.removeprefix("LicenseRef-")
    return f"{name}*" if offer.gated else name


def _short(n_bytes: int) -> str:
    """In three digits or so: 129 MiB, 1.3 GiB."""
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes < 1000 * 2**20 else f"{n_bytes / 2**30:.1f} GiB"


def _entry(expected: Expected) -> dict[str, object]:
    offer = expected.offer
    sizes = {f"{bits}": offer.file_bytes(bits) for bits in _BITS}
    known = {"memory": expected.memory, "tokens_per_second": expected.tokens_per_second, "fits": expected.fits}
    return {**dataclasses.asdict(offer), "bytes_by_bits": sizes, **known}
