"""Builds targets: each compilation once, though targets share it; each target's folder appears whole, or not at all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rbe_edge.building import sources
from rbe_edge.building.bundle import write_bundle
from rbe_edge.building.compile import Log, Tree, compile_sources, tools
from rbe_edge.building.compilers import Kind, Step, plan
from rbe_edge.building.output import check_place, new_folder, reported, write_sums
from rbe_edge.building.targets import Platform, Target
from rbe_edge.building.wheel import require_extra, write_wheel
from rbe_edge.errors import BuildError, MissingExtra, OptionError
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.progress import Listener, Progress

_UNITS = 100  # of progress, for each compilation
_NEEDED_BYTES = 150 << 20  # of the temporary directory for a compilation: 60 MB are usual, and the caches of zig


@dataclass(frozen=True)
class BuildOptions:
    """output: the folder that gets a folder for each target. compiler: None for the first that is found. bundle: a
    model, None for no bundle. jobs: compilations at once, 0: one per core. log: hears what the compilers write."""

    output: Path = Path("build-rbe")
    compiler: Kind | None = None
    bundle: Path | None = None
    jobs: int = 0
    log: Log | None = None


@dataclass(frozen=True)
class Built:
    """compilers: those that made it. seconds: from the start of this target on; what another target had compiled before
    costs none. files: names below `directory`, with their bytes. error: why it failed; all else is empty then. note:
    what is missing of it, and why."""

    target: str
    directory: str = ""
    compilers: tuple[str, ...] = ()
    seconds: float = 0
    files: dict[str, int] = field(default_factory=dict)
    note: str = ""
    error: str = ""


def build(targets: Sequence[Target], options: BuildOptions, listener: Listener | None = None) -> Iterator[Built]:
    """Builds one target after the other, and gives each when it is there. What is against a target stands in its
    `error`, and the others go on. Raises Cancelled, and what the listener raises; nothing half made stays. Raises
    BuildError before any work where the sources, CMake or the temporary directory are against all of them."""
    tools()
    source = sources.directory()
    ready = [(target, _planned(target, options, alone=len(targets) == 1)) for target in targets]
    progress = Progress(listener, total=_UNITS * len({(_tree_key(t.platform, s)) for t, p in ready for s in p.steps}))
    with reported(Path("the temporary directory")), scratch_directory("build") as scratch:
        _check_room(scratch)
        trees = _Trees(source, scratch, options, progress)
        for target, planned in ready:
            began = time.monotonic()
            if planned.error:
                yield Built(target.name, error=planned.error)
                continue
            try:
                files = _fill(target, planned.steps, trees, options)
            except BuildError as error:
                yield Built(target.name, error=str(error))
                continue
            compilers = tuple(dict.fromkeys(f"{step.kind} {step.triple}" for step in planned.steps))
            seconds = round(time.monotonic() - began, 1)
            directory = str(options.output / target.name)
            yield Built(target.name, directory, compilers, seconds, files, _note(planned.steps))


@dataclass(frozen=True)
class _Planned:
    steps: tuple[Step, ...] = ()
    error: str = ""


def _planned(target: Target, options: BuildOptions, *, alone: bool) -> _Planned:
    """What can be known before any work. Raises OptionError where the compiler never makes the target and that is the
    only one; among others it is left out."""
    try:
        steps = plan(target.platform, options.compiler)
        require_extra(audited=any(step.audited for step in steps))
        check_place(options.output / target.name)
    except (BuildError, MissingExtra, OptionError) as error:
        if alone and isinstance(error, OptionError):
            raise
        return _Planned(error=str(error))
    return _Planned(steps)


def _note(steps: Sequence[Step]) -> str:
    if any(step.library for step in steps):
        return ""
    return "the program alone: libraries for Android are made by the NDK; set ANDROID_NDK_HOME to its folder"


def _tree_key(platform: Platform, step: Step) -> tuple[object, ...]:
    return step.compiler, step.program, platform.encoder


class _Trees:
    """The build trees of this run, each made when it is first needed."""

    def __init__(self, source: Path, scratch: Path, options: BuildOptions, progress: Progress) -> None:
        self.source = source
        self._scratch = scratch
        self._options = options
        self._progress = progress
        self._made: dict[tuple[object, ...], Tree | BuildError] = {}

    def get(self, platform: Platform, step: Step) -> Tree:
        key = _tree_key(platform, step)
        if key not in self._made:
            place = self._scratch / str(len(self._made))
            self._made[key] = self._compiled(platform, step, place)
        made = self._made[key]
        if isinstance(made, BuildError):
            raise made
        return made

    def _compiled(self, platform: Platform, step: Step, place: Path) -> Tree | BuildError:
        done = self._progress.done
        words = f"{step.triple} by {step.kind}"
        try:
            tree = compile_sources(
                step,
                platform,
                self.source,
                place,
                self._progress.share(f"compiling {words}", _UNITS),
                jobs=self._options.jobs,
                log=self._options.log,
                preparing=lambda: self._progress.tell(f"preparing {words}"),  # zig makes the C library, the first time
            )
            self._progress.tell(f"packing what {step.kind} made", done + _UNITS)
            return tree
        except BuildError as error:
            return error
        finally:
            self._progress.done = done + _UNITS
            shutil.rmtree(place / "zig", ignore_errors=True)  # the objects lie in the tree


def _fill(target: Target, steps: Sequence[Step], trees: _Trees, options: BuildOptions) -> dict[str, int]:
    """Makes the target's folder; gives its files. The compilations come first: they take long."""
    made = [(step, trees.get(target.platform, step)) for step in steps]
    with new_folder(options.output / target.name) as folder:
        program = folder / "bin" / target.program_name
        for step, tree in made:
            if step.program:
                program.parent.mkdir(exist_ok=True)
                shutil.copy(tree.program, program)
            if step.library:
                shutil.copytree(tree.installed, folder, dirs_exist_ok=True, symlinks=True)
            if step.wheel:
                write_wheel(tree.shared_library, folder, step.wheel, audited=step.audited)
        if not (folder / "include").is_dir():
            shutil.copytree(trees.source / "native" / "include", folder / "include")
        shutil.copy(trees.source / "LICENSE", folder / "LICENSE")
        if options.bundle is not None:
            write_bundle(target, program, options.bundle, folder / "LICENSE", folder)
        return write_sums(folder)


def _check_room(scratch: Path) -> None:
    free = shutil.disk_usage(scratch).free
    if free < _NEEDED_BYTES:
        raise BuildError(
            f"{scratch.parent.parent}: {free >> 20} MB are free and a build takes {_NEEDED_BYTES >> 20}; "
            "make room, or set TMPDIR to a folder on another disk"
        )
