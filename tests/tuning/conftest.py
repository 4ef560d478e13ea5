"""What the tests of tuning share."""

from __future__ import annotations

import pytest
from tuning_pair import Pair, make_pair


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("tuning"), "llama_bias")
