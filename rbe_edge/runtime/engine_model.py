"""An rbe_model: a file on disk, opened, what it says about itself, and its tokenizer.

Model (model.py) is what users get: it adds the sessions, batches and conversations that run it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rbe_edge import _native
from rbe_edge.errors import ModelError, OptionError, RbeError, TokenizerError
from rbe_edge.format.metadata import MetadataValue
from rbe_edge.format.modes import ModeTable
from rbe_edge.interrupts import aside
from rbe_edge.progress import Report
from rbe_edge.runtime import tokenizer
from rbe_edge.runtime.effort import Effort, read_bytes
from rbe_edge.runtime.encoder_decoder_info import EncoderDecoderInfo, read_encoder_decoder_info
from rbe_edge.runtime.encoder_info import EncoderInfo, read_encoder_info
from rbe_edge.runtime.memory import ModelMemory, cache_roles, read_memory
from rbe_edge.runtime.model_info import ModelInfo, TensorInfo, read_info, read_metadata, read_tensors
from rbe_edge.runtime.options import CachePolicy, require
from rbe_edge.runtime.parts import PartInfo, read_modes, read_part, read_part_list
from rbe_edge.runtime.text_stream import TextStream
from rbe_edge.runtime.tokenizer_cache import TokenizerCache

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Self  # part of typing from Python 3.11 on

    from rbe_edge.runtime.native_handle import NativeHandle


class EngineModel:
    """An opened .rbe file without what runs it: immutable, and shared by any number of threads and sessions."""

    def __init__(self, path: Path, handle: Any, log: _native.Log | None) -> None:
        """Use Model.open()."""
        self._path = path
        self._handle: Any = handle
        self._log = log  # C holds a pointer to its callback
        self._sessions: set[NativeHandle] = set()
        self._lock = threading.RLock()  # a garbage collection inside may free a session, which takes it again

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        kernel_set: str | None = None,
        verify: bool = True,
        log: Callable[[int, str], object] | None = None,
        max_memory: int = 0,
        cache: CachePolicy | None = None,
        layers: tuple[int, int] = (0, 0),
        amx: bool = True,
    ) -> Self:
        """Maps the .rbe file at `path` and checks it.

        kernel_set: one of _native.kernel_sets(), None for the best of this processor. verify: the checksums of tensors
        are verified beside what follows, see verify(); with max_memory before this returns. log: called with a level
        (0 debug, 1 information, 2 warning) and a line. max_memory: bytes of the file that may be in memory at a time,
        for each session that runs; the rest is read again for every token, which is slower; 0 is no limit. cache: see
        CachePolicy, None for its defaults. layers: the first one and how many (0: all behind it), for
        Session.run_layers() alone where they are not all. amx: False never asks Linux for AMX, which refuses small
        signal stacks to a process that has it (docs/kernels.md).
        Raises ModelError for a file that is missing, damaged, of another version or not supported here.
        """
        path = Path(path)
        _check_file(path)
        if kernel_set is not None and not _native.kernel_sets().get(kernel_set):
            runnable = ", ".join(name for name, available in _native.kernel_sets().items() if available)
            raise OptionError(f"kernel set {kernel_set} cannot run here; this machine has: {runnable}")
        require(amx or kernel_set != "avx512_amx", "kernel set avx512_amx needs AMX; leave out amx=False")
        require(0 <= max_memory < 2**63, f"max_memory must be 0 (no limit) or a number of bytes, not {max_memory}")
        wanted = len(layers) == 2 and min(layers) >= 0 and max(layers) < 2**32
        require(wanted, f"layers must be two whole numbers from 0 on, not {layers}")
        policy = cache or CachePolicy()
        carrier = _native.Log(log) if log is not None else None
        options = _native.ModelOptions(
            struct_bytes=ctypes.sizeof(_native.ModelOptions),
            kernel_set=kernel_set.encode() if kernel_set is not None else None,
            skip_checksums=0 if verify else 1,
            log=carrier.callback if carrier is not None else _native.LogCallback(),
            max_resident_bytes=max_memory,
            cache_bytes=policy.max_bytes,
            cache_roles=cache_roles(policy),
            first_layer=layers[0],
            n_layers=layers[1],
            without_amx=0 if amx else 1,
        )
        # Reading all of a large file takes seconds, and nothing ends it.
        work = functools.partial(_opened, path, options, carrier)
        handle = aside(work, _native.library().rbe_model_close) if verify else work()
        return cls(path, handle, carrier)

    def kept_threads(self, kept: str | os.PathLike[str]) -> int:
        """How many threads were fastest for a model of this size on this machine, by the file of results `kept`
        (Session.try_threads); 0: it does not say."""
        found: int = _native.library().rbe_model_kept_threads(self.handle, os.fsencode(kept))
        return found

    def effort(self, mode: int) -> Effort | None:
        """What is read in a power mode (its number), by the file's table; None where it has none."""
        table = self.modes
        return None if table is None else Effort.of_mode(table.modes[mode])

    def read_bytes(self, effort: Effort | None = None) -> int:
        """Bytes of weights that a step of one token reads with an effort; None: with all of the model."""
        return read_bytes(self.handle, effort)

    def verify(self, progress: Report | None = None) -> None:
        """Waits until the checksums of all tensors are verified. Raises ModelError, which names the tensor, where one
        is wrong; from when that is known, calls that would give tokens raise it too. What is no next token waits by
        itself: the end of an answer, scores, vectors, rows of tensors, saving. Returns at once where the model was
        opened with verify=False. progress(done, total) is called now and then, with bytes; where it returns True, this
        raises Cancelled.
        """
        carrier = _native.ReportCarrier(progress)
        carrier.check(_native.call(_native.library().rbe_model_verify, self.handle, carrier.callback, None))

    def close(self) -> None:
        """Closes the model and its sessions; what still runs on one is cancelled first. Closing twice is allowed.
        Raises RbeError where one cannot be closed, from its own progress function: the model then stays open."""
        with self._lock:
            sessions, self._sessions = self._sessions, set()
            handle, self._handle = self._handle, None
        try:
            for session in sessions:
                session.free()
        except BaseException:
            with self._lock:
                self._sessions, self._handle = sessions, handle
            raise
        if handle is not None:
            _native.library().rbe_model_close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path}{' (closed)' if self._handle is None else ''}>"

    @property
    def handle(self) -> Any:
        """The rbe_model, for calls on _native. Raises ModelError once the model is closed."""
        if self._handle is None:
            raise ModelError(f"{self._path} has been closed; open it again with Model.open()")
        return self._handle

    # ---- what the model says about itself ----

    @cached_property
    def info(self) -> ModelInfo:
        """Sizes, shape and kernel set, as values."""
        return read_info(self.handle, self._path)

    @cached_property
    def stream_width(self) -> int:
        """Values of a token's row between calls of layers: the hidden states, and what later layers need besides."""
        return int(_native.library().rbe_model_stream_width(self.handle))

    @property
    def memory(self) -> ModelMemory:
        """What the model and its sessions take now, beside the file."""
        return read_memory(self.handle)

    def trim_memory(self) -> None:
        """Gives the memory of freed sessions, kept for the next ones, back to the system."""
        _native.library().rbe_model_trim_memory(self.handle)

    @cached_property
    def metadata(self) -> Mapping[str, MetadataValue]:
        """Hyper-parameters, chat template and provenance by their keys (docs/format.md, section 3)."""
        return read_metadata(self.handle)

    @cached_property
    def encoder_info(self) -> EncoderInfo:
        """What it gives for a text, where it encodes texts; of any model. Raises ModelError for damaged prompts."""
        return read_encoder_info(self.handle, self.metadata)

    @cached_property
    def encoder_decoder(self) -> EncoderDecoderInfo | None:
        """Where an encoder reads a text and a decoder answers to it; None for all other models."""
        return read_encoder_decoder_info(self.handle)

    @cached_property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """All tensors by name, in the order of the file."""
        return read_tensors(self.handle)

    @cached_property
    def parts(self) -> Mapping[str, PartInfo]:
        """What the file holds beside its tensors, by name, in the order of the file (docs/format.md, "Parts")."""
        return read_part_list(self.handle)

    def part(self, name: str) -> bytes:
        """The data of a part, known to this build or not. Raises OptionError where there is none of that name."""
        if name not in self.parts:
            raise OptionError(f"{self._path} has no part {name}; `rbe inspect` lists them")
        return read_part(self.handle, name)

    @cached_property
    def modes(self) -> ModeTable | None:
        """What each power mode reads, and how good its answers are; None where the file has no table of them."""
        return read_modes(self.handle)

    def tensor_rows(self, name: str, first: int = 0, count: int | None = None) -> npt.NDArray[np.float32]:
        """Rows of the tensor `name` from `first` on (count None: to the last) as float32 [count][cols], in the source's
        basis: decoded, the rotation undone. Raises OptionError where there are no such rows."""
        import numpy as np

        if name not in self.tensors:
            raise OptionError(f"{self._path} has no tensor {name}; `rbe inspect --tensors` lists them")
        tensor = self.tensors[name]
        count = tensor.rows - first if count is None else count
        if not (0 <= first and 0 <= count and first + count <= tensor.rows):
            raise OptionError(f"{name} has {tensor.rows} rows, not {first} to {first + count}")
        out = np.empty((count, tensor.cols), dtype=np.float32)
        index = list(self.tensors).index(name)
        _native.check(
            _native.library().rbe_model_tensor_rows(
                self.handle, index, first, count, _native.pointer(out, ctypes.c_float)
            )
        )
        return out

    # ---- tokenizer ----

    @property
    def tokenizer_handle(self) -> Any:
        """The rbe_tokenizer, for calls on _native; owned by the model."""
        handle = _native.library().rbe_model_tokenizer(self.handle)
        if not handle:
            raise TokenizerError(f"{self._path} holds no tokenizer; pack the model again with its tokenizer beside it")
        return handle

    @property
    def tokenizer_size(self) -> int:
        """How many tokens the tokenizer knows; 0 where the file holds none."""
        handle = _native.library().rbe_model_tokenizer(self.handle)
        return tokenizer.size(handle) if handle else 0

    def tokenize(self, text: str, *, special: bool = True, parse_special: bool = False) -> list[int]:
        """Token ids of a text. special: add what the model wants at its start, such as BOS. parse_special: read control
        tokens that are written out in the text, such as <|im_start|>; of a marked text (runtime/marked_text.py) those
        that are the template's own. Texts that come again with parse_special are remembered (tokenizer_cache)."""
        return self.tokenizer_cache.tokenize(text, special) if parse_special else self._tokenize(text, special, False)

    @cached_property
    def tokenizer_cache(self) -> TokenizerCache:
        """Of prompts and conversations, with statistics."""

        def control_text(token: int) -> str:
            hidden = not self.token_bytes(token)
            return self.token_bytes(token, special=True).decode("utf-8", "replace") if hidden else ""

        return TokenizerCache(lambda text, special: self._tokenize(text, special, True), control_text)

    def _tokenize(self, text: str, special: bool, parse_special: bool) -> list[int]:
        return tokenizer.tokenize(self.tokenizer_handle, text, special, parse_special)

    def detokenize(self, tokens: Iterable[int]) -> str:
        """The text of tokens, always valid: bytes that are no UTF-8 become U+FFFD, control tokens nothing."""
        with TextStream(self) as stream:
            return "".join([*map(stream.push, tokens), stream.finish()])

    def token_bytes(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; of a control token only with `special`."""
        return tokenizer.token_bytes(self.tokenizer_handle, token, special)

    def token_id(self, text: str) -> int | None:
        """The token that is written exactly as `text`, control tokens included; None where there is none."""
        return tokenizer.token_id(self.tokenizer_handle, text)

    def ends_text(self, token: int) -> bool:
        """Whether generation should end at this token (end of text, end of turn)."""
        return tokenizer.ends_text(self.tokenizer_handle, token)

    # ---- what runs it ----

    def adopt(self, session: NativeHandle) -> None:
        """Registers a session or batch, which the model frees before itself. Sessions and batches alone call it."""
        with self._lock:
            if self._handle is not None:
                self._sessions.add(session)
                return
        session.free()
        raise RbeError(f"{self._path} was closed while a session was being made")

    def release(self, session: NativeHandle) -> None:
        """The opposite of adopt() for a session or batch."""
        with self._lock:
            self._sessions.discard(session)


def _check_file(path: Path) -> None:
    """Raises ModelError for what cannot be a .rbe file."""
    if path.is_dir():
        raise ModelError(f"{path} is a directory, not a .rbe file; pack it first: rbe pack {path} -o model.rbe")
    if not path.exists():
        raise ModelError(f"{path} does not exist; make a .rbe file with `rbe pack`")
    if not path.is_file():
        raise ModelError(f"{path} is no regular file, and only those can be mapped; give a .rbe file")


def _opened(path: Path, options: Any, carrier: _native.Log | None) -> Any:
    """The rbe_model of a file. Raises as Model.open()."""
    handle = ctypes.POINTER(_native.ModelHandle)()
    lib = _native.library()
    try:
        status = _native.call(lib.rbe_model_open, os.fsencode(path), ctypes.byref(options), ctypes.byref(handle))
        (carrier.check if carrier is not None else _native.check)(status)
    except BaseException:
        lib.rbe_model_close(handle)  # NULL unless the log function raised, or Ctrl-C came
        raise
    return handle
