"""Which schemas have a value that ends: a model that began another one would never come to its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def pruned(root: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with its definitions as `$defs`; False in it, or for it, stands where no value fits."""
    known: set[str] = set()
    grown = True
    while grown:
        more = {name for name, schema in definitions.items() if name not in known and _possible(schema, known)}
        known |= more
        grown = bool(more)
    found = _pruned(root, known)
    if found is False:
        return False
    inner = {name: _pruned(schema, known) for name, schema in definitions.items() if name in known}
    return {**found, "$defs": inner} if inner else found


def _possible(schema: Any, known: set[str]) -> bool:
    """known: definitions of which that is so."""
    if not isinstance(schema, Mapping):
        return schema is not False
    if "$ref" in schema and schema["$ref"].removeprefix("#/$defs/") not in known:
        return False
    if not all(_possible(part, known) for part in schema.get("allOf", ())):
        return False
    for key in ("anyOf", "oneOf"):
        if key in schema and not any(_possible(part, known) for part in schema[key]):
            return False
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        return all(_possible(properties.get(name, {}), known) for name in schema.get("required", ()))
    if schema.get("type") == "array":
        least, first = schema.get("minItems", 0), schema.get("prefixItems", [])
        needed = first[:least] + ([schema.get("items", {})] if least > len(first) else [])
        return all(_possible(part, known) for part in needed)
    return True


def _pruned(schema: Any, known: set[str]) -> Any:
    if not _possible(schema, known):
        return False
    found = dict(schema)
    for key in ("properties", "patternProperties"):
        if key in found:
            found[key] = {name: _pruned(part, known) for name, part in found[key].items()}
    for key in ("allOf", "anyOf", "oneOf", "prefixItems"):
        if key in found:
            found[key] = [_pruned(part, known) for part in found[key]]
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = _pruned(found[key], known)
    return found
