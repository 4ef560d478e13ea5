"""The words of JSON Schema: which restrict a value, which only tell something about it, and which are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rbe_edge.grammar.schema_error import require

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_MAX_COUNT = 1_000_000  # of minLength and the like; no answer is so long

#: Words that restrict the value and are not supported, each with whether it does in a schema that has it.
REFUSED: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "not": lambda schema: True,  # those that are supported have been replaced
    "if": lambda schema: "then" in schema or "else" in schema,
    "contains": lambda schema: True,  # as above
    "uniqueItems": lambda schema: schema["uniqueItems"] is not False and not _has_one_item(schema),
    "propertyNames": lambda schema: True,  # as above
    "$dynamicRef": lambda schema: True,
    "$recursiveRef": lambda schema: True,
}

_RESTRICTING = frozenset(
    "$ref type enum const anyOf oneOf allOf not if then else properties patternProperties additionalProperties "
    "unevaluatedProperties propertyNames required minProperties maxProperties dependentRequired dependentSchemas "
    "dependencies items prefixItems additionalItems unevaluatedItems contains minItems maxItems uniqueItems minLength "
    "maxLength pattern format minimum maximum exclusiveMinimum exclusiveMaximum multipleOf".split()
)


def significant(schema: Mapping[str, Any]) -> set[str]:
    """The words of a schema that restrict its values."""
    return {key for key in schema if key in _RESTRICTING}


def types_of(schema: Mapping[str, Any]) -> set[str]:
    """The types that a schema names; all where it names none."""
    given = schema.get("type", TYPES)
    names = given if isinstance(given, (list, tuple)) else [given]
    return {name for name in names if isinstance(name, str)}


def old_draft(root: Any) -> bool:
    """Whether a schema says that it is of draft 7 or before."""
    said = root.get("$schema") if isinstance(root, Mapping) else None
    return isinstance(said, str) and any(f"draft-0{number}" in said for number in (3, 4, 6, 7))


def counted(schema: Mapping[str, Any], least: str, most: str, where: str) -> dict[str, int]:
    """Two counts, where they are given. Raises SchemaError."""
    found: dict[str, int] = {}
    for key in (least, most):
        count = schema.get(key)
        if count is None and key not in schema:
            continue
        if isinstance(count, float) and count.is_integer():
            count = int(count)
        whole = isinstance(count, int) and not isinstance(count, bool) and count >= 0
        require(whole, f"{where}: `{key}` must be a whole number from 0 on")
        assert isinstance(count, int)
        if key == most and count > _MAX_COUNT:
            continue
        require(count <= _MAX_COUNT, f"{where}: `{key}` must be at most {_MAX_COUNT}")
        found[key] = count
    require(found.get(least, 0) <= found.get(most, _MAX_COUNT), f"{where}: `{least}` is above `{most}`")
    return found


def _has_one_item(schema: Mapping[str, Any]) -> bool:
    most = schema.get("maxItems")
    return isinstance(most, (int, float)) and most <= 1
