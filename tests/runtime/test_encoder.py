"""Encoders: each shape beside a forward pass in double precision, texts alone and in company, and what people call."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import encoder_files as files
import numpy as np
import pytest
from encoder_files import Reference, Shape

from rbe_edge.errors import Cancelled, ContextFull, ModelError, OptionError, RbeError
from rbe_edge.runtime.encoder import Encoder, EncoderOptions
from rbe_edge.runtime.encoder_texts import TextTemplate
from rbe_edge.runtime.model import Model

BOUND = 1e-4
CLASSES = {"pooling": "cls", "pooled": ((32, "tanh"), (3, "none")), "kind": "classes", "head": "none"}
MODERN = {"norm_place": "pre", "first_norm": False, "position": "rope", "gated": True, "segments": 0, "biases": False}

SHAPES = {
    "bert": Shape(),
    "no_segments": Shape(segments=0, embedding_norm=False),
    "pre": Shape(norm_place="pre"),
    "first_norm_absent": Shape(**MODERN, windows=(0, 6, 2)),
    "rope_post": Shape(position="rope", gated=True, activation="silu"),
    "windows": Shape(windows=(3, 1, 0)),
    "wide_windows": Shape(windows=(65, 500, 64)),
    "relu": Shape(activation="relu", head_activation="relu"),
    "relu_gated": Shape(activation="relu", gated=True),
    "tanh_form": Shape(activation="gelu_tanh"),
    "causal": Shape(direction="causal", norm_place="pre"),
    "causal_window": Shape(direction="causal", norm_place="pre", windows=(4, 0, 2)),
}
POOLED = {
    "cls": Shape(pooling="cls", head="none"),
    "mean": Shape(pooling="mean", head="none", normalize=True),
    "last": Shape(pooling="last", head="none"),
    "max": Shape(pooling="max", head="none"),
    "classes": Shape(**CLASSES),
    "norm": Shape(pooling="mean", pooled=((24, "gelu"), (5, "silu")), pooled_norm=True, normalize=True, head="none"),
    "relu": Shape(pooling="max", pooled=((40, "relu"), (70, "gelu_tanh"), (1, "none")), head="none"),
}


def texts_of(lengths: tuple[int, ...] = (5, 1, 17, 64, 65, 9, 96, 2)) -> list[list[int]]:
    random = np.random.default_rng(7)
    return [random.integers(0, len(files.WORDS), n).tolist() for n in lengths]


def token(word: str) -> int:
    return files.WORDS.index(word)


def opened(tmp_path: Path, shape: Shape, **options: object) -> tuple[Model, Reference]:
    tensors = files.write(tmp_path / "tiny.rbe", shape, **options)  # type: ignore[arg-type]
    return Model.open(tmp_path / "tiny.rbe"), Reference(shape, tensors)


@pytest.fixture
def bert(tmp_path: Path) -> Iterator[Model]:
    model, _ = opened(tmp_path, Shape(pooling="mean"))
    with model:
        yield model


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("pass_tokens", [64, 24])
def test_hidden_states_are_those_of_double_precision(tmp_path: Path, name: str, pass_tokens: int) -> None:
    model, reference = opened(tmp_path, SHAPES[name])
    texts = texts_of()
    with model, model.encoder(threads=2, pass_tokens=pass_tokens) as encoder:
        found = encoder.hidden(texts)
        for text, hidden in zip(texts, found, strict=True):
            assert hidden.shape == (len(text), 32)
            assert np.abs(hidden - reference.hidden(text)).max() < BOUND


def test_each_feature_moves_the_hidden_states(tmp_path: Path) -> None:
    """Else the comparison above says nothing about it."""
    text = texts_of((40,))[0]

    def hidden(shape: Shape) -> np.ndarray:
        return Reference(
            shape, files.random_tensors(SHAPES["causal"] if shape.norm_place == "pre" else Shape())
        ).hidden(text)

    base = hidden(Shape())
    for changed in (Shape(direction="causal"), Shape(windows=(3, 1, 0)), Shape(activation="relu")):
        assert np.abs(hidden(changed) - base).max() > 0.01
    assert np.abs(hidden(Shape(norm_place="pre")) - hidden(SHAPES["causal"])).max() > 0.01


@pytest.mark.parametrize("name", POOLED)
def test_pooled_vectors_are_those_of_double_precision(tmp_path: Path, name: str) -> None:
    model, reference = opened(tmp_path, POOLED[name])
    texts = texts_of()
    with model, model.encoder(pass_tokens=64) as encoder:
        found = encoder.pooled(texts)
        assert found.shape == (len(texts), encoder.n_pooled) == (len(texts), model.encoder_info.pooled)
        for text, vector in zip(texts, found, strict=True):
            assert np.abs(vector - reference.pooled(text)).max() < BOUND


@pytest.mark.parametrize("pass_tokens", [64, 7])
def test_words_for_gaps_are_those_of_double_precision(tmp_path: Path, pass_tokens: int) -> None:
    model, reference = opened(tmp_path, Shape())
    (text,) = texts_of((30,))
    positions = [3, 29, 0, 3] * 20  # more than a pass has rows
    with model, model.encoder(pass_tokens=pass_tokens) as encoder:
        found = encoder.word_logits(text, positions)
        assert found.shape == (80, len(files.WORDS))
        assert np.abs(found - reference.word_logits(text, positions)).max() < BOUND
        assert encoder.word_logits(text, []).shape == (0, len(files.WORDS))


@pytest.mark.parametrize("name", ["bert", "first_norm_absent", "wide_windows", "causal"])
def test_a_text_gives_the_same_bits_alone_in_company_and_layer_by_layer(tmp_path: Path, name: str) -> None:
    model, _ = opened(tmp_path, SHAPES[name])
    texts = texts_of((5, 1, 17, 64, 65, 9, 96, 2, 12, 12, 12))
    with model:
        with model.encoder(threads=1, pass_tokens=512) as encoder:
            alone = [encoder.hidden([text])[0] for text in texts]
        for threads, pass_tokens in ((1, 512), (2, 96), (3, 33), (2, 8), (1, 1)):
            with model.encoder(threads=threads, pass_tokens=pass_tokens) as encoder:
                for one, other in zip(alone, encoder.hidden(texts), strict=True):
                    assert np.array_equal(one, other), (threads, pass_tokens)


def test_calibration_runs_the_same_layers(tmp_path: Path) -> None:
    shape = Shape(norm_place="pre", segments=0)
    model, _ = opened(tmp_path, shape)
    (text,) = texts_of((50,))
    with model, model.encoder() as encoder, model.session(pass_tokens=64) as session:
        hidden, shown = session.embed(text), []
        session.run_layers(0, 2, hidden)
        session.run_layers(2, 1, hidden, lambda layer, point, x: shown.append((layer, point, x.copy())))
        assert [(layer, point) for layer, point, _ in shown] == [(2, 0), (2, 1), (2, 2), (2, 3), (3, 4)]
        assert np.array_equal(shown[-1][2], encoder.hidden([text])[0])
        with pytest.raises(OptionError, match="a whole text from position 0 on, of at most 64 tokens"):
            session.run_layers(0, 1, np.zeros((65, 32), np.float32))
        with pytest.raises(OptionError, match="a whole text from position 0"):
            session.run_layers(0, 1, np.zeros((2, 32), np.float32), position=1)


def test_an_encoder_writes_no_text(bert: Model, tmp_path: Path) -> None:
    with bert.session() as session:
        for call in (
            lambda: session.prefill([5, 6]),
            lambda: session.score([5, 6]),
            lambda: session.save(tmp_path / "state"),
            lambda: bert.batch(),
        ):
            with pytest.raises(RbeError, match="is an encoder, which writes no text; `rbe embed`"):
                call()


def test_pairs_have_their_template_and_segments(tmp_path: Path) -> None:
    model, reference = opened(tmp_path, Shape(pooling="cls"))
    with model, model.encoder() as encoder:
        cls, sep = 2, 3
        cat, dog, sat = (token(word) for word in ("cat", "dog", "sat"))
        assert TextTemplate.of(model) == TextTemplate((cls,), (sep,), (sep,), 2)
        (read,) = encoder.read([("cat sat", "dog")])
        assert read.tokens == (cls, cat, sat, sep, dog, sep) and read.second == 4
        expected = reference.hidden(read.tokens, [0, 0, 0, 0, 1, 1])
        assert np.abs(encoder.hidden([("cat sat", "dog")])[0] - expected).max() < BOUND
        apart = encoder.pooled([("cat sat", "dog"), list(read.tokens)])
        assert np.abs(apart[0] - apart[1]).max() > 0.01  # tokens alone are all of segment 0


def test_tokens_between_a_pair_are_the_files(tmp_path: Path) -> None:
    model, _ = opened(tmp_path, Shape(segments=0), changes={"pair.between": (3, 3)})
    with model, model.encoder() as encoder:
        (read,) = encoder.read([("cat", "dog")])
        assert read.tokens[2:4] == (3, 3) and read.tokens[-1] == 3 and read.second == len(read.tokens) == 6


def test_long_texts_are_refused_or_cut(bert: Model) -> None:
    long = "cat " * 200
    with pytest.raises(ContextFull, match=r"text 2: it has 202 tokens, and this model takes at most 96; shorten it"):
        bert.embed(["cat", long])
    with bert.encoder() as encoder:
        (cut,) = encoder.read([long], cut=True)
        assert len(cut.tokens) == 96 and cut.tokens[0] == 2 and cut.tokens[-1] == 3
        (pair,) = encoder.read([("dog " * 10, long)], cut=True)
        assert len(pair.tokens) == 96 and pair.tokens[:12] == (2, *[token("dog")] * 10, 3)
        (halves,) = encoder.read([(long, long)], cut=True)
        assert len(halves.tokens) == 96 and halves.second == 1 + 47 + 1
        (tokens,) = encoder.read([[5] * 95 + [6] * 10 + [7]], cut=True)
        assert tokens.tokens == (*[5] * 95, 7)
    assert np.allclose(bert.embed([long], cut=True)[0], bert.embed(["cat " * 94])[0])


def test_what_is_no_text_is_refused(bert: Model) -> None:
    with bert.encoder() as encoder:
        for wrong in ([], [-1], [len(files.WORDS)], [1.5], ["cat", "dog"], [None]):
            with pytest.raises(OptionError, match="a text"):
                encoder.hidden([wrong])  # type: ignore[list-item]
        with pytest.raises(OptionError, match="give a list of texts"):
            encoder.pooled("cat")
        with pytest.raises(OptionError, match="positions are 0 to 2"):
            encoder.word_logits("cat", [3])
        assert encoder.pooled([]).shape == (0, 32) and encoder.hidden([]) == []
        assert encoder.hidden([""])[0].shape == (2, 32)  # the special tokens alone


def test_embeddings_have_length_one_and_prompts(tmp_path: Path) -> None:
    prompts = {"query": "the cat ", "none": ""}
    changes = {"embedding.prompts": json.dumps(prompts), "embedding.default_prompt": "none"}
    model, reference = opened(tmp_path, Shape(pooling="mean"), changes=changes)
    with model:
        vectors = model.embed(["cat sat on", "a dog"])
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
        raw = model.embed(["a dog"], normalize=False)
        assert np.abs(raw[0] - reference.pooled([2, token("a"), token("dog"), 3])).max() < BOUND
        assert np.array_equal(model.embed(["sat"], prompt="query"), model.embed(["the cat sat"]))
        with pytest.raises(OptionError, match="no prompt other; it has: query, none"):
            model.embed(["a"], prompt="other")
        assert np.array_equal(model.encode("a dog", prompt_name="query"), model.encode(["the cat a dog"])[0])
        assert model.encode("a dog").shape == (32,) and model.encode(["a dog"]).shape == (1, 32)
        assert np.allclose(model.encode("a dog", normalize_embeddings=True), model.embed(["a dog"])[0])
        assert np.abs(model.embed(["a dog"], pooling="max") - model.embed(["a dog"])).max() > 0.01
        assert dict(model.encoder_info.prompts) == prompts and model.encoder_info.default_prompt == "none"


def test_models_that_cannot_say_so(tmp_path: Path) -> None:
    model, _ = opened(tmp_path, Shape())
    with model:
        with pytest.raises(OptionError, match=r'no vector stands for a text.*pooling="mean"'):
            model.embed(["a"])
        with model.encoder() as encoder, pytest.raises(OptionError, match="choose a pooling: mean, last, cls or max"):
            encoder.pooled(["a"])
        assert model.embed(["a"], pooling="mean").shape == (1, 32)
        with pytest.raises(OptionError, match="only a cross encoder"):
            model.rank("cat", ["dog"])
    model, _ = opened(tmp_path, Shape(**CLASSES), changes={"labels": "bad\nmiddling\ngood"})
    with model:
        assert model.encoder_info.labels == ("bad", "middling", "good") and not model.encoder_info.embeds
        with pytest.raises(OptionError, match="gives scores of classes, not embeddings"):
            model.embed(["a"])
        with pytest.raises(OptionError, match="no head that fills in words"):
            model.fill("the [MASK]")
        with model.encoder() as encoder, pytest.raises(OptionError, match="no head that fills in words"):
            encoder.word_logits("a", [0])


def test_a_decoder_made_for_embeddings_needs_no_part_and_still_writes(tmp_path: Path) -> None:
    shape = Shape(
        direction="causal", norm_place="pre", segments=0, embedding_norm=False, head=None, pooling="last",
        normalize=True,
    )  # fmt: skip
    model, reference = opened(tmp_path, shape, parts=())
    texts = texts_of((5, 40, 96))
    with model, model.encoder(pass_tokens=48) as encoder, model.session(kv="f32") as session:
        assert not model.encoder_info.is_encoder and model.encoder_info.embeds
        for text, vector in zip(texts, encoder.pooled(texts), strict=True):
            assert np.abs(vector - reference.pooled(text)).max() < BOUND
        session.prefill(texts[1])
        by_hand = encoder.hidden([texts[1]])[0][-1] @ model.tensor_rows("embedding").T
        assert np.abs(session.logits - by_hand).max() < BOUND


def test_gaps_are_filled(tmp_path: Path) -> None:
    model, reference = opened(tmp_path, Shape())
    with model:
        first, second = model.fill("[MASK] sat on the [MASK].", top=3)
        assert len(first) == len(second) == 3
        with model.encoder() as encoder:
            (read,) = encoder.read(["[MASK] sat on the [MASK]."], parse_special=True)
        logits = reference.word_logits(read.tokens, [1, 5])
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        for found, share in zip((first, second), shares, strict=True):
            order = np.argsort(-share)[:3]
            assert [word for word, _ in found] == [files.WORDS[token].removeprefix("##") for token in order]
            assert np.allclose([probability for _, probability in found], share[order], atol=1e-4)
        with pytest.raises(OptionError, match=r"no gap; write \[MASK\] where"):
            model.fill("the cat")


def test_documents_are_ranked(tmp_path: Path) -> None:
    shape = Shape(pooling="cls", pooled=((32, "tanh"), (1, "none")), kind="classes", head="none")
    model, reference = opened(tmp_path, shape)
    documents = ["a dog", "the cat sat", "paris is in france", "a dog"]
    with model:
        ranked = model.rank("cat", documents)
        assert sorted(at for at, _ in ranked) == [0, 1, 2, 3]
        assert [score for _, score in ranked] == sorted((score for _, score in ranked), reverse=True)
        assert [at for at, _ in ranked if at in (0, 3)] == [0, 3]  # equal scores keep their order
        with model.encoder() as encoder:
            (read,) = encoder.read([("cat", "the cat sat")])
        segments = [int(at >= read.second) for at in range(len(read.tokens))]
        assert abs(dict(ranked)[1] - reference.pooled(read.tokens, segments)[0]) < BOUND


def test_progress_counts_tokens_and_stops(bert: Model) -> None:
    texts = texts_of((20, 90, 20, 20, 20))
    counted: list[tuple[int, int]] = []
    with bert.encoder(pass_tokens=40) as encoder:
        encoder.hidden(texts, progress=lambda done, total: counted.append((done, total)))
        dones = [done for done, _ in counted]
        assert dones == sorted(dones) and dones[-1] == 170 and {total for _, total in counted} == {170}
        assert len(dones) > 4  # the long text tells of its layers
        with pytest.raises(Cancelled):
            encoder.hidden(texts, progress=lambda done, total: True)
        before = encoder.hidden(texts[:1])[0]
        encoder.cancel()
        with pytest.raises(Cancelled):
            encoder.hidden(texts[:1])
        assert np.array_equal(encoder.hidden(texts[:1])[0], before)


def test_one_thread_at_a_time_and_closing(bert: Model) -> None:
    encoder = Encoder(bert, EncoderOptions(threads=1))
    entered, leave = threading.Event(), threading.Event()

    def wait(done: int, total: int) -> None:
        entered.set()
        leave.wait(20)

    def run() -> None:
        encoder.hidden([[5, 6]], progress=wait)

    thread = threading.Thread(target=run)
    thread.start()
    assert entered.wait(20)
    with pytest.raises(RbeError, match="this encoder is in use"):
        encoder.hidden([[5]])
    leave.set()
    thread.join()
    bert.close()
    assert encoder.is_closed
    with pytest.raises(ModelError, match="encoder has been closed"):
        encoder.hidden([[5]])


def test_the_profile_adds_up(bert: Model) -> None:
    with bert.encoder(profile=True) as encoder:
        encoder.pooled([[5, 6, 7]])
        found = encoder.profile()
        assert found["attention"][0] == 3 and sum(seconds for _, seconds in found.values()) > 0
    with bert.encoder() as encoder, pytest.raises(OptionError, match="made with `profile`"):
        encoder.profile()
