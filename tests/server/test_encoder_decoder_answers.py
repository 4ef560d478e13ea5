"""An encoder-decoder behind the server: what it does not do is refused in one line."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import tiny_encoder_decoders
from server_tools import running
from tiny_encoder_decoders import ENCODER_DECODERS

from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.model import Model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t5")
    source = tiny_encoder_decoders.write(ENCODER_DECODERS["t5"], folder / "t5")
    return pack(source, folder / "t5.rbe", PackOptions(bits=32)).path


def test_answers_are_refused(path: Path) -> None:
    with Model.open(path) as model, running(model) as server:
        bodies = {
            "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
            "/v1/completions": {"prompt": "hi"},
            "/completion": {"prompt": "hi"},
        }
        for place, body in bodies.items():
            found = httpx.post(server.url + place, json=body, timeout=60)
            assert found.status_code == 400, found.text
            assert "`rbe run`" in found.json()["error"]["message"] and "\n" not in found.json()["error"]["message"]
        assert httpx.get(server.url + "/health", timeout=60).status_code == 200
