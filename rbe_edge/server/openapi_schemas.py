"""The shapes of requests and answers as JSON Schema, as chat_request.py reads them and answers.py writes them."""

from __future__ import annotations

from rbe_edge.server.openapi_parts import (
    COUNT,
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
    ref,
    whole,
)  # fmt: skip

BASE: Json = {
    **SAMPLING,
    "model": MODEL,
    "n": whole(1, 32, "Answers to each prompt"),
    "stream": STREAM,
    "stream_options": maybe("object", properties={"include_usage": maybe("boolean")}),
    "temperature": number(0, 100, "1 unless given; 0: the likeliest tokens"),
    "top_p": number(0, 1, "1 unless given"),
    "n_probs": whole(0, 20, "llama.cpp's word for log-probabilities of so many tokens"),
    "stop": STOP,
    "max_tokens": LIMIT,
}

_PART: Json = {
    "type": "object",
    "anyOf": [an_object(["type", kind], **{"type": {"const": kind}, kind: TEXT}) for kind in ("text", "refusal")],
}
_CONTENT: Json = {"anyOf": [TEXT, a_list(_PART, minItems=1, maxItems=10_000)]}
_CALL_ASKED = an_object(
    ["function"], id=maybe("string"), function=an_object(["name"], name=TEXT, arguments=maybe("string"))
)
MESSAGE: Json = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "name": maybe("string"),
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
                "tool_calls": maybe("array", items=_CALL_ASKED, maxItems=128),
            },
            "required": ["content"],
        },
        {
            "properties": {
                "role": {"const": "assistant"},
                "content": {"anyOf": [_CONTENT, NOTHING]},
                "tool_calls": a_list(_CALL_ASKED, minItems=1, maxItems=128),
            },
            "required": ["tool_calls"],
        },
        {
            "properties": {"role": {"const": "tool"}, "content": _CONTENT, "tool_call_id": maybe("string")},
            "required": ["content"],
        },
    ],
}
_USAGE = an_object(
    ["prompt_tokens", "completion_tokens", "total_tokens"],
    prompt_tokens=COUNT,
    completion_tokens=COUNT,
    total_tokens=COUNT,
    prompt_tokens_details=an_object([], cached_tokens=COUNT),
    power=an_object(
        ["mode", "reason"],
        mode=TEXT,
        reason=TEXT,
        joules=maybe("number"),
        joules_per_token=maybe("number"),
    ),
)
_CALL = an_object(
    ["id", "type", "function"],
    id=TEXT,
    type={"const": "function"},
    function=an_object(["name", "arguments"], name=TEXT, arguments=TEXT),
)
_FINISH: Json = {"enum": ["stop", "length", "tool_calls"]}


def _completion(kind: str, choice: Json) -> Json:
    return an_object(
        ["id", "object", "created", "model", "choices", "usage"],
        id=TEXT,
        object={"const": kind},
        created=COUNT,
        model=TEXT,
        system_fingerprint=TEXT,
        choices=a_list(choice),
        usage=ref("Usage"),
    )


SCHEMAS: dict[str, Json] = {
    "Error": an_object(
        ["error"],
        error=an_object(
            ["message", "type", "param", "code"],
            message={"type": "string", "description": "One line that says what to do"},
            type=TEXT,
            param=maybe("string", "The field that is wrong"),
            code=maybe("string"),
        ),
    ),
    "OllamaError": an_object(["error"], error=TEXT),
    "AnthropicError": an_object(
        ["type", "error"], type={"const": "error"}, error=an_object(["type", "message"], type=TEXT, message=TEXT)
    ),
    "Health": an_object(["status"], status={"enum": ["ok", "stopping"]}),
    "Model": an_object(
        ["id", "object", "created", "owned_by"],
        id=TEXT,
        object={"const": "model"},
        created=COUNT,
        owned_by=TEXT,
        context_length={"type": "integer", "minimum": 1},
        power_modes={"type": "object", "description": "What each power mode reads, and how well it does"},
    ),
    "Models": an_object(["object", "data"], object={"const": "list"}, data=a_list(ref("Model"))),
    "Usage": _USAGE,
    "ChatRequest": {
        "type": "object",
        "required": ["messages"],
        "properties": {
            **BASE,
            "messages": a_list(MESSAGE, minItems=1, maxItems=10_000),
            "max_completion_tokens": whole(1, 2**31 - 1, "Another name of max_tokens"),
            "logprobs": maybe("boolean"),
            "top_logprobs": whole(0, 20, "Needs logprobs"),
            "tools": maybe_list(TOOL, 128, "Functions that the model may ask for"),
            "tool_choice": TOOL_CHOICE,
            "response_format": FORMAT,
            "chat_template_kwargs": maybe("object", "Variables of the template, such as enable_thinking"),
            "continue_final_message": maybe("boolean", "The last message, of the assistant, is how the answer begins"),
        },
        "example": {"model": "demo", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 64},
    },
    "ChatAnswer": _completion(
        "chat.completion",
        an_object(
            ["index", "message", "finish_reason"],
            index=COUNT,
            message=an_object(
                ["role", "content"], role={"const": "assistant"}, content=maybe("string"), tool_calls=a_list(_CALL)
            ),
            logprobs=maybe("object"),
            finish_reason=_FINISH,
        ),
    ),
    "TextRequest": {
        "type": "object",
        "required": ["prompt"],
        "properties": {
            **BASE,
            "prompt": INPUTS,
            "suffix": maybe("string", "What follows the gap behind a prompt of text"),
            "n_predict": whole(1, 2**31 - 1, "Another name of max_tokens"),
            "logprobs": whole(0, 5),
        },
        "example": {"model": "demo", "prompt": "Once upon a time", "max_tokens": 64},
    },
    "TextAnswer": _completion(
        "text_completion",
        an_object(
            ["index", "text", "finish_reason"],
            index=COUNT,
            text=TEXT,
            logprobs=maybe("object"),
            finish_reason=_FINISH,
        ),
    ),
    "EmbeddingRequest": {
        **an_object(
            ["input"],
            model=maybe("string"),
            input=INPUTS,
            encoding_format={"enum": ["float", "base64", None]},
            dimensions=whole(1, 65536, "The first numbers of each vector, at length 1"),
            pooling=POOLING,
            prompt_name=maybe("string", "One of the model's prompts, which stands before each text"),
            truncate=maybe("boolean", "Cut texts that are too long"),
        ),
        "example": {"model": "demo", "input": "A text", "pooling": "mean"},
    },
    "RankRequest": {
        **an_object(
            ["query", "documents"],
            model=maybe("string"),
            query={"type": "string", "minLength": 1, "pattern": "\\S"},
            documents={
                **a_list({"anyOf": [TEXT, an_object(["text"], text=TEXT)]}),
                "minItems": 1,
                "maxItems": 2048,
            },
            top_n=whole(1, 2**31 - 1, "Documents of the answer at most"),
            return_documents=maybe("boolean", "Give the texts of the documents back"),
        ),
        "example": {"model": "demo", "query": "Where is it?", "documents": ["Here.", "There."]},
    },
    "RankAnswer": an_object(
        ["object", "model", "results", "usage"],
        object={"const": "list"},
        model=TEXT,
        results=a_list(
            an_object(
                ["index", "relevance_score"],
                index=COUNT,
                relevance_score={"type": "number", "minimum": 0, "maximum": 1},
                document=an_object(["text"], text=TEXT),
            )
        ),
        usage=an_object(["prompt_tokens", "total_tokens"], prompt_tokens=COUNT, total_tokens=COUNT),
    ),
    "EmbeddingAnswer": an_object(
        ["object", "data", "model", "usage"],
        object={"const": "list"},
        data=a_list(
            an_object(
                ["object", "index", "embedding"],
                object={"const": "embedding"},
                index=COUNT,
                embedding={"anyOf": [a_list({"type": "number"}), TEXT]},
            )
        ),
        model=TEXT,
        usage=an_object(["prompt_tokens", "total_tokens"], prompt_tokens=COUNT, total_tokens=COUNT),
    ),
}
