"""Files of gated delta nets and state spaces: what is refused by name, numbers of 16 bits, what a step reads and what a
session keeps."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recurrent_models
from changed_files import NOTHING, Tensors
from recurrent_models import DELTA_NET, STATE_SPACE, write_recurrent

from rbe_edge import Model
from rbe_edge.errors import ModelError, OptionError
from rbe_edge.format.encoder import LAYER_KINDS
from rbe_edge.format.writer import KIND_BF16, KIND_FP16, PackWriter
from rbe_edge.packing import storage
from rbe_edge.runtime.effort import SKIP, Effort
from rbe_edge.runtime.encoder import Encoder
from rbe_edge.runtime.fit import Wish, estimate
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

TOKENS = [5, 250, 17, 17, 99, 3, 201, 64, 30, 2]
IN_LAYER = "layers.2.recurrence."


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recurrent_models.source(tmp_path_factory.mktemp("source") / "lfm2")


def zeros(rows: int, cols: int) -> Any:
    return np.zeros((rows, cols), np.float32)


def one_wrong(value: float, n: int) -> Any:
    numbers = np.ones((1, n), np.float32)
    numbers[0, n - 1] = value
    return numbers


KEYS = tuple(f"recurrence.{field.name}" for field in dataclasses.fields(DELTA_NET) if field.name != "kind")
OUT_OF_RANGE = {
    "recurrence.key_dim": (0, 513, 2**40),
    "recurrence.value_dim": (0, 513, 2**40),
    "recurrence.key_heads": (0, 4097),
    "recurrence.value_heads": (0, 4097),
    "recurrence.taps": (0, 33, "4", (4,)),
}

DELTA_FILES: list[tuple[dict[str, Any], Tensors, str]] = [
    *(({key: None}, {}, f"`{key}` belong together") for key in KEYS),
    *(({key: value}, {}, key) for key, values in OUT_OF_RANGE.items() for value in values),
    *(({"recurrence.epsilon": value}, {}, "recurrence.epsilon") for value in (-1.0, 2e9, "small", (1,), 1)),
    ({"recurrence.taps": 3}, {}, "make it 32 x 3"),
    ({"recurrence.key_heads": 3}, {}, "does not divide"),
    ({"recurrence.key_heads": 1}, {}, "make it 16 x 64"),
    ({"recurrence.value_dim": 512}, {}, "make it 2048 x 64"),
    ({"layer.kinds": (0, 0, 0, 0)}, {}, "belong together"),
    ({"layer.kinds": (3, 0, 3, 0)}, {}, "layers.0.recurrence.skip"),
    ({"layer.kinds": (2, 0, 3, 0)}, {}, "delta nets and state spaces in one file"),
    ({"layer.kinds": (4, 0, 2, 0)}, {}, "layer.kinds"),
    ({"layer.kinds": (2, 2, 2, 0)}, {}, "layers.1.recurrence.norm"),
    ({"layer.kinds": (1, 0, 2, 0)}, {}, "convolution.taps"),
    ({"layer.kinds": None}, {}, "belong together"),
    *(({}, {IN_LAYER + name: NOTHING}, IN_LAYER + name) for name in recurrent_models.names_of(DELTA_NET)),
    ({}, {IN_LAYER + "beta": zeros(3, 64)}, "make it 4 x 64"),
    ({}, {IN_LAYER + "decay.bias": zeros(1, 64)}, "make it 1 x 4"),
    ({}, {IN_LAYER + "gated_norm": zeros(1, 96)}, "make it 1 x 24"),
    ({}, {IN_LAYER + "o": zeros(64, 64)}, "make it 64 x 96"),
    ({}, {IN_LAYER + "v_taps.bias": zeros(1, 3)}, "make it 1 x 96"),
    *(({}, {IN_LAYER + "rate": one_wrong(rate, 4)}, "not finite and positive") for rate in (0, -1, np.inf, np.nan)),
]


@pytest.mark.parametrize(("metadata", "tensors", "said"), DELTA_FILES)
def test_damaged_delta_nets(
    directory: Path, tmp_path: Path, metadata: dict[str, Any], tensors: Tensors, said: str
) -> None:
    path = write_recurrent(directory, tmp_path / "m.rbe", DELTA_NET, metadata, tensors)
    with pytest.raises(ModelError, match=said) as caught:
        Model.open(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        *(({IN_LAYER + name: NOTHING}, IN_LAYER + name) for name in recurrent_models.names_of(STATE_SPACE)),
        ({IN_LAYER + "skip": zeros(1, 5)}, "make it 1 x 6"),
        ({IN_LAYER + "gated_norm": zeros(1, 16)}, "make it 1 x 96"),
    ],
)
def test_damaged_state_spaces(directory: Path, tmp_path: Path, tensors: Tensors, said: str) -> None:
    path = write_recurrent(directory, tmp_path / "m.rbe", STATE_SPACE, {}, tensors)
    with pytest.raises(ModelError, match=said):
        Model.open(path)


def test_without_the_part(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="lacks the part `layer_kinds`"):
        Model.open(write_recurrent(directory, tmp_path / "m.rbe", DELTA_NET, parts=[]))


@pytest.mark.parametrize("name", ["q_taps", "v_taps", "decay", "beta"])
def test_what_is_no_trellis(tmp_path: Path, directory: Path, name: str) -> None:
    """No packer stores these so; a file that does is refused."""
    rule = dataclasses.replace(DELTA_NET, taps=32)
    plan = plan_model(open_source(directory))
    changed = [one for one in plan.tensors if ".convolution." not in one.name]
    like = next(one for one in changed if one.role == "matrix")
    numbers = recurrent_models.tensors_of(rule)
    for key, values in numbers.items():
        role = "matrix" if key.endswith("." + name) else "taps"
        changed.append(dataclasses.replace(like, name=key, rows=len(values), cols=values.shape[1], role=role))
    stores = [
        storage.in_planes(one, (2,)) if one.name.endswith("." + name) else storage.dense(one, 32) for one in changed
    ]
    books, entries = storage.described(changed, stores, lambda one: 7)  # type: ignore[arg-type]
    metadata = {key: value for key, value in {**plan.metadata, **rule.metadata()}.items() if value is not None}
    with PackWriter(tmp_path / "m.rbe", metadata, books, {}, entries, parts=[LAYER_KINDS]) as file:
        for entry in entries:
            file.write_tensor([np.zeros(entry.n_bytes, np.uint8)], 0.0)
        file.commit()
    with pytest.raises(ModelError, match=rf"layers.0.recurrence.{name}. is neither fp32 nor of 16 bits"):
        Model.open(tmp_path / "m.rbe")


def logits_of(path: Path) -> Any:
    with Model.open(path) as model, model.session(kv="f32", threads=1) as session:
        return session.score(TOKENS, logits=True).logits


@pytest.mark.parametrize("kind", [KIND_FP16, KIND_BF16])
def test_numbers_of_16_bits(directory: Path, tmp_path: Path, kind: int) -> None:
    """They are the numbers that they say."""
    endings = ("taps", "decay", "beta")
    numbers = {
        name: values for name, values in recurrent_models.tensors_of(DELTA_NET).items() if name.endswith(endings)
    }
    if kind == KIND_FP16:
        rounded = {name: values.astype(np.float16).astype(np.float32) for name, values in numbers.items()}
    else:
        rounded = {name: (values.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, values in numbers.items()}
    kinds = dict.fromkeys(endings, kind)
    short = write_recurrent(directory, tmp_path / "short.rbe", DELTA_NET, {}, rounded, kinds=kinds)
    whole = write_recurrent(directory, tmp_path / "whole.rbe", DELTA_NET, {}, rounded)
    np.testing.assert_array_equal(logits_of(short), logits_of(whole))
    assert not np.array_equal(logits_of(whole), logits_of(write_recurrent(directory, short, DELTA_NET)))


@pytest.mark.parametrize("rule", recurrent_models.RULES.values(), ids=recurrent_models.RULES)
def test_what_a_step_reads(directory: Path, tmp_path: Path, rule: recurrent_models.Recurrence) -> None:
    """A recurrence that is left out reads all but its gate and its last matrix."""
    path = write_recurrent(directory, tmp_path / "m.rbe", rule)
    rest = (0, 0, 0)
    with Model.open(path) as model:
        whole = model.read_bytes(Effort())
        without = model.read_bytes(Effort(attention=(SKIP, *rest), feed_forward=(0, *rest)))
        assert whole - without == 4 * 2 * rule.values * recurrent_models.WIDTH
        with model.session(profile=True) as session:
            session.prefill(TOKENS)
            calls = {entry.operation: entry.calls for entry in session.profile}
        steps = ("recurrence inputs", "recurrence convolution", "recurrence", "recurrence output")
        assert [calls[step] for step in steps] == [2, 2, 2, 2] and calls["attention"] == 2


def test_texts_are_not_encoded(directory: Path, tmp_path: Path) -> None:
    with Model.open(write_recurrent(directory, tmp_path / "m.rbe", STATE_SPACE)) as model:
        with pytest.raises(OptionError, match="of several shapes or kinds"), Encoder(model) as encoder:
            encoder.hidden([TOKENS])


def test_what_a_session_keeps(directory: Path, tmp_path: Path) -> None:
    """Two states and four checkpoints, however long the context is; `rbe fit` counts what a session takes."""
    rule = DELTA_NET
    path = write_recurrent(directory, tmp_path / "m.rbe", rule)
    state = 4 * (rule.values * rule.key_dim + (rule.taps - 1) * (2 * rule.keys + rule.values))
    with Model.open(path) as model, model.session(context=1024) as short, model.session(context=2048) as long:
        keys_and_values = 2 * 2 * 2 * 1024 * 2 * 16  # two layers, two heads of 16 values of 16 bits
        assert long.info.kv_bytes - short.info.kv_bytes == pytest.approx(keys_and_values, abs=4096)
        assert short.info.kv_bytes - keys_and_values == pytest.approx(2 * 6 * state, rel=0.05)
        assert estimate(path, Wish(SessionOptions(context=1024))).kv_bytes == short.info.kv_bytes
