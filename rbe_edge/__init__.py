"""rbe_edge: packs language models into small files and runs them on small computers.

    with rbe_edge.Model.open("model.rbe") as model:
        print(model.chat("Hello!", max_tokens=100))

Names are loaded at first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from rbe_edge._version import __version__

TYPE_CHECKING = False  # typing's own costs more than all else here
if TYPE_CHECKING:
    from typing import Any

    from rbe_edge.errors import (
        BuildError,
        Cancelled,
        ContextFull,
        DeployError,
        DoesNotFit,
        MissingExtra,
        ModelError,
        NativeLibraryError,
        OptionError,
        PackError,
        RbeError,
        StateError,
        TemplateError,
        TokenizerError,
    )
    from rbe_edge.models.pretrained import Model
    from rbe_edge.runtime.batch import Batch
    from rbe_edge.runtime.conversation import Conversation
    from rbe_edge.runtime.options import GenerationOptions, SamplingOptions
    from rbe_edge.runtime.session import Session

_HOMES = {
    "Batch": "rbe_edge.runtime.batch",
    "Conversation": "rbe_edge.runtime.conversation",
    "GenerationOptions": "rbe_edge.runtime.options",
    "Model": "rbe_edge.models.pretrained",
    "SamplingOptions": "rbe_edge.runtime.options",
    "Session": "rbe_edge.runtime.session",
    "Cancelled": "rbe_edge.errors",
    "ContextFull": "rbe_edge.errors",
    "DoesNotFit": "rbe_edge.errors",
    "MissingExtra": "rbe_edge.errors",
    "ModelError": "rbe_edge.errors",
    "NativeLibraryError": "rbe_edge.errors",
    "PackError": "rbe_edge.errors",
    "RbeError": "rbe_edge.errors",
    "TemplateError": "rbe_edge.errors",
    "OptionError": "rbe_edge.errors",
    "DeployError": "rbe_edge.errors",
    "BuildError": "rbe_edge.errors",
    "StateError": "rbe_edge.errors",
    "TokenizerError": "rbe_edge.errors",
}

__all__ = [
    "Batch",
    "BuildError",
    "Cancelled",
    "ContextFull",
    "Conversation",
    "DeployError",
    "DoesNotFit",
    "GenerationOptions",
    "MissingExtra",
    "Model",
    "ModelError",
    "NativeLibraryError",
    "OptionError",
    "PackError",
    "RbeError",
    "SamplingOptions",
    "Session",
    "StateError",
    "TemplateError",
    "TokenizerError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
