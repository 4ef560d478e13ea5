"""Acts on power modes while a session answers (rbe/governor.h): what is read of the model, threads, waits."""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rbe_edge import _native
from rbe_edge.errors import OptionError, RbeError
from rbe_edge.machine.power import Decider, Decision, Mode, Policy, Power, Sample, raw_policy
from rbe_edge.runtime.threads import Workers

if TYPE_CHECKING:
    from rbe_edge.runtime.batch import Batch
    from rbe_edge.runtime.engine_model import EngineModel
    from rbe_edge.runtime.engine_session import EngineSession


@dataclass(frozen=True)
class Goals:
    """What is held between tokens, None: nothing. watts: the most average power. celsius: the hottest that the
    processor may be. tokens_per_s: the slowest rate that is acceptable, at the fewest threads that give it."""

    watts: float | None = None
    celsius: float | None = None
    tokens_per_s: float | None = None


@dataclass(frozen=True)
class PowerChoice:
    """What a governor goes by, as a value: when which mode, and what is held between tokens."""

    policy: Policy = field(default_factory=Policy)
    goals: Goals = field(default_factory=Goals)


@dataclass(frozen=True)
class GovernorInfo:
    """reason: why the mode is what it is. waited_s: between tokens, in all. joules: from when the governor was made
    until now, over joule_seconds, in steps of resolution_j (0: integrated); None where nothing measures; less than
    before: the source changed. tokens: steps of sessions that it has governed."""

    mode: Mode
    reason: str
    switches: int
    waited_s: float
    joules: float | None
    joule_seconds: float
    tokens: int
    threads: int
    resolution_j: float = 0


class Governor:
    """Acts on what the sensors say, before every token of the sessions and batches that it governs.

    with Governor(model, Power()) as governor, model.session() as session:
        governor.govern(session)
    """

    def __init__(
        self,
        model: EngineModel,
        power: Power | None = None,
        policy: Policy | None = None,
        goals: Goals | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        """power None: no sensors. log: a line for each switch, on the thread that answers. Raises OptionError for goals
        that nothing here can measure."""
        goals = goals or Goals()
        self._power = power
        self._policy = policy or Policy()
        self._governed: weakref.WeakSet[EngineSession | Batch] = weakref.WeakSet()
        self._call = _native.GovernorCallback(lambda line, user: log(line.decode()) if log is not None else None)
        self._handle: Any = ctypes.POINTER(_native.GovernorHandle)()
        options = _native.GovernorOptions(
            struct_bytes=ctypes.sizeof(_native.GovernorOptions),
            power=power.handle if power is not None else None,
            policy=ctypes.pointer(raw_policy(self._policy)),
            watts=goals.watts or 0,
            celsius=goals.celsius or 0,
            tokens_per_s=goals.tokens_per_s or 0,
            log=self._call,
        )
        create = _native.library().rbe_governor_create
        _native.check(create(model.handle, ctypes.byref(options), ctypes.byref(self._handle)), OptionError)

    def __enter__(self) -> Governor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Releases what it governs, which must not be in use. Closing twice is allowed."""
        for what in self._governed:
            with suppress(RbeError):  # it was closed before
                self.release(what)
        handle, self._handle = self._handle, None
        if handle:
            _native.library().rbe_governor_free(handle)

    @property
    def power(self) -> Power | None:
        """The sensors that it reads."""
        return self._power

    def first_decision(self) -> Decision:
        """The mode that the first token will have, as far as the sensors say now. It reads them, which may take tens of
        milliseconds."""
        return Decider(self._policy).decide(Sample() if self._power is None else self._power.sample())

    def _open(self) -> Any:
        if not self._handle:
            raise RbeError("the governor is closed")
        return self._handle

    def govern(self, what: EngineSession | Batch) -> None:
        """From the next token on."""
        self._set(what, self._open())
        self._governed.add(what)

    def release(self, what: EngineSession | Batch) -> None:
        """No longer; the session stays as it is."""
        self._set(what, None)

    def _set(self, what: EngineSession | Batch, governor: Any) -> None:
        lib = _native.library()
        call = lib.rbe_batch_govern if hasattr(what, "max_sessions") else lib.rbe_session_govern
        with what.use() as handle:
            _native.check(call(handle, governor), OptionError)

    def override(self, mode: Mode | None) -> None:
        """Always that mode, from the next token on; None: the policy decides."""
        lib = _native.library()
        _native.check(lib.rbe_governor_override(self._open(), 0 if mode is None else 1 + mode), OptionError)

    @property
    def info(self) -> GovernorInfo:
        raw = _native.GovernorInfo(struct_bytes=ctypes.sizeof(_native.GovernorInfo))
        _native.check(_native.library().rbe_governor_get_info(self._open(), ctypes.byref(raw)))
        return GovernorInfo(
            mode=Mode(raw.mode),
            reason=raw.reason.decode("utf-8", "replace"),
            switches=raw.n_switches,
            waited_s=raw.waited_s,
            joules=None if math.isnan(raw.joules) else raw.joules,
            joule_seconds=raw.joule_seconds,
            tokens=raw.n_tokens,
            threads=raw.n_threads,
            resolution_j=raw.resolution_j,
        )


@dataclass(frozen=True)
class ModeLimits:
    """What a session that is made in a mode should be given. context: tokens; sessions: of a batch; 0: any.
    cache_divisor: of the bytes of rows that are kept; 0: none."""

    context: int
    sessions: int
    cache_divisor: int


def mode_workers(mode: Mode, threads: int) -> Workers:
    """What becomes of so many threads (0 to 64), those that performance has, in a mode."""
    raw = _native.Workers(struct_bytes=ctypes.sizeof(_native.Workers))
    _native.check(_native.library().rbe_mode_get_workers(mode, threads, ctypes.byref(raw)), OptionError)
    return Workers(raw.n_threads, bool(raw.sleep), bool(raw.slow_cores))


def mode_limits(mode: Mode) -> ModeLimits:
    raw = _native.ModeLimits(struct_bytes=ctypes.sizeof(_native.ModeLimits))
    _native.check(_native.library().rbe_mode_get_limits(mode, ctypes.byref(raw)))
    return ModeLimits(raw.context_tokens, raw.max_sessions, raw.cache_divisor)
