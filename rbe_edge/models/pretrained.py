"""Model as programs get it: it also opens what is not packed yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from rbe_edge.progress import Listener
from rbe_edge.runtime import model

if TYPE_CHECKING:
    from typing_extensions import Self  # part of typing from Python 3.11 on


class Model(model.Model):
    """An opened .rbe file: immutable, and shared by any number of threads and sessions.

    with Model.from_pretrained("demo") as model:
        print(model.chat("Hello!"))
    """

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        verify: bool = True,
        max_memory: int = 0,
        tell: Callable[[str], object] | None = None,
        progress: Listener | None = None,
    ) -> Self:
        """Opens any model: a `.rbe` file, a GGUF file, a Hugging Face directory, `org/name` of the hub, a name of `rbe
        list`, or `demo`. What is not packed yet is packed once, with 4 bits per weight, and kept in the model folder;
        that takes minutes.

        name: as in `rbe chat NAME`. verify, max_memory: as of open(). tell: hears lines for a person, such as what is
        being packed. progress(what, done, total): of packing, in milliseconds; returning True stops it with Cancelled.
        Raises ModelError where there is no such model, PackError where it cannot be packed, MissingExtra for a download
        without huggingface_hub.
        """
        from rbe_edge.models.find import Waiter, find_model

        found = find_model(os.fspath(name), Waiter(tell or (lambda line: None), progress))
        return cls.open(found, verify=verify, max_memory=max_memory)
