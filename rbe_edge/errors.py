"""What rbe_edge raises. Every message is one line that says what is wrong and what to do about it."""

from __future__ import annotations


class RbeError(Exception):
    """Base of all errors of this package."""


class ModelError(RbeError):
    """A .rbe file cannot be opened or run: missing, damaged, of another version, or not supported here."""


class DoesNotFit(ModelError):
    """This machine has too little free memory for a model or a session; nothing was taken."""


class PackError(RbeError):
    """A source cannot be packed: unknown architecture, missing tensor or file, no room to write."""


class TokenizerError(RbeError):
    """A tokenizer file is missing, damaged or of a kind that is not supported."""


class ContextFull(RbeError):
    """The tokens do not fit into the session's context. most: how many tokens a context of this model may hold, where
    that is more than the session's; else None."""

    def __init__(self, message: str, most: int | None = None) -> None:
        super().__init__(message)
        self.most = most

    @classmethod
    def beyond(cls, message: str, context: int, most: int) -> ContextFull:
        """message, with what to do about it: context is what the session's holds, most what the model takes."""
        if most <= context:
            return cls(f"{message}; shorten it, this model takes no more")
        return cls(f"{message}; shorten it or make the context larger, up to {most}", most)


class Cancelled(RbeError):
    """The work was stopped by the user."""


class StateError(RbeError):
    """A saved session cannot be written, or is missing, damaged, or of another model or other settings."""


class MissingExtra(RbeError):
    """An optional package is needed; the message names the extra that brings it."""


class NativeLibraryError(RbeError):
    """The C library is missing or does not match this package."""


class OptionError(RbeError, ValueError):
    """An option or argument is outside its range."""


class TemplateError(RbeError):
    """The chat template of a model is malformed, refuses the conversation, or takes too much time or memory."""


class BuildError(RbeError):
    """A build for another machine is impossible or failed: no compiler, no room, a source that does not compile."""


class DeployError(RbeError):
    """A device cannot be reached, lacks room or the right processor, or failed a check; the message says what to do."""
