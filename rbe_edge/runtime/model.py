"""A model as users hold it: an opened file, and the sessions, batches and conversations that run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rbe_edge.runtime.demo import demo_path as demo_path
from rbe_edge.runtime.engine_model import EngineModel
from rbe_edge.runtime.options import ChatOptions, KvType, SessionOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Unpack  # part of typing from Python 3.11 on

    from rbe_edge.progress import Report
    from rbe_edge.runtime.batch import Batch
    from rbe_edge.runtime.conversation import Reply
    from rbe_edge.runtime.encoder import Encoder
    from rbe_edge.runtime.encoder_info import Pooling
    from rbe_edge.runtime.encoder_texts import Text
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

    def gradients(
        self, *, tokens: int = 0, context: int = 0, threads: int = 0, gains: bool = False, encoder: bool = False
    ) -> Gradients:
        """Memory to compute gradients of this model, whose matrices must be fp32. tokens: of one call (0: 512).
        context: of the longest window (0: tokens); it decides, as for a session, which rotary table is used. threads: 1
        to 64 (0: one per fast core). gains: compute the gradient by a factor of each row too. encoder: of the
        encoder in front of a decoder, whose layers count from 0. Raises OptionError for what is out of range, and for a
        model with matrices that are not fp32, or without such an encoder."""
        from rbe_edge.runtime.gradients import Gradients

        return Gradients(self, tokens, context, threads, gains, encoder)

    def encoder(
        self,
        *,
        threads: int = 0,
        pass_tokens: int = 0,
        planes: int = 0,
        pooling: Pooling | None = None,
        profile: bool = False,
    ) -> Encoder:
        """Memory to run texts through the model, many at once, without writing any. threads: 1 to 64 (0: one per fast
        core). pass_tokens: tokens at once, 1 to 512 (0: the default). planes: read of each tensor (0: all). pooling: in
        place of the file's. profile: measure where the time goes. Raises OptionError for what is out of range."""
        from rbe_edge.runtime.encoder import Encoder, EncoderOptions

        return Encoder(self, EncoderOptions(threads, pass_tokens, planes, pooling, profile))

    def embed(
        self,
        texts: Iterable[Text],
        *,
        pooling: Pooling | None = None,
        normalize: bool = True,
        prompt: str | None = None,
        cut: bool = False,
        progress: Report | None = None,
    ) -> npt.NDArray[np.float32]:
        """One vector for each text, float32 [n][numbers]; their products are cosines. texts: str, or what an Encoder
        takes. pooling: in place of the file's. normalize: scale each to length 1. prompt: the name of the file's prompt
        that stands before each text (encoder_info.prompts); None: the file's default. cut: what is too long loses its
        end. progress counts tokens. Raises OptionError for a model without pooling and for an unknown prompt,
        ContextFull for a text that is too long, with its number (the first is 1), Cancelled.

        cosines = model.embed(["a cat", "a dog"]) @ model.embed(["a kitten"]).T
        """
        from rbe_edge.runtime.encoder_tasks import embed

        return embed(self, texts, pooling=pooling, normalize=normalize, prompt=prompt, cut=cut, progress=progress)

    def encode(
        self,
        sentences: str | Sequence[str],
        batch_size: int = 32,
        normalize_embeddings: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        show_progress_bar: bool | None = None,
        convert_to_numpy: bool = True,
    ) -> npt.NDArray[np.float32]:
        """embed() under the names of sentence-transformers. sentences: one text, for a vector [numbers], or a list, for
        [n][numbers]; what is too long loses its end. normalize_embeddings: scale each to length 1. prompt_name: of the
        file's prompts; prompt: a text in its place. convert_to_numpy is always so; batch_size and show_progress_bar
        change nothing. Raises OptionError."""
        from rbe_edge.runtime.encoder_tasks import encode
        from rbe_edge.runtime.options import require

        require(convert_to_numpy, "results are NumPy arrays; leave out convert_to_numpy=False")
        return encode(self, sentences, normalize=normalize_embeddings, prompt_name=prompt_name, prompt=prompt)

    def fill(self, text: str, top: int = 5) -> list[list[tuple[str, float]]]:
        """For each gap of a text, written as the model writes it ([MASK] or <mask>), the `top` likeliest words with
        their probabilities. Raises OptionError for a text without a gap, and for a model without a head of words."""
        from rbe_edge.runtime.encoder_tasks import fill

        return fill(self, text, top)

    def rank(self, query: str, documents: Sequence[str], *, cut: bool = True) -> list[tuple[int, float]]:
        """The order of documents by how well they answer a query, the best first: of each its index and the score of a
        cross encoder. cut: a pair that is too long loses its end. Raises OptionError for a model of another kind."""
        from rbe_edge.runtime.encoder_tasks import rank

        return rank(self, query, documents, cut)

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
