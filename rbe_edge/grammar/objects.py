"""What a JSON Schema says of the names in an object, beyond `properties`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rbe_edge.grammar.keywords import counted, significant
from rbe_edge.grammar.references import Target, inner_base

#: Words that say whether there are further names, so that nothing is to be added.
_DECIDING = frozenset(("additionalProperties", "unevaluatedProperties", "minProperties", "maxProperties"))


@dataclass
class MemberNames:
    """The names that a schema and all that hold with it give to an object. decided: one of them says whether there are
    others. patterns, branches: there are `patternProperties`, `anyOf` or `oneOf` among them."""

    names: dict[str, None] = field(default_factory=dict)
    decided: bool = False
    patterns: bool = False
    branches: bool = False


def member_names(schema: Mapping[str, Any], base: str, find: Callable[[str, str], Target]) -> MemberNames:
    """find: what a reference leads to, from a base."""
    found = MemberNames()
    seen: set[str] = set()
    pending: list[tuple[Any, str]] = [(schema, base)]
    while pending:
        one, base = pending.pop(0)
        if not isinstance(one, Mapping):
            continue
        base = inner_base(base, one)
        for key in ("properties", "required"):
            found.names.update({name: None for name in _parts(one, key) if isinstance(name, str)})
        found.decided |= bool(_DECIDING & one.keys())
        found.patterns |= bool(one.get("patternProperties"))
        found.branches |= bool({"anyOf", "oneOf"} & one.keys())
        for key in ("allOf", "anyOf", "oneOf"):
            pending += [(part, base) for part in _parts(one, key)]
        if isinstance(one.get("$ref"), str):
            target = find(one["$ref"], base)
            if target.key not in seen:
                seen.add(target.key)
                pending.append((target.schema, target.base))
    return found


def _parts(schema: Mapping[str, Any], key: str) -> Iterable[Any]:
    """What a word holds; nothing where that is not what it should be, which is reported where it stands."""
    found = schema.get(key)
    return found if isinstance(found, (Mapping, list)) else ()


def without_property_names(schema: Mapping[str, Any], where: str, find: Callable[[Any], Any]) -> Mapping[str, Any]:
    """The schema with `propertyNames` in other words, where there are such. find: the schema of a reference."""
    names = schema.get("propertyNames", False)
    for _ in range(8):
        if isinstance(names, Mapping) and significant(names) == {"$ref"}:
            names = find(names["$ref"])
    if names is True:
        names = {}
    if not isinstance(names, Mapping):
        return schema
    words = significant(names)
    if "type" in words and names["type"] != "string":
        return schema
    rest = {key: part for key, part in schema.items() if key != "propertyNames"}
    words -= {"type"}
    if not words:
        return rest
    if {"properties", "patternProperties"} & schema.keys():
        return schema
    others = rest.pop("additionalProperties", rest.pop("unevaluatedProperties", True))
    if words in ({"enum"}, {"const"}):
        values = names["enum"] if "enum" in names else [names["const"]]
        if isinstance(values, list) and all(isinstance(one, str) for one in values):
            return {**rest, "properties": dict.fromkeys(values, others), "additionalProperties": False}
    if words == {"pattern"} and isinstance(names["pattern"], str):
        return {**rest, "patternProperties": {names["pattern"]: others}, "additionalProperties": False}
    if words <= {"minLength", "maxLength"}:
        counts = counted(names, "minLength", "maxLength", f"{where}.propertyNames")
        pattern = rf"^[\s\S]{{{counts.get('minLength', 0)},{counts.get('maxLength', '')}}}$"
        return {**rest, "patternProperties": {pattern: others}, "additionalProperties": False}
    return schema
