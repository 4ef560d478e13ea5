"""`rbe doctor`: what this machine has, and what to do about what is missing."""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rbe_edge._version import __version__
from rbe_edge.cli.output import printable, size
from rbe_edge.errors import RbeError
from rbe_edge.machine.power import Energy, Sample

_EXAMPLE = """\
example:
  rbe doctor
  rbe doctor --json --quick
"""

_WITHOUT_LLGUIDANCE = ("armv6l", "armv7l", "ppc64le", "s390x")  # no wheel; pyproject.toml leaves it out there

EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "server": (
        "rbe serve",
        ("starlette", "uvicorn")
        if platform.machine() in _WITHOUT_LLGUIDANCE
        else ("starlette", "uvicorn", "llguidance"),
    ),
    "qr": ("rbe serve --qr", ("segno",)),
    "glue": ("rbe eval --glue by sentence encoders", ("sklearn",)),
    "hub": ("packing from Hugging Face", ("huggingface_hub",)),
    "gguf": ("packing GGUF files", ("gguf",)),
    "plot": ("plots in reports", ("matplotlib",)),
    "compare": ("rbe compare and rbe bench --against", ("llama_cpp", "gguf", "matplotlib")),
    "build": (
        "rbe build and rbe deploy",
        ("ziglang", "cmake", "ninja", "auditwheel", "pyproject_metadata")
        + (("tomli",) if sys.version_info < (3, 11) else ()),
    ),
}
"""Extras of the package, what each is for, and the modules that it brings."""

_LITTLE_MEMORY = 512 << 20
_NEEDED = ("numpy", "safetensors", "jinja2", "rich", "textual", "platformdirs")  # that every install brings


@dataclass(frozen=True)
class Diagnosis:
    """Sizes in bytes; None where the system does not say, or where it was not measured."""

    version: str
    library: str
    python: str
    system: str
    processor: str
    kernel_set: str
    kernel_sets: dict[str, bool]
    cores: int
    memory_bytes: int | None
    memory_available_bytes: int | None
    read_gb_per_s: float | None
    sensors: Sample
    energy: Energy
    energy_sources: list[Energy]
    extras: dict[str, list[str]]  # modules that are missing
    missing: list[str]  # of what every install brings
    model_directory: str
    models: int
    disk_free_bytes: int | None
    memory_limited_by: str  # what sets the available memory
    threads: list[dict[str, Any]]  # what answers found on this machine, by size of model
    kept_directory: str | None  # of what packings keep for the next ones (packing/kept.py)
    kept_bytes: int
    kept_bytes_at_most: int
    advice: tuple[str, ...]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="say what this machine has, and what to do about what is missing",
        description="Looks at processor, memory, sensors, optional packages and models, and measures the memory.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="do not measure the memory")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    diagnosis = diagnose(quick=arguments.quick)
    if arguments.json:
        print(json.dumps(asdict(diagnosis)))
        return 0
    for line in _lines(diagnosis):
        print(printable(line))
    return 0


def diagnose(*, quick: bool = False) -> Diagnosis:
    """Raises NativeLibraryError where the C library does not load: without it nothing runs."""
    from rbe_edge.cli.list_command import find_models, models_directory
    from rbe_edge.machine import hardware
    from rbe_edge.packing.kept import KEPT_BYTES, room_taken
    from rbe_edge.runtime import build, fit
    from rbe_edge.runtime.threads import kept_threads
    from rbe_edge.store.places import threads_file

    kernel_sets = build.kernel_sets()
    bandwidth, problem = None, None
    if not quick:
        try:
            bandwidth = hardware.read_bandwidth(hardware.cores())
        except RbeError as error:
            problem = str(error)
    described = hardware.describe(bandwidth or 0.0)
    memory = fit.available()
    sample, energy, sources = _sensors()
    directory, room = models_directory(), room_taken()
    models = [model for model in find_models() if model.error is None]
    missing = {extra: [name for name in modules if not _is_there(name)] for extra, (_, modules) in EXTRAS.items()}
    facts = Diagnosis(
        version=__version__,
        library=str(build.library_path()),
        python=platform.python_version(),
        system=described.system,
        processor=described.processor,
        kernel_set=[name for name, runs in kernel_sets.items() if runs][-1],
        kernel_sets=kernel_sets,
        cores=described.cores,
        memory_bytes=memory.total or None,
        memory_available_bytes=memory.bytes,
        read_gb_per_s=bandwidth,
        sensors=sample,
        energy=energy,
        energy_sources=sources,
        extras=missing,
        missing=[name for name in _NEEDED if not _is_there(name)],
        model_directory=str(directory),
        models=len(models),
        disk_free_bytes=_disk_free(directory),
        memory_limited_by=memory.limited_by,
        threads=[asdict(kept) for kept in kept_threads(threads_file())],
        kept_directory=str(room.directory) if room.directory is not None else None,
        kept_bytes=room.bytes,
        kept_bytes_at_most=KEPT_BYTES,
        advice=(),
    )
    advice = [*_advice(facts), *([problem] if problem else [])]
    return replace(facts, advice=tuple(advice))


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _sensors() -> tuple[Sample, Energy, list[Energy]]:
    """What the sensors say now, the source of energy that counts, and all sources."""
    from rbe_edge.machine.power import Power

    with Power() as power:
        power.start()
        energy = power.energy()
        return power.sample(), energy, power.sources()


def _disk_free(directory: Path) -> int | None:
    """Of the file system that holds the directory or would hold it."""
    for place in (directory, *directory.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None


def _advice(found: Diagnosis) -> Iterable[str]:
    """What to do, one line each; the most important first."""
    if found.kernel_set == "scalar":
        yield "no vector instructions that this build knows: expect a tenth of the speed; is it built for this machine?"
    if found.memory_available_bytes is not None and found.memory_available_bytes < _LITTLE_MEMORY:
        yield (
            f"{size(found.memory_available_bytes)} of memory are free: close programs, or use fewer bits "
            "(`rbe pack --bits 3`), a smaller context (`-c 1024`) and a smaller cache (`--kv q8q4`)"
        )
    if found.models == 0:
        yield "no models: make one with `rbe pack MODEL -o model.rbe`"
    if found.missing:
        yield f"this install is not whole: pip install {' '.join(found.missing)}"
    for extra, modules in found.extras.items():
        if modules:
            yield f"for {EXTRAS[extra][0]}: pip install 'rbe-edge[{extra}]' ({', '.join(modules)} missing)"
    if found.sensors.temperature_c is None:
        yield "no temperature sensor is visible, as is usual in a virtual machine: heat cannot be shown"


def _lines(found: Diagnosis) -> Iterable[str]:
    def known(n_bytes: int | None) -> str:
        return "unknown" if n_bytes is None else size(n_bytes)

    sets = ", ".join(name if runs else f"({name})" for name, runs in found.kernel_sets.items())
    yield f"rbe {found.version}, Python {found.python}, {found.library}"
    yield f"processor: {found.processor}, {found.cores} cores, {found.system}"
    yield f"kernels:   {found.kernel_set}; in this build: {sets}"
    yield "           all give the same bits: a file answers here as on any other machine (docs/engine.md)"
    yield (
        f"memory:    {known(found.memory_bytes)}, {known(found.memory_available_bytes)} available "
        f"({found.memory_limited_by})"
    )
    if found.read_gb_per_s is not None:
        rate = found.read_gb_per_s
        yield f"           read at {rate:.1f} GB/s: a model of 1 GB gives {rate:.0f} tokens/s at most"
    for kept in found.threads:
        rates = ", ".join(f"{n}: {rate:.1f}" for n, rate in sorted(kept["tokens_per_s"].items()))
        yield (
            f"threads:   {kept['threads']} for models of {size(kept['bytes_per_token'])} to "
            f"{size(2 * kept['bytes_per_token'])}, found by an answer (tokens/s by threads: {rates})"
        )
    if not found.threads:
        yield "threads:   not tried yet; the first answers of `rbe run` and `rbe chat` find out how many are fastest"
    yield from _sensor_lines(found)
    extras = ", ".join(extra for extra, modules in found.extras.items() if not modules)
    yield f"extras:    {extras or 'none'}"
    yield f"models:    {found.models}; directory {found.model_directory}, {known(found.disk_free_bytes)} free"
    if found.kept_directory is not None:
        yield _kept_line(found)
    for line in found.advice:
        yield f"- {line}"


def _kept_line(found: Diagnosis) -> str:
    kept = f"{size(found.kept_bytes)} kept for the next packing in {found.kept_directory}"
    return f"packing:   {kept}, {size(found.kept_bytes_at_most)} at most; remove that directory to free it"


def _sensor_lines(found: Diagnosis) -> Iterable[str]:
    """As the program in C writes them (native/cli/sensors.c)."""
    yield f"sensors:   {_battery(found.sensors)}; {_heat(found.sensors)}; {_clocks(found.sensors)}"
    energy = found.energy
    if energy.readable:
        step = f"in steps of {energy.resolution_j:.3g} J" if energy.resolution_j else "integrated from watts"
        yield f"energy:    {energy.source} ({energy.covers}, {step}); not in it: {energy.missing}"
    else:
        yield f"energy:    none: {energy.missing}"
    for other in found.energy_sources:
        if not energy.readable or other.index != energy.index:
            yield f"           {other.source} ({other.covers}){'' if other.readable else ': ' + other.missing}"


def _battery(sample: Sample) -> str:
    if sample.battery_level is None:
        return "no battery" if sample.battery is False else "battery unknown"
    charging = {None: "", True: ", on mains", False: ", not on mains"}[sample.charging]
    watts = "" if sample.power_w is None else f", {sample.power_w:.1f} W out of it"
    return f"battery {100 * sample.battery_level:.0f} %{charging}{watts}"


def _heat(sample: Sample) -> str:
    heat = "temperature unknown"
    if sample.temperature_c is not None:
        heat = f"processor {sample.temperature_c:.0f} C ({sample.temperature_sensor})"
    throttled = {None: "throttling unknown", False: "not throttled", True: f"throttled ({sample.throttled_by})"}
    return f"{heat}, {throttled[sample.throttled]}"


def _clocks(sample: Sample) -> str:
    if sample.mhz_least is None or sample.mhz_most is None:
        return "clocks unknown"
    limit = "" if sample.mhz_limit is None else f" of {sample.mhz_limit:.0f}"
    return f"clocks {sample.mhz_least:.0f} to {sample.mhz_most:.0f}{limit} MHz"
