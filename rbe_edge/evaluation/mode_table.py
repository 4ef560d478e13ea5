"""The table of power modes of a file: what each mode reads of the model, found by search and measured on other text.

Balanced, saver and emergency keep 95, 90 and 80 % of the quality: their perplexity is at most 1.05, 1.11 and 1.25 times
that of the whole model, and the divergence from it is bounded as well (effort_search.keeps). The search reads every
other window of the text; what is stored was measured on those between them, which the search has not seen, and a mode
that does not keep its bound there is searched again with a tighter one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rbe_edge.errors import OptionError
from rbe_edge.evaluation.divergence import divergence
from rbe_edge.evaluation.effort_search import EffortSearch, Found, Judge, keeps
from rbe_edge.format.modes import MODE_NAMES, Mode, ModeTable
from rbe_edge.progress import Report
from rbe_edge.runtime.effort import Effort
from rbe_edge.runtime.text_windows import text_windows

if TYPE_CHECKING:
    from rbe_edge.runtime.model import Model

BOUNDS = {"balanced": 1.05, "saver": 1.11, "emergency": 1.25}
WINDOW = 256
SEARCH_TOKENS = 512
MEASURE_TOKENS = 4096
_LEAST_TOKENS = 256
_TIGHTER = (1.0, 0.6, 0.3)  # of what the bound lets perplexity grow by; one after the other


def plan_modes(
    model: Model,
    text: str,
    name: str,
    *,
    source: Model | None = None,
    threads: int = 0,
    report: Report | None = None,
) -> ModeTable:
    """name: of the text, printable ASCII. source: what the divergence that is stored is against; None: the file itself.
    threads: 0 is one per fast core. report counts measurements, of about how many. Raises OptionError for a text that
    is too short, or a source of another vocabulary."""
    search, measure = _windows(model, text)
    if report is not None:
        report(0, 1)  # how many measurements there will be is known behind the first tokens
    with Judge(model, measure, threads=threads) as judge:
        modes = [_mode(judge.whole_found(), judge, "")]
        with Judge(model, search, threads=threads) as searching:
            hunt = EffortSearch(model, searching, report)
            for mode in MODE_NAMES[1:]:
                modes.append(_find(hunt, judge, mode, modes[-1]))
    if source is not None:
        modes = [_against(mode, model, source, measure, threads) for mode in modes]
    return ModeTable(model.info.layers, tuple(modes), name, "itself" if source is None else "source")


def _windows(model: Model, text: str) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Those of the search, and those between them."""
    size = min(WINDOW, model.info.context)
    windows = [window for window in text_windows(model, text, size) if len(window) == size]
    search, measure = windows[::2], windows[1::2]
    if size * len(measure) < min(_LEAST_TOKENS, 4 * size):
        n = len(model.tokenize(text, special=False))
        raise OptionError(f"the text has {n} tokens; give one of {4 * _LEAST_TOKENS} at least, with --text")
    return _spread(search, SEARCH_TOKENS // size), _spread(measure, MEASURE_TOKENS // size)


def _spread(windows: Sequence[Sequence[int]], most: int) -> list[Sequence[int]]:
    """At most so many, of all of the text and not its beginning alone."""
    step = max(1, len(windows) // max(1, most))
    return list(windows[::step][: max(1, most)])


def _find(hunt: EffortSearch, judge: Judge, mode: str, before: Mode) -> Mode:
    """The mode of a name, behind the one that reads more."""
    start = hunt.best
    for share in _TIGHTER:
        hunt.best = start
        found = hunt.within(1 + share * (BOUNDS[mode] - 1))
        measured = Found(found.effort, found.read_bytes, judge.loss(found.effort))
        if keeps(measured.loss, judge.whole, BOUNDS[mode]):
            break
    else:
        hunt.best = start
        return replace(before, reason=_reason(mode, "keeps the bound on text that the search has not seen"))
    if measured.read_bytes >= before.bytes_per_token:
        return replace(before, reason=_reason(mode, "reads less than the mode above it"))
    return _mode(measured, judge, "")


def _reason(mode: str, what: str) -> str:
    return f"nothing {what} (perplexity x {BOUNDS[mode]:g}); it saves by threads and pace alone"


def _mode(found: Found, judge: Judge, reason: str) -> Mode:
    effort, loss = found.effort, found.loss
    return Mode(
        attention=_list(effort.attention),
        feed_forward=_list(effort.feed_forward),
        embedding=effort.embedding,
        lm_head=effort.lm_head,
        bytes_per_token=found.read_bytes,
        n_tokens=loss.n,
        perplexity=loss.perplexity,
        kl=loss.kl if not _is_whole(effort) else 0.0,
        kl_error=loss.kl_error if not _is_whole(effort) else 0.0,
        top1=loss.top1_agreement,
        reason=reason,
    )


def _list(planes: tuple[int, ...]) -> tuple[int, ...]:
    return planes if any(planes) else ()


def _is_whole(effort: Effort) -> bool:
    return not any((*effort.attention, *effort.feed_forward, effort.embedding, effort.lm_head))


def _against(mode: Mode, model: Model, source: Model, windows: Sequence[Sequence[int]], threads: int) -> Mode:
    """The same with the divergence from the source."""
    tokens = [token for window in windows for token in window]
    effort = Effort.of_mode(mode)
    found = divergence(model, source, tokens, window=len(windows[0]), threads=threads, effort=effort)
    return replace(
        mode,
        perplexity=found.perplexity,
        kl=found.kl,
        kl_error=found.kl_error,
        top1=found.top1_agreement,
        n_tokens=found.n_scored,
    )
