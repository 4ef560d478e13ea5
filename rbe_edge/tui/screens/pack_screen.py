"""Packing a model from the hub: what it needs is compared with what is there before anything is downloaded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Footer, Input, ProgressBar, Static

from rbe_edge.errors import Cancelled, OptionError, PackError, RbeError
from rbe_edge.packing.effort_name import EFFORT_NAMES, EffortName
from rbe_edge.runtime import fit
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.sources import hub
from rbe_edge.terminal_text import duration, printable, size
from rbe_edge.tui.room import Need, needs, plan_of, what_helps

T = TypeVar("T")

_POLL_S = 0.5


class PackScreen(ModalScreen["Path | None"]):
    """Answers the .rbe file that was made, None where it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Stop or back", key_display="Esc")]

    def __init__(self, directory: Path, session: SessionOptions) -> None:
        """directory: where the file is to lie; made where it is missing. session: with which it will be run."""
        super().__init__()
        self._session = session
        self._directory = directory
        self._offer: hub.Offer | None = None
        self._stop = threading.Event()
        # Not the loop's own threads, which leaving the client waits for.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rbe-pack")
        self._working = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="window form"):
            yield Static("Pack a model from Hugging Face", classes="heading")
            with Horizontal(classes="row"):
                yield Static("Repository", classes="label")
                yield Input(placeholder="org/name", id="repository", max_length=200, compact=True)
            with Horizontal(classes="row"):
                yield Static("Bits per weight", classes="label")
                yield Input("4", id="bits", max_length=6, compact=True)
                yield Static("2 to 8, in any fraction", classes="hint")
            with Horizontal(classes="row"):
                yield Static("Effort", classes="label")
                yield Input("quick", id="effort", max_length=6, compact=True)
                yield Static("quick, normal or best: minutes to hours", classes="hint")
            yield Static("", id="told")
            yield ProgressBar(id="progress", show_eta=False)
            with Horizontal(classes="buttons"):
                yield Button("Check", id="check", variant="primary")
                yield Button("Download and pack", id="pack", disabled=True)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one("#progress").display = False
        self.query_one("#repository").focus()

    def on_unmount(self) -> None:
        self._stop.set()  # the client may be left while it packs
        self._thread.shutdown(wait=False)

    async def _apart(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _tell(self, text: str) -> None:
        self.query_one("#told", Static).update(Content(printable(text)))

    @on(Input.Changed)
    def _changed(self) -> None:
        self._offer = None
        self.query_one("#pack", Button).disabled = True

    @on(Input.Submitted)
    @on(Button.Pressed, "#check")
    def _wants_check(self) -> None:
        self._check()

    @on(Button.Pressed, "#pack")
    def _wants_pack(self) -> None:
        self._pack()

    def action_leave(self) -> None:
        if self._working:
            self.stop()
        else:
            self.dismiss(None)

    def stop(self) -> bool:
        """Stops downloading or packing; whether there was something that was not being stopped yet."""
        if not self._working or self._stop.is_set():
            return False
        self._stop.set()
        self._tell("stopping …")
        return True

    def _asked(self) -> tuple[str, float, EffortName]:
        """Repository, bits and effort. Raises OptionError."""
        repository = self.query_one("#repository", Input).value.strip()
        if not hub.is_repository(repository):
            raise OptionError("a repository is written org/name, as in HuggingFaceTB/SmolLM2-135M-Instruct")
        try:
            bits = float(self.query_one("#bits", Input).value)
        except ValueError:
            bits = 0.0
        if not 2 <= bits <= 8:
            raise OptionError("bits per weight are a number from 2 to 8")
        wanted = self.query_one("#effort", Input).value.strip()
        effort = next((name for name in EFFORT_NAMES if name == wanted), None)
        if effort is None:
            raise OptionError(f"the effort is one of {', '.join(EFFORT_NAMES)}")
        return repository, bits, effort

    @work(exclusive=True, group="pack")
    async def _check(self) -> None:
        """Asks the hub, and says what it would take."""
        try:
            repository, bits, _ = self._asked()
            self._tell(f"asking huggingface.co about {repository} …")
            offer = await self._apart(lambda: hub.inquire(repository))
            found, helps = await self._apart(lambda: self._needs(offer, bits))
        except (RbeError, OSError) as error:
            self._tell(str(error))
            return
        enough = all(need.met for need in found)
        verdict = "There is room for it." if enough else f"There is not enough room; nothing was downloaded. {helps}"
        lines = [f"{offer.parameters:,} weights, {size(offer.download_bytes)} to download", *map(str, found)]
        self._tell("\n".join([*lines, verdict.rstrip()]))
        self._offer = offer
        self.query_one("#pack", Button).disabled = not enough

    def _needs(self, offer: hub.Offer, bits: float) -> tuple[list[Need], str]:
        """And what helps where memory is short."""
        free = fit.available().bytes
        plan = plan_of(offer.repository, bits, self._session, free)
        cache, cached = hub.cache_directory(), hub.cached_bytes(offer.repository)
        found = needs(offer, plan, cache=cache, output=self._directory, cached_bytes=cached)
        if free is None or plan.advice is None:
            return found, ""
        memory = Need("memory to run it", plan.memory, free)
        return [*found, memory], "" if memory.met else what_helps(plan.advice)

    @work(exclusive=True, group="pack")
    async def _pack(self) -> None:
        offer = self._offer
        if offer is None:
            return
        self._working = True
        self._stop.clear()
        buttons = list(self.query(Button))
        for button in buttons:
            button.disabled = True
        bar = self.query_one(ProgressBar)
        bar.display = True
        try:
            _, bits, effort = self._asked()
            out = self._directory / f"{offer.repository.rpartition('/')[2]}-{bits:g}bit.rbe"
            await self._download(offer)
            self._tell("packing; this takes minutes")
            await self._apart(lambda: self._pack_file(offer, bits, effort, out))
        except (RbeError, OSError) as error:
            self._tell(str(error))
        else:
            self.dismiss(out)
        finally:
            self._working = False
            if self.is_attached:
                bar.display = False
                self.query_one("#check", Button).disabled = False

    async def _download(self, offer: hub.Offer) -> None:
        self._tell(f"downloading {size(offer.download_bytes)}")
        loading = asyncio.create_task(
            self._apart(lambda: hub.download(offer.repository, offer.revision, self._stop.is_set))
        )
        while not loading.done():
            done = await asyncio.to_thread(hub.cached_bytes, offer.repository)
            self._show_progress("downloading", min(done, offer.download_bytes), offer.download_bytes)
            await asyncio.wait([loading], timeout=_POLL_S)
        await loading

    def _pack_file(self, offer: hub.Offer, bits: float, effort: EffortName, out: Path) -> None:
        from rbe_edge.packing.pack import PackOptions, pack

        if out.exists():
            raise PackError(f"{out}: exists already; choose it in the list of models, or other bits")
        out.parent.mkdir(parents=True, exist_ok=True)

        def progress(what: str, done: int, total: int) -> None:
            if self._stop.is_set():
                raise Cancelled("stopped; packing the same again goes on from here")
            show: Callable[..., None] = self._show_progress
            left = duration((total - done) / 1000)
            self.app.call_from_thread(show, f"packing: {what}, {left} left", done, total)

        options = PackOptions(bits=bits, revision=offer.revision, effort=effort)
        report = pack(offer.repository, out, options, progress)
        for note in report.notes:
            self.app.call_from_thread(self.notify, printable(note), markup=False)

    def _show_progress(self, what: str, done: int, total: int) -> None:
        self._tell(what)
        self.query_one(ProgressBar).update(total=total or None, progress=done)
