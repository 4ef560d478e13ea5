"""`rbe fit`: whether a model fits into memory here or on another device, and the flag that makes it fit."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.model_arguments import add_kv_argument, add_memory_argument, memory_size
from rbe_edge.cli.output import printable, size
from rbe_edge.errors import OptionError
from rbe_edge.models.find import here
from rbe_edge.runtime.options import SessionOptions

if TYPE_CHECKING:
    from rbe_edge.runtime.fit import Advice, Fit, Wish

_EXAMPLE = """\
example:
  rbe fit smol.rbe
  rbe fit smol.rbe --device rpi-zero2 -c 8192
  rbe fit ./SmolLM2-135M-Instruct --bits 3 --device phone-4gb
  rbe fit HuggingFaceTB/SmolLM2-135M-Instruct --device rpi3     not fetched yet
  rbe fit --devices
"""

_SHOWN_BYTES = 1024  # less is padding


@dataclass(frozen=True)
class _Room:
    """where: for people. available: bytes; None where unknown. program: bytes that the command itself takes there."""

    where: str
    available: int | None
    program: int
    reason: str


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "fit",
        help="say whether a model fits into memory, and what makes it fit",
        description="Adds up what a model takes of memory, from its index alone, and compares it with what is there. "
        "Exit code 0: it fits; 1: it does not as asked.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="MODEL",
        type=Path,
        help="a .rbe file or a name of `rbe list`; or what is to be packed: a directory, a GGUF file, org/name",
    )
    parser.add_argument("--bits", metavar="B", type=float, help="bits per weight that a source is packed with (4)")
    parser.add_argument("--device", metavar="NAME", help="compare with another device, such as rpi5-4gb")
    parser.add_argument("--devices", action="store_true", help="list the devices")
    parser.add_argument("--available", metavar="SIZE", type=memory_size, help="compare with so much, such as 800M")
    parser.add_argument(
        "-c", "--ctx-size", metavar="N", type=int, default=0, help="context in tokens (the model's own, at most 4096)"
    )
    parser.add_argument("-t", "--threads", metavar="N", type=int, default=0, help="threads (one per fast core)")
    add_kv_argument(parser)
    parser.add_argument("--slots", metavar="N", type=int, default=0, help="conversations at a time, of rbe serve (1)")
    add_memory_argument(parser)
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.format.reader import read_file
    from rbe_edge.runtime import fit

    if arguments.devices:
        return _list_devices(arguments.json)
    if arguments.file is None:
        raise OptionError("there is no model; give a .rbe file: rbe fit FILE")
    arguments.file = here(arguments.file)
    if not 0 <= arguments.slots <= 512:
        raise OptionError(f"--slots must be from 1 to 512, not {arguments.slots}")
    room = _room(arguments)
    session = SessionOptions(context=arguments.ctx_size, threads=arguments.threads, kv=arguments.kv)
    wish = fit.Wish(session, max(1, arguments.slots), arguments.slots, arguments.max_memory)
    with _packed(arguments.file, arguments.bits) as path:
        found = fit.estimate(path, wish)
        cache = "KV cache and states" if "recurrence.taps" in read_file(path).metadata else "KV cache"
        advice = None
        if room.available is not None:
            advice = fit.advise(path, max(0, room.available - room.program), wish)
    fits = advice is None or advice.fits
    if arguments.json:
        known = {"file": str(arguments.file), "where": room.where, "available": room.available}
        known |= {"program": room.program, **asdict(found)}
        print(json.dumps({**known, "advice": None if advice is None else asdict(advice)}))
    else:
        is_source = arguments.bits is not None or path != arguments.file
        for line in _lines(found, advice, room, wish, is_source, cache):
            print(printable(line))
    return 0 if fits else 1


def _list_devices(as_json: bool) -> int:
    from rbe_edge.machine.devices import DEVICES

    if as_json:
        print(json.dumps([asdict(device) for device in DEVICES.values()]))
        return 0
    for device in DEVICES.values():
        print(f"{device.name:12} {device.what:22} {size(device.total):>8}, {size(device.available):>8} for programs")
    for reason in dict.fromkeys(device.reason for device in DEVICES.values()):
        print(f"- {reason}")
    return 0


def _room(arguments: argparse.Namespace) -> _Room:
    from rbe_edge.machine import devices
    from rbe_edge.runtime import fit

    if arguments.available is not None:
        if arguments.device is not None:
            raise OptionError("give --device or --available, not both")
        return _Room("as given", arguments.available, 0, "--available")
    if arguments.device is not None:
        device = devices.device_named(arguments.device)
        return _Room(device.name, device.available, devices.PROGRAM_BYTES, f"typically, of {size(device.total)}")
    here = fit.available()
    return _Room("this machine", here.bytes, 0, here.limited_by)


@contextmanager
def _packed(path: Path, bits: float | None) -> Iterator[Path]:
    """A `.rbe` file as it is; of a source, the outline of what packing makes of it."""
    from rbe_edge.sources.hub import is_repository

    is_file = path.suffix in (".rbe", ".gguf", ".bin")
    is_remote = not is_file and not path.exists() and is_repository(str(path))
    if is_remote or path.is_dir() or (path.is_file() and path.suffix in (".gguf", ".bin")):
        from rbe_edge.packing.outline import outline_of

        with outline_of(str(path), 4.0 if bits is None else bits) as out:
            yield out
        return
    if bits is not None:
        raise OptionError("--bits is for sources; a .rbe file has the bits that it has")
    yield path


def _lines(found: Fit, advice: Advice | None, room: _Room, wish: Wish, is_source: bool, cache: str) -> Iterator[str]:
    """cache: what found.kv_bytes is called."""
    sessions = f" x {wish.sessions}" if wish.sessions > 1 else ""
    rows = [
        ("weights that must be in memory", found.weights_resident),
        ("weights that the system may drop", found.weights_on_disk),
        ("tokenizer", found.tokenizer_bytes),
        ("index", found.index_bytes),
        ("generated rows that are kept", found.cache_bytes),
        (f"{cache}, {found.context} tokens {found.kv}{sessions}", found.kv_bytes),
        (f"buffers of a pass, {found.threads} threads{sessions}", found.pass_bytes),
        ("the program", room.program),
    ]
    for what, n_bytes in rows:
        if n_bytes >= _SHOWN_BYTES:
            yield f"{what:44} {size(n_bytes):>9}"
    yield f"{'in all':44} {size(found.total + room.program):>9}"
    if room.available is None:
        yield "what is available is unknown on this system"
        return
    yield f"{f'available: {room.where} ({room.reason})':44} {size(room.available):>9}"
    yield _verdict(found, advice, room, is_source)


def _verdict(found: Fit, advice: Advice | None, room: _Room, is_source: bool) -> str:
    assert advice is not None and room.available is not None
    if advice.fits:
        return "it fits"
    short = size(found.total + room.program - room.available)
    if not advice.flags:
        return f"it does not fit, {short} are missing, and no flag helps; choose a smaller model"
    if advice.bits:
        again = "pack it with" if is_source else "pack it again with"
        rest = advice.flags.split("--bits")[0].strip()
        run_with = f" and run it with {rest}" if rest else ""
        return f"it does not fit, {short} are missing; {again} --bits {advice.bits:g}{run_with}"
    slow = "; weights are then read from the disk for every token, which is slow" if advice.max_memory else ""
    again = "" if is_source else " again"
    packed = f"; or packed{again} with --bits {advice.bits_instead:g}" if advice.bits_instead else ""
    runs = ""
    if found.needed + room.program <= room.available and not advice.max_memory:
        runs = " (it runs as asked too, slowly, with weights read from the disk)"
    return f"it does not fit, {short} are missing; it fits with {advice.flags}{slow}{packed}{runs}"
