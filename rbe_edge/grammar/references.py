"""Where the `$ref` of a JSON Schema leads: JSON pointers, `$anchor` and `$id` within the schema (RFC 6901, RFC 3986).

Nothing is ever fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin

from rbe_edge.grammar.schema_error import SchemaError

_VALUES = frozenset({"const", "enum", "default", "examples", "example"})  # hold values, not schemas


class Target(NamedTuple):
    """What a reference leads to. key: the same for all references to it. base: the URI that its own references begin
    from."""

    key: str
    schema: Any
    base: str


class References:
    """Those of one schema."""

    def __init__(self, root: Any) -> None:
        self.base = inner_base("", root)
        self._documents: dict[str, Any] = {self.base: root}
        self._anchors: dict[str, Target] = {}
        pending: list[tuple[Any, str]] = [(root, "")]
        while pending:
            found, base = pending.pop()
            if isinstance(found, Mapping):
                base = inner_base(base, found)
                self._note(found, base)
                pending += [(part, base) for key, part in found.items() if key not in _VALUES]
            elif isinstance(found, list):
                pending += [(part, base) for part in found]

    def _note(self, schema: Mapping[str, Any], base: str) -> None:
        identity = schema.get("$id")
        if isinstance(identity, str):
            if identity.startswith("#"):  # an anchor, up to draft 7
                self._anchors.setdefault(base + identity, Target(base + identity, schema, base))
            else:
                self._documents.setdefault(base, schema)
        for key in ("$anchor", "$dynamicAnchor"):
            name = schema.get(key)
            if isinstance(name, str):
                self._anchors.setdefault(f"{base}#{name}", Target(f"{base}#{name}", schema, base))

    def find(self, reference: str, base: str, where: str) -> Target:
        """Raises SchemaError where it leads out of the schema, or nowhere."""
        shown = json.dumps(reference)[:200]
        document, _, fragment = _joined(base, reference).partition("#")
        root = self._documents.get(document)
        if root is None:
            raise SchemaError(f"{where}: $ref {shown} leads to another document, which is not fetched; use $defs")
        fragment = unquote(fragment)
        if not fragment:
            return Target(f"{document}#", root, document)
        if not fragment.startswith("/"):
            anchor = self._anchors.get(f"{document}#{fragment}")
            if anchor is None:
                raise SchemaError(f"{where}: $ref {shown} leads nowhere")
            return anchor
        found, base = root, document
        for step in fragment[1:].split("/"):
            found = _inner(found, step.replace("~1", "/").replace("~0", "~"))
            if not isinstance(found, (Mapping, list, bool)):
                raise SchemaError(f"{where}: $ref {shown} leads nowhere")
            base = inner_base(base, found)
        return Target(f"{document}#{fragment}", found, base)


def inner_base(base: str, schema: Any) -> str:
    """The URI that references within a schema begin from; base: that of the schema around it."""
    identity = schema.get("$id") if isinstance(schema, Mapping) else None
    if not isinstance(identity, str) or identity.startswith("#"):
        return base
    return _joined(base, identity).partition("#")[0]


def _joined(base: str, reference: str) -> str:
    if reference.startswith("#"):
        return base + reference
    try:
        return urljoin(base, reference)
    except ValueError:  # no URI
        return reference


def _inner(found: Any, step: str) -> Any:
    if isinstance(found, Mapping):
        return found.get(step)
    if isinstance(found, list) and step.isascii() and step.isdigit() and len(step) < 7:
        return found[int(step)] if int(step) < len(found) else None
    return None
