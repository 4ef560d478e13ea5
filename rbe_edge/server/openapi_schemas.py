"""The shapes of requests and answers as JSON Schema, as chat_request.py reads them and answers.py writes them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _maybe(kind: str, text: str = "", **more: Any) -> Json:
    """A value that may be null, which is as if it were not there."""
    return {"type": [kind, "null"], **({"description": text} if text else {}), **more}


def _whole(low: int, high: int, text: str = "") -> Json:
    return _maybe("integer", text, minimum=low, maximum=high)


def _number(low: float, high: float, text: str = "") -> Json:
    return _maybe("number", text, minimum=low, maximum=high)


def _list(items: Json, **more: Any) -> Json:
    return {"type": "array", "items": items, **more}


def _object(required: list[str], **properties: Json) -> Json:
    return {"type": "object", "required": required, "properties": properties}


def _maybe_list(items: Json, most: int, text: str) -> Json:
    return _maybe("array", text, items=items, maxItems=most)


_TEXT: Json = {"type": "string"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_TOKENS = _list({"type": "integer"}, minItems=1)
_NOTHING: Json = {"type": "null"}
_INPUTS: Json = {
    "description": "A text, a list of texts, a list of token ids, or a list of such lists",
    "anyOf": [
        {"type": "string", "minLength": 1},
        _TOKENS,
        _list({"anyOf": [{"type": "string", "minLength": 1}, _TOKENS]}, minItems=1, maxItems=2048),
    ],
}
_STOP: Json = {
    "description": "Up to 16 texts that end the answer",
    "anyOf": [
        {"type": "string", "minLength": 1, "maxLength": 1000, "pattern": r"^[^\u0000]+$"},
        _list({"type": "string", "minLength": 1, "maxLength": 1000, "pattern": r"^[^\u0000]+$"}, maxItems=16),
        _NOTHING,
    ],
}

_BASE: Json = {
    "model": _maybe("string", "Its name in /v1/models; the first unless given"),
    "n": _whole(1, 32, "Answers to each prompt"),
    "stream": _maybe("boolean", "The answer comes in pieces, as server-sent events"),
    "stream_options": _maybe("object", properties={"include_usage": _maybe("boolean")}),
    "temperature": _number(0, 100, "1 unless given; 0: the likeliest tokens"),
    "top_p": _number(0, 1, "1 unless given"),
    "min_p": _number(0, 1),
    "top_k": _whole(-1, 2**32 - 1),
    "repeat_penalty": _number(0, 100),
    "repeat_last_n": _whole(-1, 65536, "Tokens that it looks back; -1: all of the context"),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "logit_bias": {"description": "An object of token ids with numbers from -100 to 100"},
    "seed": _whole(-(2**63), 2**64 - 1, "The same seed and request give the same text"),
    "stop": _STOP,
    "max_tokens": _whole(1, 2**31 - 1, "Until the context is full unless given"),
}

_PART: Json = {
    "type": "object",
    "anyOf": [_object(["type", kind], **{"type": {"const": kind}, kind: _TEXT}) for kind in ("text", "refusal")],
}
_CONTENT: Json = {"anyOf": [_TEXT, _list(_PART, minItems=1, maxItems=10_000)]}
_CALL_ASKED = _object(
    ["function"], id=_maybe("string"), function=_object(["name"], name=_TEXT, arguments=_maybe("string"))
)
_MESSAGE: Json = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "name": _maybe("string"),
        "content": {"description": "A text, or parts of type text"},
    },
    "anyOf": [
        {
            "properties": {"role": {"enum": ["system", "developer", "user"]}, "content": _CONTENT},
            "required": ["content"],
        },
        {
            "properties": {
                "role": {"const": "assistant"},
                "content": _CONTENT,
                "tool_calls": _maybe("array", items=_CALL_ASKED, maxItems=128),
            },
            "required": ["content"],
        },
        {
            "properties": {
                "role": {"const": "assistant"},
                "content": {"anyOf": [_CONTENT, _NOTHING]},
                "tool_calls": _list(_CALL_ASKED, minItems=1, maxItems=128),
            },
            "required": ["tool_calls"],
        },
        {
            "properties": {"role": {"const": "tool"}, "content": _CONTENT, "tool_call_id": _maybe("string")},
            "required": ["content"],
        },
    ],
}
_TOOL: Json = _object(
    ["type", "function"],
    type={"const": "function"},
    function=_object(
        ["name"],
        name={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        description=_maybe("string"),
        parameters=_maybe("object", "A JSON Schema of the arguments"),
    ),
)
_FORMAT: Json = {
    "description": "What the answer must be: any text, a JSON object, or a value that a schema allows",
    "anyOf": [
        _NOTHING,
        _object(["type"], type={"enum": ["text", "json_object"]}),
        _object(
            ["type", "json_schema"],
            type={"const": "json_schema"},
            json_schema=_object(["schema"], schema={"type": ["object", "boolean"]}),
        ),
    ],
}
_TOOL_CHOICE: Json = {
    "anyOf": [
        {"enum": ["none", "auto", "required", None]},
        _object(["function"], function=_object(["name"], name=_TEXT)),
    ],
}

_USAGE = _object(
    ["prompt_tokens", "completion_tokens", "total_tokens"],
    prompt_tokens=_COUNT,
    completion_tokens=_COUNT,
    total_tokens=_COUNT,
    prompt_tokens_details=_object([], cached_tokens=_COUNT),
    power=_object(
        ["mode", "reason"],
        mode=_TEXT,
        reason=_TEXT,
        joules=_maybe("number"),
        joules_per_token=_maybe("number"),
    ),
)
_CALL = _object(
    ["id", "type", "function"],
    id=_TEXT,
    type={"const": "function"},
    function=_object(["name", "arguments"], name=_TEXT, arguments=_TEXT),
)
_FINISH: Json = {"enum": ["stop", "length", "tool_calls"]}


def _completion(kind: str, choice: Json) -> Json:
    return _object(
        ["id", "object", "created", "model", "choices", "usage"],
        id=_TEXT,
        object={"const": kind},
        created=_COUNT,
        model=_TEXT,
        system_fingerprint=_TEXT,
        choices=_list(choice),
        usage=ref("Usage"),
    )


SCHEMAS: dict[str, Json] = {
    "Error": _object(
        ["error"],
        error=_object(
            ["message", "type", "param", "code"],
            message={"type": "string", "description": "One line that says what to do"},
            type=_TEXT,
            param=_maybe("string", "The field that is wrong"),
            code=_maybe("string"),
        ),
    ),
    "OllamaError": _object(["error"], error=_TEXT),
    "AnthropicError": _object(
        ["type", "error"], type={"const": "error"}, error=_object(["type", "message"], type=_TEXT, message=_TEXT)
    ),
    "Health": _object(["status"], status={"enum": ["ok", "stopping"]}),
    "Model": _object(
        ["id", "object", "created", "owned_by"],
        id=_TEXT,
        object={"const": "model"},
        created=_COUNT,
        owned_by=_TEXT,
        context_length={"type": "integer", "minimum": 1},
        power_modes={"type": "object", "description": "What each power mode reads, and how well it does"},
    ),
    "Models": _object(["object", "data"], object={"const": "list"}, data=_list(ref("Model"))),
    "Usage": _USAGE,
    "ChatRequest": {
        "type": "object",
        "required": ["messages"],
        "properties": {
            **_BASE,
            "messages": _list(_MESSAGE, minItems=1, maxItems=10_000),
            "max_completion_tokens": _whole(1, 2**31 - 1, "Another name of max_tokens"),
            "logprobs": _maybe("boolean"),
            "top_logprobs": _whole(0, 20, "Needs logprobs"),
            "tools": _maybe_list(_TOOL, 128, "Functions that the model may ask for"),
            "tool_choice": _TOOL_CHOICE,
            "response_format": _FORMAT,
            "continue_final_message": _maybe("boolean", "The last message, of the assistant, is how the answer begins"),
        },
        "example": {"model": "demo", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64},
    },
    "ChatAnswer": _completion(
        "chat.completion",
        _object(
            ["index", "message", "finish_reason"],
            index=_COUNT,
            message=_object(
                ["role", "content"], role={"const": "assistant"}, content=_maybe("string"), tool_calls=_list(_CALL)
            ),
            logprobs=_maybe("object"),
            finish_reason=_FINISH,
        ),
    ),
    "TextRequest": {
        "type": "object",
        "required": ["prompt"],
        "properties": {**_BASE, "prompt": _INPUTS, "logprobs": _whole(0, 5)},
        "example": {"model": "demo", "prompt": "Once upon a time", "max_tokens": 64},
    },
    "TextAnswer": _completion(
        "text_completion",
        _object(
            ["index", "text", "finish_reason"],
            index=_COUNT,
            text=_TEXT,
            logprobs=_maybe("object"),
            finish_reason=_FINISH,
        ),
    ),
    "EmbeddingRequest": {
        **_object(
            ["input"],
            model=_maybe("string"),
            input=_INPUTS,
            encoding_format={"enum": ["float", "base64", None]},
        ),
        "example": {"model": "demo", "input": "A text"},
    },
    "EmbeddingAnswer": _object(
        ["object", "data", "model", "usage"],
        object={"const": "list"},
        data=_list(
            _object(
                ["object", "index", "embedding"],
                object={"const": "embedding"},
                index=_COUNT,
                embedding={"anyOf": [_list({"type": "number"}), _TEXT]},
            )
        ),
        model=_TEXT,
        usage=_object(["prompt_tokens", "total_tokens"], prompt_tokens=_COUNT, total_tokens=_COUNT),
    ),
}
