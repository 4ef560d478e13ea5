"""A session: one conversation's KV cache and scratch memory, and the text that is generated with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rbe_edge.progress import Report
from rbe_edge.runtime.engine_session import EngineSession
from rbe_edge.runtime.options import GenerationOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rbe_edge.runtime.embeddings import Pooling
    from rbe_edge.runtime.generation import Generation


class Session(EngineSession):
    """Made by model.session(). All memory is taken at creation; one thread uses it at a time, any thread may cancel.

    with model.session(context=1024) as session:
        for piece in session.generate("Once upon a time"):
            print(piece, end="", flush=True)
    """

    def generate(
        self,
        prompt: str | Sequence[int],
        options: GenerationOptions | None = None,
        *,
        progress: Report | None = None,
    ) -> Generation:
        """An iterator of pieces of text that continue the prompt; see Generation, whose statistics say what it took.

        prompt: a text, or tokens. A text is tokenized with the model's prefix where the context is empty, without it
        where it continues one. options: sampling, limits and stops; None: the likeliest tokens until the text or the
        context ends. progress(done, total): of the prompt's prefill. Raises OptionError for an empty prompt; iterating
        raises ContextFull where it does not fit, Cancelled after cancel().
        """
        from rbe_edge.runtime.generation import Generation

        return Generation(self, prompt, options or GenerationOptions(), progress)

    def embedding(self, text: str | Sequence[int], *, pooling: Pooling = "mean") -> npt.NDArray[np.float32]:
        """One vector of length 1 for a text or tokens, float32 [width]; see runtime/embeddings.py for what it is worth.
        pooling: "mean" of the states of all tokens, or the "last" one's. The context must be empty and stays so. Raises
        ContextFull for a text that does not fit."""
        from rbe_edge.runtime.embeddings import embedding

        return embedding(self, text, pooling)
