"""Sessions of an encoder-decoder in Python: a text, its answer, what is kept and refused; damaged files."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoder_decoders
from changed_files import NOTHING, Tensors, write_changed
from tiny_encoder_decoders import ENCODER_DECODERS, END

from rbe_edge import GenerationOptions, Model
from rbe_edge.errors import Cancelled, ContextFull, ModelError, OptionError, RbeError
from rbe_edge.format.encoder import ENCODER_DECODER
from rbe_edge.format.parts import Part
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.demo import demo_path
from rbe_edge.runtime.encoder_kinds import ANSWERS, check_converses, check_writes, kind_of

TEXT, ANSWER = "the cat on a mat, in the rain", [0, 8, 30, 17, 5, 5, 29]
GREEDY = GenerationOptions(max_tokens=9)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder_decoders.write(ENCODER_DECODERS["t5_v1_1"], tmp_path_factory.mktemp("source") / "t5")


@pytest.fixture(scope="module")
def path(directory: Path) -> Path:
    return pack(directory, directory.parent / "t5.rbe", PackOptions(bits=32)).path


@pytest.fixture(scope="module")
def model(path: Path) -> Any:
    with Model.open(path) as opened:
        yield opened


def test_generated_text_answers_to_the_prompt(model: Model) -> None:
    """As by hand: the text, the start token, the likeliest token each time."""
    assert model.encoder_decoder is not None and model.tokenize(TEXT)[-1] == END
    with model.session() as session:
        generation = session.generate(TEXT, GREEDY)
        text = "".join(generation)
        again = session.generate(TEXT, GREEDY)
        assert "".join(again) == text and generation.tokens == again.tokens
        session.encode(TEXT)
        assert session.text_tokens == len(model.tokenize(TEXT)) and session.position == 0
        session.prefill([model.encoder_decoder.start])
        for token in generation.tokens:
            assert int(np.argmax(session.logits)) == token
            session.prefill([token])


def test_guesses(model: Model) -> None:
    """By look-up the same text; by the first planes none."""
    with model.session() as session:
        expected = "".join(session.generate(TEXT, GREEDY))
        assert "".join(session.generate(TEXT, dataclasses.replace(GREEDY, speculate="lookup"))) == expected
        with pytest.raises(OptionError, match="use look-up"):
            "".join(session.generate(TEXT, dataclasses.replace(GREEDY, speculate="planes")))


def test_a_text_is_kept(model: Model, tmp_path: Path) -> None:
    with model.session(kv="q8") as session, model.session(kv="q8", context=64) as other:
        session.encode(TEXT)
        session.prefill(ANSWER)
        expected = session.logits
        session.save(tmp_path / "state")
        assert other.restore(tmp_path / "state") == ANSWER and other.text_tokens == session.text_tokens
        np.testing.assert_array_equal(other.logits, expected)
        other.encode("a")
        other.copy_from(session, 3)
        other.prefill(ANSWER[3:])
        np.testing.assert_array_equal(other.logits, expected)
        other.rewind(2)
        other.prefill(ANSWER[2:])
        np.testing.assert_array_equal(other.logits, expected)


def test_what_is_refused(model: Model) -> None:
    with model.session(context=8) as session:
        with pytest.raises(RbeError, match="encode one first"):
            session.prefill([1])
        with pytest.raises(ContextFull, match="9 tokens"):
            session.encode(list(range(9)))
        with pytest.raises(RbeError, match="whole numbers from 0 to 47"):
            session.encode([3, model.info.vocabulary])
        session.encode([3, END])
        session.cancel()
        with pytest.raises(Cancelled):
            session.encode([4, END])
        assert session.text_tokens == 2
    assert kind_of(model) == ANSWERS
    check_writes(model)
    with pytest.raises(ModelError, match="rbe run"):
        check_converses(model)


def test_a_decoder_reads_no_text() -> None:
    with Model.open(demo_path()) as demo, demo.session(context=64) as session:
        assert demo.encoder_decoder is None and session.text_tokens == 0
        with pytest.raises(OptionError, match="no encoder"):
            session.encode("hello")


# ---- damaged files ----


OPTIONAL_PART = dataclasses.replace(ENCODER_DECODER, required=False)


@pytest.mark.parametrize(
    ("metadata", "tensors", "parts", "said"),
    [
        ({}, {}, [], "lacks the part"),
        ({}, {}, [OPTIONAL_PART], "lacks the part"),
        (
            {"encoder.layers": None, "decoder.start": None},
            {},
            [ENCODER_DECODER],
            "wrong shape|name no encoder|expected",
        ),
        ({"encoder.layers": None}, {}, [ENCODER_DECODER], "belong together"),
        ({"decoder.start": None}, {}, [ENCODER_DECODER], "belong together"),
        ({"decoder.start": 10**6}, {}, [ENCODER_DECODER], "decoder.start"),
        ({"encoder.layers": 4096}, {}, [ENCODER_DECODER], "4096 and the file has"),
        ({"encoder.layers": 5000}, {}, [ENCODER_DECODER], "encoder.layers"),
        ({"encoder.layers": 3}, {}, [ENCODER_DECODER], "encoder.layers.2"),
        ({"attention.direction": "both"}, {}, [ENCODER_DECODER], "causal layers"),
        ({"position.kind": "learned"}, {}, [ENCODER_DECODER], "relative positions"),
        ({"pooling": "mean"}, {}, [ENCODER_DECODER], "causal layers"),
        ({}, {"positions.relative": NOTHING}, [ENCODER_DECODER], "positions.relative"),
        ({}, {"positions.relative": np.zeros((3, 21), np.float32)}, [ENCODER_DECODER], "wrong shape"),
        ({}, {"encoder.positions.relative": np.zeros((4, 40), np.float32)}, [ENCODER_DECODER], "wrong shape"),
        ({}, {"encoder.positions.relative": NOTHING}, [ENCODER_DECODER], "encoder.positions.relative"),
        ({}, {"positions.relative": np.zeros((4, 2**20 + 1), np.float32)}, [ENCODER_DECODER], "wrong shape"),
        ({}, {"layers.1.cross.k": NOTHING}, [ENCODER_DECODER], "layers.1.cross.k"),
        ({}, {"layers.0.cross.o": np.zeros((48, 48), np.float32)}, [ENCODER_DECODER], "layers.0.cross.o"),
        ({}, {"encoder.norm": NOTHING}, [ENCODER_DECODER], "encoder.norm"),
    ],
)
def test_damaged_files(
    directory: Path, tmp_path: Path, metadata: dict[str, Any], tensors: Tensors, parts: list[Part], said: str
) -> None:
    path = write_changed(directory, tmp_path / "t5.rbe", metadata, parts, tensors)
    with pytest.raises(ModelError, match=said) as caught:
        Model.open(path)
    assert "\n" not in str(caught.value)


def test_one_distance_for_all(directory: Path, tmp_path: Path) -> None:
    """The least that there can be: the same number for every distance changes nothing, as none would."""
    logits = []
    for size in (0.0, 3.0):
        constant = {"positions.relative": np.full((4, 1), size, np.float32),
                    "encoder.positions.relative": np.full((4, 1), size, np.float32)}  # fmt: skip
        path = write_changed(directory, tmp_path / "t5.rbe", {}, [ENCODER_DECODER], constant)
        with Model.open(path) as opened, opened.session(kv="f32") as session:
            session.encode([5, 9, 12, 31, END])
            session.prefill(ANSWER)
            logits.append(session.logits)
    np.testing.assert_allclose(*logits, atol=1e-4)
