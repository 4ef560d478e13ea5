"""Whether a model fits into memory, before any of it is taken: the estimate of the C library (rbe/fit.h), by its index.

fit = estimate("smol.rbe", SessionOptions(context=4096))
print(fit.total, available().bytes, advise("smol.rbe", available().bytes).flags)
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rbe_edge import _native
from rbe_edge.errors import DoesNotFit, ModelError
from rbe_edge.machine.memory import Available as Available
from rbe_edge.machine.memory import available as available
from rbe_edge.runtime.memory import cache_roles
from rbe_edge.runtime.native_options import raw_session_options
from rbe_edge.runtime.options import CACHE_TYPES, CachePolicy, CacheType, SessionOptions

_FLAGS_BYTES = 160


@dataclass(frozen=True)
class Fit:
    """What opening a file and its sessions takes, in bytes.

    weights_resident: what of the weights has to be in memory at a time. weights_on_disk: the rest; in memory too where
    there is room (page cache), else read again for every token. needed: all but weights_on_disk; without it nothing
    runs. total: with it the model runs at full speed. context, threads, kv (the type of the cache): of each session.
    """

    file_bytes: int
    weights_resident: int
    weights_on_disk: int
    tokenizer_bytes: int
    index_bytes: int
    cache_bytes: int
    kv_bytes: int
    pass_bytes: int
    needed: int
    total: int
    address_bytes: int
    context: int
    threads: int
    bits_per_weight: float
    kv: CacheType


@dataclass(frozen=True)
class Advice:
    """The first change that makes a model fit; what is not to be changed is 0 or None.

    flags: the same for the command line, "" where it fits, or where nothing helps. max_memory: weights are read from
    the disk for every token. bits: the model has to be packed again, and the other changes are needed too.
    bits_instead: packed again with so many bits per weight it fits as wished, without any other change; 0 where not.
    """

    fits: bool
    context: int
    kv: CacheType | None
    max_memory: int
    bits: float
    bits_instead: float
    flags: str


@dataclass(frozen=True)
class Wish:
    """How a model is to be opened and run. session: of each of `sessions`. batch: sessions that one Batch steps at
    most, 0 without one. max_memory, cache: as of Model.open()."""

    session: SessionOptions = field(default_factory=SessionOptions)
    sessions: int = 1
    batch: int = 0
    max_memory: int = 0
    cache: CachePolicy = field(default_factory=CachePolicy)


@contextmanager
def _raw(wish: Wish) -> Iterator[Any]:
    """An rbe_fit_options; what it points to lives inside."""
    model = _native.ModelOptions(
        struct_bytes=ctypes.sizeof(_native.ModelOptions),
        max_resident_bytes=wish.max_memory,
        cache_bytes=wish.cache.max_bytes,
        cache_roles=cache_roles(wish.cache),
    )
    session = raw_session_options(wish.session)
    yield ctypes.byref(
        _native.FitOptions(
            struct_bytes=ctypes.sizeof(_native.FitOptions),
            model=ctypes.pointer(model),
            session=ctypes.pointer(session),
            n_sessions=wish.sessions,
            batch_sessions=wish.batch,
        )
    )


def estimate(path: str | os.PathLike[str], wish: Wish | None = None) -> Fit:
    """What the file takes, run as wished. Raises ModelError for a file that is none, or options that it refuses."""
    raw = _native.Fit(struct_bytes=ctypes.sizeof(_native.Fit))
    with _raw(wish or Wish()) as options:
        _native.check(_native.library().rbe_fit_file(os.fsencode(path), options, ctypes.byref(raw)))
    values: dict[str, Any] = {name: getattr(raw, name) for name, *_ in raw._fields_ if name != "struct_bytes"}
    kv = CACHE_TYPES[values.pop("kv_type")]
    return Fit(context=values.pop("context_tokens"), threads=values.pop("n_threads"), kv=kv, **values)


def advise(path: str | os.PathLike[str], n_bytes: int, wish: Wish | None = None) -> Advice:
    """What makes the file fit into n_bytes at full speed, or, where only max_memory does, slowly. Raises as
    estimate()."""
    raw = _native.FitAdvice(struct_bytes=ctypes.sizeof(_native.FitAdvice))
    flags = ctypes.create_string_buffer(_FLAGS_BYTES)
    lib = _native.library()
    with _raw(wish or Wish()) as options:
        _native.check(lib.rbe_fit_advise(os.fsencode(path), options, n_bytes, ctypes.byref(raw)))
    lib.rbe_fit_flags(ctypes.byref(raw), flags, _FLAGS_BYTES)
    kv: CacheType | None = "q8" if raw.kv_type == _native.KV_Q8 else None
    return Advice(
        fits=bool(raw.fits),
        context=raw.context_tokens,
        kv=kv,
        max_memory=raw.max_resident_bytes,
        bits=round(raw.bits_per_weight, 1),
        bits_instead=round(raw.bits_instead, 1),
        flags=flags.value.decode("ascii"),
    )


def check(path: str | os.PathLike[str], wish: Wish | None = None) -> None:
    """Before a model is opened: raises DoesNotFit, with the numbers and the flags that help, where this machine has too
    little memory now to run it at all. Weights that can stay on the disk do not count, and free swap does. A file that
    cannot be read is left to Model.open()."""
    with _raw(wish or Wish()) as options:
        status = _native.library().rbe_fit_check(os.fsencode(path), options)
    if status == _native.ERROR_MEMORY:
        _native.check(status, DoesNotFit)


def check_session(model: Any, options: Any) -> None:
    """The same before one more session. model: an rbe_model; options: an rbe_session_options."""
    status = _native.library().rbe_fit_check_session(model, ctypes.byref(options))
    _native.check(status, DoesNotFit if status == _native.ERROR_MEMORY else ModelError)
