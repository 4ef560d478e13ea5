"""Words of JSON Schema that llguidance does not know, said by those that it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbe_edge.grammar.keywords import TYPES, significant, types_of
from rbe_edge.grammar.schema_error import require

_MAX_DEPENDENT = 8  # each doubles the ways that the object may take
_MAX_CONTAINED = 100


def in_other_words(schema: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The same schema, or one of some of its values: what an array contains comes first in it. Raises SchemaError."""
    schema = _alone(_told_apart(schema))
    negated = _negated(schema)
    more = [*_dependent(schema, where), *_contained(schema, where), *negated]
    if not more:
        return schema
    parts = schema.get("allOf", [])
    require(isinstance(parts, list), f"{where}: `allOf` must be a list of schemas")
    gone = {"dependentRequired", "dependentSchemas", "dependencies", "contains", "minContains"}
    if negated:
        gone.add("not")
    return {**{key: part for key, part in schema.items() if key not in gone}, "allOf": [*parts, *more]}


def _told_apart(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """With a `discriminator` of OpenAPI, which pydantic writes too, each option names its kind."""
    said = schema.get("discriminator")
    name = said.get("propertyName") if isinstance(said, Mapping) else None
    if not isinstance(said, Mapping) or not isinstance(name, str):
        return schema
    mapping = said.get("mapping")
    leads = mapping.items() if isinstance(mapping, Mapping) else ()
    found = dict(schema)
    for key in ("oneOf", "anyOf"):
        options = schema.get(key)
        if not isinstance(options, list):
            continue
        found[key] = []
        for option in options:
            own = option.get("$ref") if isinstance(option, Mapping) else None
            kinds = [kind for kind, target in leads if own is not None and target == own]
            kind = {"properties": {name: {"enum": kinds}}} if kinds else {}
            found[key].append({"allOf": [option, {"required": [name], **kind}]})
    return found


def _alone(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where options of `oneOf` only demand names, the others exclude them: `oneOf` is read as `anyOf` otherwise."""
    options = schema.get("oneOf")
    if not isinstance(options, list) or len(options) > _MAX_DEPENDENT:
        return schema
    demands = [isinstance(one, Mapping) and significant(one) - {"type"} == {"required"} for one in options]
    opposites = [_opposite(one) if demand else None for one, demand in zip(options, demands, strict=True)]
    if not any(demands):
        return schema
    apart = []
    for index, option in enumerate(options):
        others = [one for other, one in enumerate(opposites) if other != index and one is not None]
        apart.append({"allOf": [option, *others]})
    return {**schema, "oneOf": apart}


def _dependent(schema: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for key in ("dependentRequired", "dependentSchemas", "dependencies"):
        parts = schema.get(key, {})
        require(isinstance(parts, Mapping), f"{where}: `{key}` must be an object")
        for name, needed in parts.items():
            names = [name, *needed] if isinstance(needed, list) else [name]
            with_it = {"required": names, **({} if isinstance(needed, list) else {"allOf": [needed]})}
            found.append({"anyOf": [{"properties": {name: False}}, with_it]})
    require(len(found) <= _MAX_DEPENDENT, f"{where}: more than {_MAX_DEPENDENT} properties demand something")
    return found


def _contained(schema: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    if "contains" not in schema or "maxContains" in schema:
        return []
    count = schema.get("minContains", 1)
    whole = isinstance(count, (int, float)) and not isinstance(count, bool) and count in range(_MAX_CONTAINED + 1)
    require(whole, f"{where}: `minContains` must be a whole number up to {_MAX_CONTAINED}")
    return [{"prefixItems": [schema["contains"]] * int(count), "minItems": int(count)}] if count else [{}]


def _negated(schema: Mapping[str, Any]) -> list[Any]:
    found = _opposite(schema["not"]) if "not" in schema else None
    return [] if found is None else [found]


def _opposite(schema: Any) -> Any:
    """A schema of what another one excludes; None where there is none in these words."""
    if isinstance(schema, bool):
        return not schema
    words = significant(schema) if isinstance(schema, Mapping) else {"?"}
    if not words:
        return False
    if words == {"not"}:
        return schema["not"]
    if words == {"type"}:
        excluded = types_of(schema)
        excluded |= {"integer", "number"} if excluded & {"integer", "number"} else set()
        return {"type": [name for name in TYPES if name not in excluded]} if excluded < set(TYPES) else False
    if words in ({"required"}, {"required", "type"}) and isinstance(schema["required"], list) and schema["required"]:
        absent = {"anyOf": [{"properties": {name: False}} for name in schema["required"]]}
        return absent if schema.get("type") == "object" else {"type": "object", **absent}
    for word, opposite in (("anyOf", "allOf"), ("allOf", "anyOf")):
        if words == {word} and isinstance(schema[word], list) and schema[word]:
            parts = [_opposite(part) for part in schema[word]]
            return None if None in parts else {opposite: parts}
    return None
