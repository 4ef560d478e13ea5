"""Opening files, and what a model says about itself."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from rbe_edge import Model, _native
from rbe_edge.errors import ModelError, OptionError, TokenizerError


def test_info_and_metadata(tiny_model: Path) -> None:
    with Model.open(tiny_model) as model:
        info = model.info
        assert (info.path, info.file_bytes) == (tiny_model, tiny_model.stat().st_size)
        assert (info.layers, info.width, info.vocabulary, info.context) == (2, 64, tiny_models.VOCABULARY, 256)
        weights = sum(values.size for values in tiny_models.tensors(tiny_models.MODELS["llama"]).values())
        assert info.parameters == weights
        assert info.bits_per_weight == pytest.approx(info.file_bytes * 8 / weights)
        assert info.kernel_set in _native.kernel_sets()
        metadata = model.metadata
        assert metadata["layers"] == 2 and metadata["norm.epsilon"] == pytest.approx(1e-5)
        assert isinstance(metadata["architecture"], str)
        assert metadata["chat_template"] == tiny_models.CHAT_TEMPLATE
        with pytest.raises(TypeError):
            metadata["layers"] = 3  # type: ignore[index]


def test_tensors_are_those_of_the_source(tiny_model: Path) -> None:
    source = tiny_models.tensors(tiny_models.MODELS["llama"])
    with Model.open(tiny_model) as model:
        embedding = model.tensors["embedding"]
        assert (embedding.kind, embedding.rows, embedding.cols) == ("fp32", tiny_models.VOCABULARY, tiny_models.WIDTH)
        assert (embedding.plane_bits, embedding.error, embedding.bits_per_weight) == ((), 0.0, 32.0)
        np.testing.assert_array_equal(model.tensor_rows("embedding"), source["model.embed_tokens.weight"])
        np.testing.assert_array_equal(model.tensor_rows("embedding", 3, 2), source["model.embed_tokens.weight"][3:5])
        with pytest.raises(OptionError, match="no tensor"):
            model.tensor_rows("absent")
        with pytest.raises(OptionError, match="rows"):
            model.tensor_rows("embedding", tiny_models.VOCABULARY, 1)


def test_every_kernel_set_of_this_machine_opens(tiny_model: Path) -> None:
    for name, available in _native.kernel_sets().items():
        if available:
            with Model.open(tiny_model, kernel_set=name) as model:
                assert model.info.kernel_set == name
        else:
            with pytest.raises(OptionError, match="this machine has"):
                Model.open(tiny_model, kernel_set=name)
    with pytest.raises(OptionError, match="scalar"):
        Model.open(tiny_model, kernel_set="abacus")


def test_amx_can_be_left_alone(tiny_model: Path) -> None:
    best = [name for name, available in _native.kernel_sets().items() if available and name != "avx512_amx"][-1]
    with Model.open(tiny_model, amx=False) as model:
        assert model.info.kernel_set == best
    with pytest.raises(OptionError):
        Model.open(tiny_model, amx=False, kernel_set="avx512_amx")


def test_what_is_no_model_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        Model.open(tmp_path / "absent.rbe")
    with pytest.raises(ModelError, match="is a directory"):
        Model.open(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ModelError, match="regular"):
            Model.open(tmp_path / "pipe")
    for name, data in {
        "empty": b"",
        "foreign": b"GGUF" + bytes(5000),
        "truncated": tiny_model.read_bytes()[:-100],
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ModelError) as caught:
            Model.open(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) > 10


def test_checksums_are_verified_unless_told_otherwise(tiny_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.rbe"
    shutil.copy(tiny_model, damaged)
    with damaged.open("r+b") as file:
        file.seek(-1000, 2)
        byte = file.read(1)
        file.seek(-1000, 2)
        file.write(bytes([byte[0] ^ 1]))
    with Model.open(damaged) as model:
        for _ in range(2):
            with pytest.raises(ModelError, match="checksum"):
                model.verify()
    with pytest.raises(ModelError, match="checksum"):
        Model.open(damaged, max_memory=1 << 40)
    with Model.open(damaged, verify=False) as model:
        model.verify()


def test_names_that_are_not_ascii(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "mod\u00e8le \u732b.rbe"
    shutil.copy(tiny_model, path)
    with Model.open(str(path)) as model:
        assert model.info.path == path


def test_closed_models_say_so(tiny_model: Path) -> None:
    model = Model.open(tiny_model)
    session = model.session(context=32)
    generation = session.generate("the thing", None)
    next(generation)
    model.close()
    model.close()
    for use in (
        lambda: model.metadata,
        lambda: model.tokenize("a"),
        lambda: session.prefill([1]),
        lambda: next(generation),
    ):
        with pytest.raises(ModelError, match="closed"):
            use()
    session.close()
    with pytest.raises(ModelError, match="closed"):
        model.session()


def test_forgotten_models_and_sessions_are_freed(tiny_model: Path) -> None:
    model = Model.open(tiny_model)
    session = model.session(context=32)
    assert len(model._sessions) == 1
    del session
    assert len(model._sessions) == 0
    kept = model.session(context=32)
    del model
    kept.prefill([1, 2, 3])  # a session keeps its model


def test_a_model_is_shared_by_threads(tiny_model: Path) -> None:
    results: list[list[float]] = []
    with Model.open(tiny_model) as model:

        def work() -> None:
            with model.session(context=64, threads=1) as session:
                session.prefill(model.tokenize("the other thing"))
                results.append(session.logits.tolist())

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 4 and all(result == results[0] for result in results)


@pytest.mark.parametrize(
    "text", ["", "the cat and the thing", "\u732b \U0001f408\u200d\u2b1b caf\u00e9\n\ttab", "\x00\x01\x7f", "a" * 5000]
)
def test_text_survives_the_tokenizer(tiny_model: Path, text: str) -> None:
    with Model.open(tiny_model) as model:
        tokens = model.tokenize(text, special=False)
        assert model.detokenize(tokens) == text
        assert b"".join(map(model.token_bytes, tokens)) == text.encode()


def test_control_tokens(tiny_model: Path) -> None:
    with Model.open(tiny_model) as model:
        start = model.token_id("<|im_start|>")
        assert start is not None and model.token_id("no such token") is None
        assert model.tokenize("<|im_start|>a", parse_special=True, special=False)[0] == start
        assert start not in model.tokenize("<|im_start|>a", special=False)
        assert model.token_bytes(start) == b"" and model.token_bytes(start, special=True) == b"<|im_start|>"
        end = model.token_id("<|im_end|>")
        assert end is not None and model.ends_text(end) and not model.ends_text(start)
        with pytest.raises(TokenizerError):
            model.token_bytes(tiny_models.VOCABULARY)


def test_bytes_that_are_no_text_are_tokens_too(tiny_model: Path) -> None:
    with Model.open(tiny_model) as model:
        text = b"caf\xe9".decode("utf-8", "surrogateescape")
        assert b"".join(map(model.token_bytes, model.tokenize(text, special=False))) == b"caf\xe9"
        assert model.detokenize(model.tokenize(text, special=False)) == "caf\ufffd"
        with pytest.raises(OptionError, match="surrogate"):
            model.tokenize("\ud800")
