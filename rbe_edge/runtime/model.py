"""A model on disk, opened: what it says about itself, its tokenizer, and the sessions that run it."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rbe_edge import _native
from rbe_edge.errors import ModelError, OptionError, RbeError, TokenizerError
from rbe_edge.runtime.marked_text import for_tokenizer, is_marked
from rbe_edge.runtime.memory import ModelMemory, cache_roles, read_memory
from rbe_edge.runtime.model_info import MetadataValue, ModelInfo, TensorInfo, read_info, read_metadata, read_tensors
from rbe_edge.runtime.options import CachePolicy, ChatOptions, KvType, SessionOptions, encoded, require
from rbe_edge.runtime.tokenizer_cache import TokenizerCache

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Unpack  # part of typing from Python 3.11 on

    from rbe_edge.runtime.batch import Batch
    from rbe_edge.runtime.conversation import Reply
    from rbe_edge.runtime.session import NativeSession, Session


class Model:
    """An opened .rbe file: immutable, and shared by any number of threads and sessions.

    with Model.open("smol.rbe") as model:
        print(model.chat([{"role": "user", "content": "Hello!"}], max_tokens=100))
    """

    def __init__(self, path: Path, handle: Any, log: _native.Log | None) -> None:
        """Use Model.open()."""
        self._path = path
        self._handle: Any = handle
        self._log = log  # C holds a pointer to its callback
        self._sessions: set[NativeSession] = set()
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
    ) -> Model:
        """Maps a .rbe file and checks it.

        kernel_set: one of _native.kernel_sets(), None for the best of this processor. verify: read the whole file now
        to verify the checksums of tensors. log: called with a level (0 debug, 1 information, 2 warning) and a line.
        max_memory: bytes of the file that may be in memory at a time, for each session that runs; the rest is read
        again for every token, which is slower; 0 is no limit. cache: see CachePolicy, None for its defaults.
        Raises ModelError for a file that is missing, damaged, of another version or not supported here.
        """
        path = Path(path)
        if path.is_dir():
            raise ModelError(f"{path} is a directory, not a .rbe file; pack it first: rbe pack {path} -o model.rbe")
        if not path.exists():
            raise ModelError(f"{path} does not exist; make a .rbe file with `rbe pack`")
        if not path.is_file():
            raise ModelError(f"{path} is no regular file, and only those can be mapped; give a .rbe file")
        if kernel_set is not None and not _native.kernel_sets().get(kernel_set):
            runnable = ", ".join(name for name, available in _native.kernel_sets().items() if available)
            raise OptionError(f"kernel set {kernel_set} cannot run here; this machine has: {runnable}")
        require(0 <= max_memory < 2**63, f"max_memory must be 0 (no limit) or a number of bytes, not {max_memory}")
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
        )
        handle = ctypes.POINTER(_native.ModelHandle)()
        lib = _native.library()
        status = lib.rbe_model_open(os.fsencode(path), ctypes.byref(options), ctypes.byref(handle))
        try:
            (carrier.check if carrier is not None else _native.check)(status)
        except BaseException:
            lib.rbe_model_close(handle)  # NULL unless the log function raised
            raise
        return cls(path, handle, carrier)

    def close(self) -> None:
        """Closes the model and its sessions; what still runs on one is cancelled first. Closing twice is allowed."""
        with self._lock:
            sessions, self._sessions = self._sessions, set()
            handle, self._handle = self._handle, None
        for session in sessions:
            session.free()
        if handle is not None:
            _native.library().rbe_model_close(handle)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()

    def __repr__(self) -> str:
        return f"<Model {self._path}{' (closed)' if self._handle is None else ''}>"

    @property
    def handle(self) -> Any:
        """The rbe_model, for calls on _native. Raises ModelError once the model is closed."""
        if self._handle is None:
            raise ModelError(f"{self._path} has been closed; open it again with Model.open()")
        return self._handle

    # ---- what the model says about itself ----

    @cached_property
    def info(self) -> ModelInfo:
        return read_info(self.handle, self._path)

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
    def tensors(self) -> Mapping[str, TensorInfo]:
        """All tensors by name, in the order of the file."""
        return read_tensors(self.handle)

    def tensor_rows(self, name: str, first: int = 0, count: int | None = None) -> npt.NDArray[np.float32]:
        """Rows of a tensor as float32 [count][cols], in the source's basis: decoded, the rotation undone."""
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
        tokenizer = _native.library().rbe_model_tokenizer(self.handle)
        return int(_native.library().rbe_tokenizer_size(tokenizer)) if tokenizer else 0

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
        flags = _native.TOKENIZE_SPECIAL_PREFIX if special else 0
        if parse_special and is_marked(text):
            flags |= _native.TOKENIZE_MARKED
            text = for_tokenizer(text)
        elif parse_special:
            flags |= _native.TOKENIZE_PARSE_SPECIAL
        data = encoded(text)
        lib = _native.library()
        tokenizer = self.tokenizer_handle
        n_tokens = ctypes.c_size_t()
        capacity = len(data) + 16
        while True:
            tokens = (ctypes.c_uint32 * capacity)()
            status = lib.rbe_tokenize(tokenizer, data, len(data), flags, tokens, capacity, ctypes.byref(n_tokens))
            if status != _native.ERROR_CAPACITY or n_tokens.value <= capacity:
                break
            capacity = n_tokens.value
        _native.check(status, TokenizerError)
        return tokens[: n_tokens.value]

    def detokenize(self, tokens: Iterable[int]) -> str:
        """The text of tokens, always valid: bytes that are no UTF-8 become U+FFFD, control tokens nothing."""
        from rbe_edge.runtime.text_stream import TextStream

        with TextStream(self) as stream:
            return "".join([*map(stream.push, tokens), stream.finish()])

    def token_bytes(self, token: int, *, special: bool = False) -> bytes:
        """The bytes of one token; of a control token only with `special`."""
        data = ctypes.POINTER(ctypes.c_char)()
        n_bytes = ctypes.c_size_t()
        status = _native.library().rbe_token_bytes(
            self.tokenizer_handle, token, int(special), ctypes.byref(data), ctypes.byref(n_bytes)
        )
        _native.check(status, TokenizerError)
        return ctypes.string_at(data, n_bytes.value)

    def token_id(self, text: str) -> int | None:
        """The token that is written exactly so, control tokens included, or None."""
        data = encoded(text)
        token: int = _native.library().rbe_token_find(self.tokenizer_handle, data, len(data))
        return None if token == _native.NO_TOKEN else token

    def ends_text(self, token: int) -> bool:
        """Whether generation should end at this token (end of text, end of turn)."""
        return bool(_native.library().rbe_token_ends_text(self.tokenizer_handle, token))

    # ---- running ----

    def session(
        self,
        *,
        context: int = 0,
        threads: int = 0,
        batch: int = 0,
        kv: KvType = "f16",
        planes: int = 0,
        sinks: int = 0,
        profile: bool = False,
    ) -> Session:
        """A session: KV cache and scratch memory for one conversation. See SessionOptions for the arguments."""
        from rbe_edge.runtime.session import Session

        options = SessionOptions(context, threads, batch, kv, planes, sinks, profile)
        return Session(self, options)

    def batch(self, *, max_sessions: int = 8, threads: int = 0, planes: int = 0) -> Batch:
        """Memory to step up to max_sessions sessions of this model at once; planes: as of the sessions."""
        from rbe_edge.runtime.batch import Batch

        return Batch(self, max_sessions, threads, planes)

    def adopt(self, session: NativeSession) -> None:
        """Makes the model free the session before itself. For Session alone."""
        with self._lock:
            if self._handle is not None:
                self._sessions.add(session)
                return
        session.free()
        raise RbeError(f"{self._path} was closed while a session was being made")

    def release(self, session: NativeSession) -> None:
        """The opposite of adopt()."""
        with self._lock:
            self._sessions.discard(session)

    def count_tokens(self, text: str | Iterable[Mapping[str, str]]) -> int:
        """Tokens of a text as a prompt, or of a conversation: dictionaries of `role` and `content`, with all that the
        model's template puts around them. Raises TemplateError where it refuses them."""
        from rbe_edge.runtime.conversation import count_tokens

        return count_tokens(self, text)

    def stream(self, messages: Iterable[Mapping[str, str]], **options: Unpack[ChatOptions]) -> Reply:
        """The answer to a conversation whose last message is the user's, piece by piece.

        One session is made at the first piece and freed after the last, or by close(); a Conversation keeps one over
        turns. Iterating raises ContextFull where the last message does not fit, TemplateError where the model's
        template refuses the messages.
        """
        from rbe_edge.runtime.conversation import stream

        return stream(self, messages, options)

    def chat(self, messages: Iterable[Mapping[str, str]], **options: Unpack[ChatOptions]) -> str:
        """The same answer at once."""
        return "".join(self.stream(messages, **options)).strip()

    def astream(
        self, messages: Iterable[Mapping[str, str]], **options: Unpack[ChatOptions]
    ) -> AsyncGenerator[str, None]:
        """stream() for asyncio, on a thread of its own; see runtime/async_api.py."""
        from rbe_edge.runtime.async_api import pieces

        return pieces(self.stream(messages, **options))

    async def achat(self, messages: Iterable[Mapping[str, str]], **options: Unpack[ChatOptions]) -> str:
        """chat() for asyncio. Cancelling the task stops the engine."""
        return "".join([piece async for piece in self.astream(messages, **options)]).strip()


def demo_path() -> Path:
    """The demo model that comes with the package. Raises ModelError where this build has none."""
    path = Path(__file__).resolve().parent.parent / "demo" / "demo.rbe"
    if not path.is_file():
        raise ModelError("this build holds no demo model; give a file: rbe chat FILE")
    return path
