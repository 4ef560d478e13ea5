"""What the readers of schemas raise."""

from __future__ import annotations


class SchemaError(Exception):
    """A schema that is malformed or uses what is not supported. The message is one line that says where and what."""


def require(condition: object, message: str) -> None:
    """Raises SchemaError unless the condition holds."""
    if not condition:
        raise SchemaError(message)
