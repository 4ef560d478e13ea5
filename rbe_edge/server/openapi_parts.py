"""What the shapes of requests and answers are made of: kinds of values, how tokens are drawn, tools and formats."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(kind: str, text: str = "", **more: Any) -> Json:
    """A value that may be null, which is as if it were not there."""
    return {"type": [kind, "null"], **({"description": text} if text else {}), **more}


def whole(low: int, high: int, text: str = "") -> Json:
    return maybe("integer", text, minimum=low, maximum=high)


def number(low: float, high: float, text: str = "") -> Json:
    return maybe("number", text, minimum=low, maximum=high)


def a_list(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


def an_object(required: list[str], **properties: Json) -> Json:
    return {"type": "object", "required": required, "properties": properties}


def maybe_list(items: Json, most: int, text: str) -> Json:
    return maybe("array", text, items=items, maxItems=most)


TEXT: Json = {"type": "string"}
COUNT: Json = {"type": "integer", "minimum": 0}
TOKENS = a_list({"type": "integer"}, minItems=1)
NOTHING: Json = {"type": "null"}
INPUTS: Json = {
    "description": "A text, a list of texts, a list of token ids, or a list of such lists",
    "anyOf": [
        {"type": "string", "minLength": 1},
        TOKENS,
        a_list({"anyOf": [{"type": "string", "minLength": 1}, TOKENS]}, minItems=1, maxItems=2048),
    ],
}
POOLING: Json = {
    "description": "Which states stand for a text: what a model needs that was not trained for embeddings",
    "enum": ["cls", "mean", "last", "max", None],
}
STOP: Json = {
    "description": "Up to 16 texts that end the answer",
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 1000, "pattern": r"^[^\u0000]+$"},
        a_list({"type": "string", "minLength": 1, "maxLength": 1000, "pattern": r"^[^\u0000]+$"}, maxItems=16),
        NOTHING,
    ],
}

#: Of all APIs (sampling_fields.py).
SAMPLING: Json = {
    "temperature": number(0, 100, "0: the likeliest tokens"),
    "top_p": number(0, 1),
    "min_p": number(0, 1),
    "top_k": whole(-1, 2**32 - 1),
    "repeat_penalty": number(0, 100),
    "repeat_last_n": whole(-1, 65536, "Tokens that it looks back; -1: all of the context"),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "logit_bias": {"description": "An object of token ids with numbers from -100 to 100"},
    "seed": whole(-(2**63), 2**64 - 1, "The same seed and request give the same text"),
}
MODEL = maybe("string", "Its name in /v1/models; the first unless given")
STREAM = maybe("boolean", "The answer comes in pieces, as server-sent events")
LIMIT = whole(1, 2**31 - 1, "Until the context is full unless given")
TOOL: Json = an_object(
    ["type", "function"],
    type={"const": "function"},
    function=an_object(
        ["name"],
        name={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        description=maybe("string"),
        parameters=maybe("object", "A JSON Schema of the arguments"),
    ),
)
FORMAT: Json = {
    "description": "What the answer must be: any text, a JSON object, or a value that a schema allows",
    "anyOf": [
        NOTHING,
        an_object(["type"], type={"enum": ["text", "json_object"]}),
        an_object(
            ["type", "json_schema"],
            type={"const": "json_schema"},
            json_schema=an_object(["schema"], schema={"type": ["object", "boolean"]}),
        ),
    ],
}
TOOL_CHOICE: Json = {
    "anyOf": [
        {"enum": ["none", "auto", "required", None]},
        an_object(["function"], function=an_object(["name"], name=TEXT)),
    ],
}
