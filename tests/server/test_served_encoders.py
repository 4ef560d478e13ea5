"""Encoders behind the server: embeddings, an order of documents, and what each kind of model refuses."""

from __future__ import annotations

import base64
import json
import math
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from server_tools import CHAT, Running, running

from rbe_edge.runtime.model import Model

TEXTS = ["the cat", "the dog runs", "a", "the cat the cat the cat"]


@pytest.fixture(scope="module")
def sentences(tiny_encoder: Callable[[str], Path]) -> Iterator[Running]:
    with Model.open(tiny_encoder("sentence_cls")) as model, running(model, {"local_only": True}) as server:
        yield server


@pytest.fixture(scope="module")
def scorer(tiny_encoder: Callable[[str], Path]) -> Iterator[Running]:
    with Model.open(tiny_encoder("bert_score")) as model, running(model) as server:
        yield server


def post(server: Running, path: str, **body: Any) -> httpx.Response:
    return httpx.post(server.url + path, json=body, timeout=60)


def error(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 400, response.text
    found: dict[str, Any] = response.json()["error"]
    assert "\n" not in found["message"]
    return found


def vectors(model: Model, texts: list[str]) -> Any:
    return model.embed(texts)


def test_openais_client(sentences: Running) -> None:
    pytest.importorskip("openai")
    model, client = sentences.service.model, sentences.client()
    found = client.embeddings.create(model="sentence_cls", input=TEXTS, encoding_format="float")
    assert [one.index for one in found.data] == [0, 1, 2, 3]
    expected = vectors(model, TEXTS)
    for row, one in zip(expected, found.data, strict=True):
        assert one.embedding == row.tolist()  # the same bits as alone, in whatever company
    # [CLS] and [SEP] count.
    assert found.usage.prompt_tokens == sum(len(model.tokenize(text)) for text in TEXTS)
    assert client.embeddings.create(model="sentence_cls", input=TEXTS[0]).data[0].embedding == pytest.approx(
        expected[0].tolist()
    )
    short = client.embeddings.create(model="sentence_cls", input=TEXTS, dimensions=5)
    first = expected[:, :5] / np.linalg.norm(expected[:, :5], axis=1, keepdims=True)
    assert np.allclose([one.embedding for one in short.data], first, atol=1e-6)
    raw = post(sentences, "/v1/embeddings", input="a", encoding_format="base64", dimensions=3).json()
    assert len(struct.unpack("<3f", base64.b64decode(raw["data"][0]["embedding"]))) == 3
    other = client.embeddings.create(model="sentence_cls", input=TEXTS, extra_body={"prompt_name": "query"})
    assert np.allclose([one.embedding for one in other.data], model.embed(TEXTS, prompt="query"), atol=1e-6)


def test_ollamas_client(sentences: Running) -> None:
    ollama = pytest.importorskip("ollama")
    client = ollama.Client(sentences.url)
    found = client.embed(model="sentence_cls", input=TEXTS)
    assert np.allclose(found.embeddings, vectors(sentences.service.model, TEXTS), atol=1e-6)
    long = "the cat " * 500
    assert client.embed(model="sentence_cls", input=long).prompt_eval_count == sentences.service.scheduler.context
    assert client.show("sentence_cls").capabilities == ["embedding"]
    with pytest.raises(ollama.ResponseError, match="an encoder, which writes no text"):
        client.chat(model="sentence_cls", messages=[{"role": "user", "content": "Hello!"}])
    assert client.ps().models[0].context_length == sentences.service.scheduler.context


def test_requests_that_wait_share_calls(sentences: Running) -> None:
    together = sentences.service.texts._embedding._of(None).together
    real, calls = together._compute, []

    def counted(texts: list[Any]) -> Any:
        calls.append(len(texts))
        if len(calls) == 1:
            sentences.wait_for(lambda: sentences.service.texts.waiting == 8)
        return real(texts)

    together._compute = counted
    try:
        with ThreadPoolExecutor(8) as executor:
            wanted = [TEXTS[place % 4] for place in range(8)]
            found = list(executor.map(lambda text: post(sentences, "/v1/embeddings", input=text).json(), wanted))
    finally:
        together._compute = real
    assert sum(calls) == 8 and len(calls) == 2
    rows = vectors(sentences.service.model, wanted)
    assert [one["data"][0]["embedding"] for one in found] == rows.tolist()


def test_documents_are_ranked(scorer: Running) -> None:
    model = scorer.service.model
    documents = ["the dog", "a cat", "the", "the dog runs " * 300]
    expected = model.rank("the cat", documents)
    found = post(scorer, "/v1/rerank", query="the cat", documents=documents, return_documents=True).json()
    assert found["model"] == "bert_score" and found["usage"]["total_tokens"] > 4
    assert [one["index"] for one in found["results"]] == [place for place, _ in expected]
    for one, (place, score) in zip(found["results"], expected, strict=True):
        assert one["relevance_score"] == pytest.approx(1 / (1 + math.exp(-score)), abs=1e-6)
        assert one["document"] == {"text": documents[place]}
    objects = [{"text": text} for text in documents]
    top = post(scorer, "/rerank", query="the cat", documents=objects, top_n=2).json()["results"]
    assert top == [{key: one[key] for key in ("index", "relevance_score")} for one in found["results"][:2]]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": ""}, "query"), ({"query": None}, "query"), ({"query": 3}, "query"), ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"), ({"documents": [3]}, "documents"), ({"documents": [{}]}, "documents"),
        ({"documents": ["a"] * 2049}, "documents"), ({"top_n": 0}, "top_n"),
        ({"return_documents": 1}, "return_documents"),
    ],
)  # fmt: skip
def test_wrong_ranks(scorer: Running, change: dict[str, Any], param: str) -> None:
    body = {"query": "the cat", "documents": ["a"], **change}
    assert error(post(scorer, "/v1/rerank", **body))["param"] == param


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"input": "the cat " * 500}, "input", "too long"), ({"input": [10**6]}, "input", "token ids"),
        ({"input": ""}, "input", "neither of them empty"), ({"dimensions": 0}, "dimensions", "from 1"),
        ({"dimensions": 10_000}, "dimensions", "at most"), ({"pooling": "most"}, "pooling", "one of cls"),
        ({"prompt_name": "nothing"}, "prompt_name", "no prompt nothing"), ({"truncate": "yes"}, "truncate", "true"),
        ({"encoding_format": "int8"}, "encoding_format", "float or base64"),
    ],
)  # fmt: skip
def test_wrong_inputs(sentences: Running, change: dict[str, Any], param: str, words: str) -> None:
    found = error(post(sentences, "/v1/embeddings", **{"input": "a", **change}))
    assert found["param"] == param and words in found["message"]


def test_what_each_kind_refuses(sentences: Running, scorer: Running, server: Running) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/completion"):
        asked = {"input": "a"} if path == "/v1/responses" else {"prompt": "a"}
        body = {**CHAT, "model": "sentence_cls", **asked}
        assert "an encoder, which writes no text" in error(post(sentences, path, **body))["message"]
    claude = post(sentences, "/v1/messages", max_tokens=3, messages=CHAT["messages"])
    assert claude.status_code == 400 and "an encoder" in claude.json()["error"]["message"]
    ranks = {"query": "a", "documents": ["b"]}
    assert "is no cross encoder" in error(post(sentences, "/v1/rerank", **ranks))["message"]
    assert "is no cross encoder" in error(post(server, "/v1/rerank", **ranks))["message"]
    assert "scores of classes" in error(post(scorer, "/v1/embeddings", input="a"))["message"]
    assert "is a decoder, which nobody trained" in error(post(server, "/v1/embeddings", input="a"))["message"]
    assert post(server, "/v1/embeddings", input="a", pooling="last").status_code == 200


def test_an_encoder_serves_no_sessions(sentences: Running) -> None:
    assert httpx.get(sentences.url + "/health").json() == {"status": "ok"}
    (only,) = httpx.get(sentences.url + "/v1/models").json()["data"]
    assert only["id"] == "sentence_cls" and only["context_length"] == sentences.service.model.encoder_info.context
    tokens = post(sentences, "/tokenize", content="the cat").json()
    assert tokens["tokens"] and tokens["max_model_len"] == only["context_length"]
    assert sentences.metric("rbe_slots") == 0


def test_a_closed_service_says_so(tiny_encoder: Callable[[str], Path]) -> None:
    with Model.open(tiny_encoder("sentence_mean")) as model, running(model) as server:
        server.service.close()
        stopped = post(server, "/v1/embeddings", input="a")
        assert stopped.status_code == 503 and "stopping" in stopped.json()["error"]["message"]
        assert httpx.get(server.url + "/health").status_code == 503


def test_embeddings_end_with_their_client(model: Model) -> None:
    """Of thousands of texts few are computed when nobody waits for them; others take turns with them."""
    with running(model, slots=1, queue_limit=1) as server:
        computed: list[int] = []
        together = server.service.texts._embedding._of("mean").together
        real = together._compute

        def slow(texts: list[Any]) -> Any:
            computed.append(len(texts))
            return real(texts)

        together._compute, together._most = slow, 20
        body = json.dumps({"model": "demo", "input": ["a text of some words"] * 2000, "pooling": "mean"}).encode()
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + body)
            server.wait_for(lambda: len(computed) > 3)
            assert post(server, "/v1/embeddings", input="b", pooling="mean").status_code == 200
        server.wait_for(lambda: server.service.texts.waiting == 0)
        assert sum(computed) < 1000
