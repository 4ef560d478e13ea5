"""A model as users hold it: an opened file, and the sessions, batches and conversations that run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rbe_edge.runtime.demo import demo_path as demo_path
from rbe_edge.runtime.engine_model import EngineModel
from rbe_edge.runtime.options import ChatOptions, KvType, SessionOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from typing_extensions import Unpack  # part of typing from Python 3.11 on

    from rbe_edge.runtime.batch import Batch
    from rbe_edge.runtime.conversation import Reply
    from rbe_edge.runtime.gradients import Gradients
    from rbe_edge.runtime.session import Session


class Model(EngineModel):
    """An opened .rbe file: immutable, and shared by any number of threads and sessions.

    with Model.open("smol.rbe") as model:
        print(model.chat("Hello!", max_tokens=100))
    """

    def session(
        self,
        *,
        context: int = 0,
        threads: int = 0,
        pass_tokens: int = 0,
        kv: KvType = "f16",
        planes: int = 0,
        sinks: int = 0,
        profile: bool = False,
        check_memory: bool = True,
    ) -> Session:
        """A session: KV cache and scratch memory for one conversation, all taken now.

        context: tokens it holds (0: the model's own, at most 4096). threads: 1 to 64 (0: one per fast core).
        pass_tokens: tokens of a prefill pass, 1 to 512 (0: 64 or 128). kv: type of the cache: "f16", "f32", "q8" or
        "q8q4". planes: that are read of each tensor (0: all). sinks: a full context slides and keeps so many first
        tokens (0: it is an error). profile: measure where the time goes. check_memory: False goes ahead where too
        little memory is free. SessionOptions says more of each. Raises OptionError for what is out of range, DoesNotFit
        where too little memory is free, ModelError where it cannot be had.
        """
        from rbe_edge.runtime.session import Session

        options = SessionOptions(context, threads, pass_tokens, kv, planes, sinks, profile, check_memory)
        return Session(self, options)

    def batch(
        self, *, max_sessions: int = 8, threads: int = 0, planes: int = 0, follow_sessions: bool = False
    ) -> Batch:
        """Memory to step up to max_sessions (1 to 512) sessions of this model at once. threads: as of a session.
        planes: as of the sessions. follow_sessions: each session is stepped with its own effort instead, in as many
        passes as there are different ones. Raises OptionError for what is out of range."""
        from rbe_edge.runtime.batch import Batch

        return Batch(self, max_sessions, threads, planes, follow_sessions)

    def gradients(self, *, tokens: int = 0, context: int = 0, threads: int = 0, gains: bool = False) -> Gradients:
        """Memory to compute gradients of this model, whose matrices must be fp32. tokens: of one call (0: 512).
        context: of the longest window (0: tokens); it decides, as for a session, which rotary table is used. threads: 1
        to 64 (0: one per fast core). gains: compute the gradient by a factor of each row too. Raises OptionError for
        what is out of range, and for a model with matrices that are not fp32."""
        from rbe_edge.runtime.gradients import Gradients

        return Gradients(self, tokens, context, threads, gains)

    def count_tokens(self, text: str | Iterable[Mapping[str, str]]) -> int:
        """Tokens of a text as a prompt, or of a conversation: dictionaries of `role` and `content`, with all that the
        model's template puts around them. Raises TemplateError where it refuses them."""
        from rbe_edge.runtime.conversation import count_tokens

        return count_tokens(self, text)

    def stream(self, messages: str | Iterable[Mapping[str, str]], **options: Unpack[ChatOptions]) -> Reply:
        """The answer to a question, or to a conversation whose last message is the user's, piece by piece.

        messages: a text, or dictionaries of `role` ("system", "user", "assistant") and `content`. options: max_tokens
        (512; None: until the text or the context ends), stop (texts that end the answer), temperature (0.7; 0 always
        takes the likeliest token), top_k, top_p, min_p, repeat_penalty, repeat_last, seed (0: the same answer each
        time), and of the session context, threads, kv and planes (SessionOptions). Where the model's file says how it
        is to be sampled, that is the default. Gives an iterator of texts; its `statistics` say what it took.

        One session is made at the first piece and freed after the last, or by close(); a Conversation keeps one over
        turns. Iterating raises ContextFull where the last message does not fit, TemplateError where the model's
        template refuses the messages.
        """
        from rbe_edge.runtime.conversation import stream

        return stream(self, messages, options)

    def chat(self, messages: str | Iterable[Mapping[str, str]], **options: Unpack[ChatOptions]) -> str:
        """The answer to a question or a conversation, whole and without blanks around it. messages, options and errors:
        as of stream().

        print(model.chat("How does a battery age?"))
        """
        return "".join(self.stream(messages, **options)).strip()

    def astream(
        self, messages: str | Iterable[Mapping[str, str]], **options: Unpack[ChatOptions]
    ) -> AsyncGenerator[str, None]:
        """stream() for asyncio, on a thread of its own; messages, options and errors are the same. Close it
        (contextlib.aclosing) where the loop over it may be left early."""
        from rbe_edge.runtime.async_api import pieces

        return pieces(self.stream(messages, **options))

    async def achat(self, messages: str | Iterable[Mapping[str, str]], **options: Unpack[ChatOptions]) -> str:
        """chat() for asyncio; messages, options and errors are the same. Cancelling the task stops the engine."""
        return "".join([piece async for piece in self.astream(messages, **options)]).strip()
