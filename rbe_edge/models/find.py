"""Finds the model that a person means: a `.rbe` file, a source of one, a name. A source is packed once, and kept."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.errors import ModelError, PackError
from rbe_edge.models import curated, folder
from rbe_edge.models.fetch import fetch
from rbe_edge.models.folder import Origin
from rbe_edge.packing.effort_name import EffortName
from rbe_edge.progress import Listener
from rbe_edge.runtime.model import demo_path
from rbe_edge.sources import hub

if TYPE_CHECKING:
    from rbe_edge.packing.pack import PackOptions, PackReport

DEFAULT_BITS = 4.0
QUICK: EffortName = "quick"
_FILES = (".rbe", ".gguf", ".bin")
_TYPE = re.compile(r"(?<=.)[-_.]((iq|q|tq)\d(_[a-z0-9]+)*|b?f16|fp16|f32|fp32)$", re.IGNORECASE)  # of a GGUF file


@dataclass(frozen=True)
class Waiter:
    """Who waits for a model. tell: hears lines for a person. progress: of a packing, done and total in milliseconds."""

    tell: Callable[[str], object] = lambda line: None
    progress: Listener | None = None


def find_model(wanted: str | Path, waiter: Waiter | None = None) -> Path:
    """The `.rbe` file that is meant by a path, a name of the model folder, `demo`, or org/name of the hub.

    A GGUF file, a directory or llama2.c checkpoint, and what org/name brings, is packed with 4 bits per weight and
    little effort, and kept in the model folder; the next time it is found there, unless the source has changed. Nothing
    half-packed is left where that is stopped. Raises ModelError where there is no such model, and as pack() does."""
    text, path = str(wanted), Path(wanted)
    waiter = waiter or Waiter()
    if path.is_dir() or (path.is_file() and _is_source(path)):
        return packed(text, waiter)
    if path.exists():
        return path
    if text == "demo":
        return demo_path()
    if folder.is_name(text) and (found := folder.find(text)) is not None:
        return found
    if path.suffix in _FILES or path.is_absolute() or len(path.parts) > 2:
        return path  # opening it says what is wrong
    if hub.is_repository(text):
        return packed(text, waiter)
    raise ModelError(_unknown(text))


def here(wanted: Path) -> Path:
    """The file of a name of the model folder, or of `demo`; what is none stays as it is. For commands that pack
    nothing."""
    text = str(wanted)
    if text == "demo" and not wanted.exists():
        return demo_path()
    found = folder.find(text) if not wanted.exists() and folder.is_name(text) else None
    return wanted if found is None else found


def _is_source(path: Path) -> bool:
    from rbe_edge.sources.gguf.header import is_gguf

    return path.suffix in (".gguf", ".bin") or (path.suffix != ".rbe" and is_gguf(path))


def _unknown(text: str) -> str:
    offered = curated.named(text)
    if offered is not None:
        return f"{text} is not here yet; `rbe pull {text}` fetches and packs it"
    if not folder.is_name(text) and "/" not in text:
        return f"{text!r} is neither a file nor a name of a model; to ask the demo model: rbe chat demo {text!r}"
    names = [folder.name_of(path) for path in folder.files()]
    bases = [name.partition(":")[0] for name in names]
    near = [name for name in bases if name.startswith(text.lower())] or difflib.get_close_matches(
        text.lower(), [*names, *bases, *curated.names(), "demo"], 1
    )
    meant = f"did you mean {near[0]}? " if near else ""
    return (
        f"there is neither a file nor a model called {text}; {meant}`rbe list` shows those that are here, "
        "`rbe pull` some to fetch"
    )


def packed(source: str, waiter: Waiter, bits: float | None = None, effort: EffortName = QUICK) -> Path:
    """What a source was packed into in the model folder; packs it where nothing is there, or it has changed since.
    bits: None for whatever is there, and 4 where nothing is. Raises as pack()."""
    key = source_key(source)
    earlier = [(path, origin) for path, origin in folder.of_source(key) if bits in (None, origin.bits)]
    stamp = stamp_of(source)
    for path, origin in earlier:
        if stamp in (origin.stamp, ""):
            return path
    if earlier:
        bits = earlier[0][1].bits
        waiter.tell(f"{source} has changed since it was packed, and is packed anew")
    return pack_into_folder(source, waiter, DEFAULT_BITS if bits is None else bits, effort)


def is_repository(text: str) -> bool:
    """Whether it is org/name, as the hub calls models."""
    return hub.is_repository(text)


def pulled(repository: str, waiter: Waiter, bits: float, effort: EffortName) -> Path:
    """packed(), after the hub was asked for something newer; an earlier packing of other effort is replaced."""
    from rbe_edge.packing.options import PackOptions

    PackOptions(bits=bits, effort=effort).check_bits()  # before anybody waits for the hub
    waiter.tell(f"asking for {repository}")
    offer = hub.inquire(repository)
    for path, origin in folder.of_source(repository):
        if (origin.stamp, origin.bits, origin.effort) == (offer.revision, bits, effort):
            waiter.tell(f"{folder.name_of(path)} is here already")
            return path
    return pack_into_folder(repository, waiter, bits, effort, offer)


def pack_into_folder(
    source: str, waiter: Waiter, bits: float, effort: EffortName, offer: hub.Offer | None = None
) -> Path:
    """Packs a source into the model folder, in place of what was packed there from it with as many bits. offer: what
    the hub has just said of it."""
    from rbe_edge.packing.options import PackOptions

    if Path(source).exists():
        from rbe_edge.sources.open import open_source

        open_source(source)  # what is no model is not said to be packed
    name = folder.free_name(base_name(source), bits, source_key(source))
    better = f"; for better quality later: rbe pack {source} --effort normal" if effort == QUICK else ""
    line = f"packing {source} once, with {bits:g} bits per weight, as {name}{better}"
    options = PackOptions(bits=bits, effort=effort)
    return pack_named(source, options, waiter.progress, offer, lambda: waiter.tell(line)).path


def pack_named(
    source: str,
    options: PackOptions,
    progress: Listener | None = None,
    offer: hub.Offer | None = None,
    begins: Callable[[], object] = lambda: None,
) -> PackReport:
    """pack() into the model folder, under a name of base_name() and the bits, in place of what was packed there from
    the same source with as many bits. offer: what the hub has just said of it. begins: called when what is packed is
    here. Raises as pack()."""
    from rbe_edge.packing.pack import pack

    key = source_key(source)
    folder.made_directory()
    wanted: str | hub.Fetched = source
    if key == source and hub.is_repository(source):
        wanted = hub.Fetched(source, fetch(source, options.revision, progress, offer))
        stamp = wanted.directory.name
    else:
        stamp = stamp_of(source)
    begins()
    out = folder.file_of(folder.free_name(base_name(source), options.bits, key))
    report = pack(wanted, out, replace(options, force=True), progress)
    folder.set_origin(out, Origin(key, stamp, options.bits, options.effort))
    return report


def source_key(source: str) -> str:
    """What a source is called in an Origin: the absolute path of what lies here, org/name as it is."""
    path = Path(source)
    return str(path.resolve()) if path.exists() else source


def base_name(source: str) -> str:
    """What a model that is packed from a source is called, without bits: 'org/Smol-Instruct' -> 'smol-instruct',
    'Smol-Q4_K_M.gguf' -> 'smol'."""
    offered = curated.of_repository(source)
    if offered is not None:
        return offered.name
    path = Path(source)
    stem = path.resolve().name if path.is_dir() else path.name
    stem = _TYPE.sub("", stem.removesuffix(".gguf")) if stem.endswith(".gguf") else stem.removesuffix(".bin")
    words = re.sub(r"[^a-z0-9._+-]+", "-", stem.lower()).strip("-._+")[:100]
    return words or "model"


def stamp_of(source: str) -> str:
    """Changes when what lies here does: of names, sizes and times of its files. "" for the hub, which is not asked."""
    path = Path(source)
    if not path.exists():
        return ""
    try:
        files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
        facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except OSError as error:
        raise PackError(f"{source}: cannot be read ({error.strerror})") from None
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
