"""Encoder-decoders against transformers: what the encoder gives, and the logits of an answer at once and step by
step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoder_decoders
from tiny_encoder_decoders import ENCODER_DECODERS, PAD

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.encoder import Encoder, EncoderOptions
from rbe_edge.sources.relative_positions import buckets

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import reference  # noqa: E402, F401  (needs both; it makes transformers quiet)

TOLERANCE = 1e-4
TEXT = [5, 9, 12, 31, 7, 3, 3, 22, 18, 40, 6, 11, 29, 30, 8, 14, 15, 16, 17, 19, 20, 21, 33, 34, 35, 9, 5, 4, 10, 1]
ANSWER = [PAD, 8, 30, 17, 5, 5, 29, 40, 12, 13, 6, 7, 21, 22, 23, 9, 10, 11, 31, 32, 33, 4, 6, 8, 10, 12, 14, 39]

NAMES = [name for name in ENCODER_DECODERS if name != "t5_encoder"]


def _packed(name: str, tmp_path: Path) -> Path:
    directory = tiny_encoder_decoders.write(ENCODER_DECODERS[name], tmp_path / name)
    return pack(directory, tmp_path / f"{name}.rbe", PackOptions(bits=32)).path


def _reference(name: str, directory: Path) -> Any:
    kind = transformers.T5EncoderModel if name == "t5_encoder" else transformers.AutoModelForSeq2SeqLM
    model, loading = kind.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(loading.values()), loading
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
def test_an_answer(tmp_path: Path, name: str) -> None:
    """Its logits at once, step by step and in pieces; and the encoder's hidden states."""
    path = _packed(name, tmp_path)
    model = _reference(name, tmp_path / name)
    with torch.no_grad():
        found = model(input_ids=torch.tensor([TEXT]), decoder_input_ids=torch.tensor([ANSWER]))
    expected, hidden = found.logits[0].numpy(), found.encoder_last_hidden_state[0].numpy()
    with Model.open(path) as packed:
        with Encoder(packed, EncoderOptions(pass_tokens=7)) as encoder:
            assert np.abs(encoder.hidden([TEXT])[0] - hidden).max() < TOLERANCE
        with packed.session(kv="f32") as session:
            session.encode(TEXT)
            assert np.abs(session.score(ANSWER, logits=True).logits - expected).max() < TOLERANCE
            session.rewind(0)
            for token, logits in zip(ANSWER, expected, strict=True):
                session.prefill([token])
                assert np.abs(session.logits - logits).max() < TOLERANCE
        with packed.session(kv="f32", pass_tokens=5, threads=2) as session:
            session.encode(TEXT)
            session.prefill(ANSWER[:11])
            session.prefill(ANSWER[11:])
            assert np.abs(session.logits - expected[-1]).max() < TOLERANCE


def test_the_encoder_alone(tmp_path: Path) -> None:
    path = _packed("t5_encoder", tmp_path)
    model = _reference("t5_encoder", tmp_path / "t5_encoder")
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([TEXT])).last_hidden_state[0].numpy()
    with Model.open(path) as packed, packed.encoder() as encoder:
        assert packed.encoder_info.is_encoder and packed.encoder_decoder is None
        assert np.abs(encoder.hidden([TEXT])[0] - expected).max() < TOLERANCE


@pytest.mark.parametrize("shape", [(32, 128), (8, 20), (64, 256), (32, 64), (6, 50), (16, 1000)])
@pytest.mark.parametrize("both", [True, False])
def test_buckets(shape: tuple[int, int], both: bool) -> None:
    """Those of transformers at every distance, and beyond."""
    n_buckets, most = shape
    kind = transformers.models.t5.modeling_t5.T5Attention
    distances = torch.arange(-most, most + 1 if both else 1)
    expected = kind._relative_position_bucket(distances, bidirectional=both, num_buckets=n_buckets, max_distance=most)
    ours = buckets(n_buckets, most, both)
    np.testing.assert_array_equal(ours, expected.numpy())
    far = kind._relative_position_bucket(
        torch.tensor([-most - 999, most + 999 if both else 0]), bidirectional=both, num_buckets=n_buckets,
        max_distance=most,
    )  # fmt: skip
    assert far.tolist() == [ours[0], ours[-1]]
