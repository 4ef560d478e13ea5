"""Servers for the tests of the server, with the demo model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from server_tools import Running, running

from rbe_edge.runtime.model import Model, demo_path


@pytest.fixture(scope="session")
def model() -> Iterator[Model]:
    with Model.open(demo_path()) as model:
        yield model


@pytest.fixture(scope="session")
def server(model: Model) -> Iterator[Running]:
    """One server for all tests that only ask."""
    with running(model, slots=3) as found:
        yield found


@pytest.fixture(scope="session")
def client(server: Running) -> Any:
    pytest.importorskip("openai")
    return server.client()
