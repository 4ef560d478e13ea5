"""The server beside its own description: schemathesis sends what the description allows, and what it does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server_tools import running

from rbe_edge.runtime.model import Model
from rbe_edge.server import chat_request, embedding_request, messages_request, ollama_request, responses_request
from rbe_edge.server.fields import Fields
from rbe_edge.server.openapi_paths import OPERATIONS
from rbe_edge.server.openapi_requests import REQUESTS
from rbe_edge.server.openapi_schemas import SCHEMAS

pytest.importorskip("schemathesis")
KEY = "key-of-the-test"

#: Requests name the model and the tokens that there are, and no list is longer than is quick to make.
HOOKS = """
import schemathesis

def shortened(part):
    for one in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        shortened(one)
    if isinstance(part, dict) and isinstance(part.get("maxItems"), int) and part["maxItems"] > 100:
        del part["maxItems"]

@schemathesis.hook
def before_load_schema(context, raw_schema):
    shortened(raw_schema)

@schemathesis.hook
def map_case(context, case):
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        body["model"] = "demo"
    if isinstance(body, dict) and case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE:
        for name in ("max_tokens", "max_completion_tokens"):
            if body.get(name) is not None:
                body[name] = 1 + body[name] % 4
        if body.get("top_logprobs") is not None:
            body["logprobs"] = True
        for name in ("prompt", "input", "tokens"):
            if name in body:
                body[name] = known(body[name])
    return case

def known(value):
    return [known(one) for one in value] if isinstance(value, list) else value % 2048 if type(value) is int else value
"""


class Seen(dict[str, Any]):
    """An object that knows which of its fields were asked for."""

    def __init__(self, *values: Any) -> None:
        super().__init__(*values)
        self.names: set[str] = set()

    def get(self, name: str, otherwise: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, otherwise)


MESSAGES = [{"role": "user", "content": "a"}]
#: By path: what reads a request, one that it takes, and what it reads only to refuse it.
READERS: dict[str, tuple[Callable[[Fields], Any], dict[str, Any], set[str]]] = {
    "/v1/chat/completions": (chat_request.read_chat, {"messages": MESSAGES}, set()),
    "/v1/completions": (chat_request.read_text, {"prompt": "a"}, {"echo", "best_of", "response_format"}),
    "/v1/embeddings": (embedding_request.read_embedding, {"input": "a"}, set()),
    "/v1/rerank": (embedding_request.read_rank, {"query": "a", "documents": ["b"]}, set()),
    "/v1/messages": (messages_request.read_messages_request, {"messages": MESSAGES, "max_tokens": 1}, set()),
    "/v1/responses": (
        responses_request.read_response, {"input": "a"},
        {"previous_response_id", "conversation", "background", "prompt", "user"},
    ),
    "/api/chat": (ollama_request.read_chat, {"messages": MESSAGES}, set()),
    "/api/generate": (ollama_request.read_generate, {"prompt": "a"}, {"images", "template", "context"}),
}  # fmt: skip


@pytest.mark.parametrize("path", READERS)
def test_every_field_that_is_read_is_described(path: str) -> None:
    """And no other; `model` is read elsewhere."""
    read, body, refused = READERS[path]
    seen = Seen(body)
    read(Fields(seen))
    described = REQUESTS.get(path)
    if described is None:
        content = OPERATIONS["post", path]["requestBody"]["content"]
        described = SCHEMAS[content["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    assert seen.names | {"model"} == set(described["properties"]) | refused


def test_the_server_is_as_it_describes_itself(model: Model, tmp_path: Path) -> None:
    """All of schemathesis's checks but one: that all that the description allows is accepted. No schema says how much
    fits into a context, or which tokens a model has."""
    (tmp_path / "hooks_of_the_test.py").write_text(HOOKS, encoding="utf-8")
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"]
    options = ["--header", f"Authorization: Bearer {KEY}", "--exclude-checks", "positive_data_acceptance"]
    options += ["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1", "--no-color"]
    options += [
        "--request-timeout",
        "60",
        "--generation-database",
        "none",
        "--workers",
        "1",
        "--suppress-health-check",
        "all",
    ]
    with running(model, {"api_key": KEY}, slots=2, max_tokens=4) as server:
        done = subprocess.run(
            [*command, f"{server.url}/openapi.json", *options],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks_of_the_test", "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, "\n".join(line[:300] for line in (done.stdout + done.stderr).splitlines())
    found = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert found and int(found[1]) == int(found[2]) > 3000, done.stdout
