"""Encoders in the client: it says what they are, and keeps the model that it has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from driving import played

from rbe_edge.errors import ModelError
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.tui.catalogue import details_of
from rbe_edge.tui.engine import Engine


def test_the_list_says_what_an_encoder_is(tiny_encoder: Callable[[str], Path], tiny_model: Path) -> None:
    found = details_of(tiny_encoder("bert_masked"), SessionOptions())
    assert found.bits > 0 and found.wrong == "a masked-word encoder, for rbe fill; it cannot chat"
    assert details_of(tiny_model, SessionOptions()).wrong == ""


@played
async def test_an_encoder_is_not_opened(tiny_encoder: Callable[[str], Path]) -> None:
    engine = Engine()
    try:
        before = await engine.open(None, SessionOptions())
        with pytest.raises(ModelError, match="writes no text: it is a sentence encoder, for rbe embed"):
            await engine.open(tiny_encoder("sentence_mean"), SessionOptions())
        assert engine.loaded is before
    finally:
        await engine.close()
