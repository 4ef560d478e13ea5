"""The shapes of requests of the APIs of others, as ollama_request.py, messages_request.py, responses_request.py and
text_routes.py read them."""

from __future__ import annotations

from rbe_edge.server.openapi_parts import (
    FORMAT,
    INPUTS,
    LIMIT,
    MODEL,
    NOTHING,
    POOLING,
    SAMPLING,
    STOP,
    STREAM,
    TEXT,
    TOOL,
    TOOL_CHOICE,
    Json,
    a_list,
    an_object,
    maybe,
    maybe_list,
    number,
    whole,
)  # fmt: skip
from rbe_edge.server.openapi_schemas import BASE, SCHEMAS

_MOST = 10_000  # messages, and parts of one
_NAME: Json = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_HELLO: Json = {"messages": [{"role": "user", "content": "Hello!"}]}


def _by_role(*kinds: Json) -> Json:
    """A message: what each role allows. A field that a role does not know may be anything."""
    return {"type": "object", "required": ["role"], "properties": {"role": TEXT}, "anyOf": list(kinds)}


def _role(*names: str) -> Json:
    return {"enum": list(names)}


def _either(first: str, second: str) -> Json:
    """An object with one of two texts; the second counts where the first is not there."""
    return {
        "type": "object",
        "properties": {first: maybe("string"), second: {"description": f"Another name of {first}"}},
        "anyOf": [
            {"required": [first], "properties": {first: TEXT}},
            {"required": [second], "properties": {first: NOTHING, second: TEXT}},
        ],
    }


#: The schema may stand in the format itself.
_FORMAT: Json = {
    **FORMAT,
    "anyOf": [
        *FORMAT["anyOf"],
        an_object(
            ["type", "schema"],
            type={"const": "json_schema"},
            json_schema=NOTHING,
            schema={"type": ["object", "boolean"]},
        ),
    ],
}

# ---- Ollama ----

_KEEP: Json = {
    "description": 'How long the model stays: seconds, or such as "5m"; below 0: for ever; 0: it goes',
    "anyOf": [
        {"type": ["number", "null"]},
        {"type": "string", "pattern": r"^(-?[0-9]{1,15}|(-?[0-9]{1,15}(\.[0-9]{1,15})?(ns|us|ms|s|m|h)){1,8})$"},
    ],
}
_EMBEDDING = maybe("object", properties={"pooling": POOLING})
_OLLAMA: Json = {
    "model": MODEL,
    "stream": maybe("boolean", "The answer comes in lines of JSON; true unless given"),
    "format": {
        "description": 'What the answer must be: "json", or a value that a schema allows',
        "anyOf": [{"enum": ["json", "", None]}, {"type": "object"}],
    },
    "options": maybe(
        "object",
        "How tokens are drawn; others are ignored",
        properties={
            **SAMPLING,
            "temperature": number(0, 100, "0.8 unless given; 0: the likeliest tokens"),
            "top_k": whole(-1, 2**32 - 1, "40 unless given"),
            "top_p": number(0, 1, "0.9 unless given"),
            "num_predict": whole(-2, 2**31 - 1, "Tokens at most; below 1: until the context is full"),
            "stop": STOP,
        },
    ),
    "think": {
        "description": "Whether thoughts are asked for, and told apart",
        "enum": [True, False, "low", "medium", "high", None],
    },
    "keep_alive": _KEEP,
    "logprobs": maybe("boolean"),
    "top_logprobs": whole(0, 20, "Needs logprobs"),
}
_OLLAMA_CALL = an_object(["function"], function=an_object(["name"], name=TEXT, arguments=maybe("object")))
_OLLAMA_SAID: Json = {
    "content": maybe("string"),
    "thinking": maybe("string"),
    "name": {"description": "Of the tool that answers; tool_name too"},
}
_OLLAMA_MESSAGE = _by_role(
    {"properties": {"role": _role("system", "user", "tool"), **_OLLAMA_SAID}},
    {"properties": {"role": _role("assistant"), **_OLLAMA_SAID, "tool_calls": maybe_list(_OLLAMA_CALL, 128, "")}},
)

# ---- Anthropic ----

_WORDS = an_object(["type", "text"], type={"const": "text"}, text=TEXT)
_TEXTS: Json = {"anyOf": [TEXT, a_list(_WORDS, maxItems=_MOST)]}
_RESULT = an_object(
    ["type"], type={"const": "tool_result"}, tool_use_id=maybe("string"), content={"anyOf": [*_TEXTS["anyOf"], NOTHING]}
)
_USE = an_object(["type", "name"], type={"const": "tool_use"}, id=maybe("string"), name=TEXT, input=maybe("object"))
_THOUGHT: Json = {
    "anyOf": [
        an_object(["type"], type={"const": "thinking"}, thinking=maybe("string")),
        an_object(["type"], type={"const": "redacted_thinking"}),
    ]
}


def _blocks(role: Json, *kinds: Json) -> Json:
    blocks = a_list({"type": "object", "anyOf": [_WORDS, *kinds]}, maxItems=_MOST)
    return {"required": ["content"], "properties": {"role": role, "content": {"anyOf": [TEXT, blocks]}}}


_MESSAGES: Json = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        **SAMPLING,
        "model": MODEL,
        "messages": a_list(
            _by_role(_blocks(_role("user"), _RESULT), _blocks(_role("assistant"), _USE, _THOUGHT)),
            minItems=1,
            maxItems=_MOST,
        ),
        "system": {"description": "What the model is told first", "anyOf": [*_TEXTS["anyOf"], NOTHING]},
        "stream": STREAM,
        "stop_sequences": STOP,
        "max_tokens": LIMIT,
        "tools": maybe_list(
            an_object(
                ["name"],
                type={"enum": ["custom", None]},
                name=_NAME,
                description=maybe("string"),
                input_schema=maybe("object", "A JSON Schema of the arguments"),
            ),
            128,
            "Functions that the model may ask for",
        ),
        "tool_choice": maybe("object", properties={"type": {"enum": ["auto", "any", "tool", "none", None]}}),
        "thinking": maybe("object", properties={"type": {"enum": ["enabled", "adaptive", "disabled", None]}}),
        "output_config": maybe("object", properties={"format": _FORMAT}),
    },
    "example": {"model": "demo", "max_tokens": 64, **_HELLO},
}

# ---- OpenAI's responses ----

_SPOKEN: Json = {
    "anyOf": [
        TEXT,
        a_list(
            {
                "type": "object",
                "anyOf": [
                    an_object(["type", "text"], type={"enum": ["input_text", "output_text", "text"]}, text=TEXT),
                    an_object(["type", "refusal"], type={"const": "refusal"}, refusal=TEXT),
                ],
            },
            maxItems=_MOST,
        ),
    ]
}
_ITEM: Json = {
    "type": "object",
    "anyOf": [
        an_object(
            ["role", "content"],
            type={"enum": ["message", "", None]},
            role=_role("system", "developer", "user", "assistant"),
            content=_SPOKEN,
        ),
        an_object(
            ["type", "name"],
            type={"const": "function_call"},
            call_id=maybe("string"),
            name=TEXT,
            arguments=maybe("string"),
        ),
        an_object(["type", "output"], type={"const": "function_call_output"}, call_id=maybe("string"), output=_SPOKEN),
        an_object(["type"], type={"const": "reasoning"}),
    ],
}
_RESPONSES: Json = {
    "type": "object",
    "required": ["input"],
    "properties": {
        **SAMPLING,
        "model": MODEL,
        "input": {
            "description": "A text, or items",
            "anyOf": [{"type": "string", "minLength": 1}, a_list(_ITEM, minItems=1, maxItems=_MOST)],
        },
        "instructions": maybe("string", "What the model is told first"),
        "stream": STREAM,
        "stop": STOP,
        "max_output_tokens": LIMIT,
        "text": maybe("object", properties={"format": _FORMAT}),
        "tools": maybe_list(
            an_object(
                ["type", "name"],
                type={"const": "function"},
                name=_NAME,
                description=maybe("string"),
                parameters=maybe("object", "A JSON Schema of the arguments"),
            ),
            128,
            "Functions that the model may ask for",
        ),
        "tool_choice": TOOL_CHOICE,
        "metadata": {"description": "Said again in the response, as `user` is"},
    },
    "example": {"model": "demo", "input": "Hello!", "max_output_tokens": 64},
}

# ---- llama.cpp ----

_LIMITS: Json = {"n_predict": whole(-2, 2**31 - 1, "Another name of max_tokens; -1 and -2: no limit")}
_CHAT = SCHEMAS["ChatRequest"]

#: By path.
REQUESTS: dict[str, Json] = {
    "/api/chat": {
        "type": "object",
        "properties": {
            **_OLLAMA,
            "messages": maybe_list(_OLLAMA_MESSAGE, _MOST, "Without any the model is opened, or goes (keep_alive)"),
            "tools": maybe_list(TOOL, 128, "Functions that the model may ask for"),
        },
        "example": {"model": "demo", **_HELLO, "stream": False},
    },
    "/api/generate": {
        "type": "object",
        "properties": {
            **_OLLAMA,
            "prompt": maybe("string", "Without one the model is opened, or goes (keep_alive)"),
            "suffix": maybe("string", "What follows the gap behind the prompt"),
            "system": maybe("string", "What the model is told first"),
            "raw": maybe("boolean", "The prompt is what the model reads, without a template"),
        },
        "example": {"model": "demo", "prompt": "Hello!", "stream": False},
    },
    "/api/embed": {
        **an_object(
            ["input"],
            model=MODEL,
            input=INPUTS,
            truncate=maybe("boolean", "Cut what does not fit into the context; true unless given"),
            dimensions=whole(0, 65536, "The first numbers of each vector, at length 1; 0: all"),
            options=_EMBEDDING,
            keep_alive=_KEEP,
        ),
        "example": {"model": "demo", "input": "A text", "options": {"pooling": "mean"}},
    },
    "/api/embeddings": {
        **an_object(
            ["prompt"],
            model=MODEL,
            prompt={"type": "string", "minLength": 1},
            truncate=maybe("boolean"),
            options=_EMBEDDING,
            keep_alive=_KEEP,
        ),
        "example": {"model": "demo", "prompt": "A text", "options": {"pooling": "mean"}},
    },
    "/api/show": {**_either("model", "name"), "example": {"model": "demo"}},
    "/v1/messages": {**_MESSAGES, "required": ["messages", "max_tokens"]},
    "/v1/messages/count_tokens": _MESSAGES,
    "/v1/responses": _RESPONSES,
    "/completion": {
        **SCHEMAS["TextRequest"],
        "properties": {**SCHEMAS["TextRequest"]["properties"], **_LIMITS},
    },
    "/infill": {
        "type": "object",
        "properties": {
            **BASE,
            **_LIMITS,
            "input_prefix": maybe("string", "What stands before the gap"),
            "input_suffix": maybe("string", "What stands behind it"),
            "prompt": maybe("string", "How the text in the gap begins"),
            "input_extra": maybe_list(
                an_object(["text"], filename=maybe("string"), text=TEXT), 1000, "Other files that belong to it"
            ),
        },
        "example": {"model": "demo", "input_prefix": "def add(a, b):\n    ", "input_suffix": "\n", "n_predict": 32},
    },
    "/tokenize": {
        **_either("content", "prompt"),
        "example": {"content": "A text", "with_pieces": True},
    },
    "/detokenize": {
        **an_object(["tokens"], model=MODEL, tokens=a_list({"type": "integer"}, maxItems=250_000)),
        "example": {"tokens": [72, 105]},
    },
    "/apply-template": {
        **_CHAT,
        "properties": {
            **_CHAT["properties"],
            "add_generation_prompt": maybe("boolean", "With what begins the answer; true unless given"),
        },
    },
}
REQUESTS["/tokenize"]["properties"] |= {
    "model": MODEL,
    "add_special": maybe("boolean", "With the token that the model wants at the start of a text"),
    "parse_special": maybe("boolean", "Control tokens in the text are read as such; true unless given"),
    "with_pieces": maybe("boolean", "The text of each token too"),
}
