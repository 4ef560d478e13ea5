"""Files of encoders whose metadata, parts and tensors contradict one another: each gives one line."""

from __future__ import annotations

from pathlib import Path

import encoder_files as files
import numpy as np
import pytest
from encoder_files import PART, Shape

from rbe_edge.errors import ModelError
from rbe_edge.runtime.model import Model

CLASSES = {"pooling": "cls", "pooled": ((32, "tanh"), (3, "none")), "kind": "classes", "head": "none"}


@pytest.mark.parametrize(
    ("shape", "changes", "parts", "message"),
    [
        (Shape(), {}, (), "lacks the part `encoder`"),
        (Shape(direction="causal", norm_place="pre", segments=0, embedding_norm=False, head=None), {}, (PART,),
         "has the part `encoder`, and its metadata say nothing"),
        (Shape(), {"attention.direction": "sideways"}, (PART,), "attention.direction"),
        (Shape(), {"segments": 3}, (PART,), "tensor `segments` is 2 x 32"),
        (Shape(), {"segments": 256}, (PART,), "metadata `segments`"),
        (Shape(), {"head.kind": None}, (PART,), "before the head of words"),
        (Shape(), {"pooled.layers": 1, "pooled.activations": "tanh"}, (PART,), "`pooling` is missing"),
        (Shape(pooling="cls"), {"pooled.layers": 2**60}, (PART,), "pooled.layers"),
        (Shape(pooling="cls"), {"pooled.layers": 1, "pooled.activations": "tanh"}, (PART,), "`pooled.0` is missing"),
        (Shape(**CLASSES), {"pooled.activations": "tanh"}, (PART,), "pooled.activations"),
        (Shape(**CLASSES), {"pooled.activations": "tanh  none"}, (PART,), "pooled.activations"),
        (Shape(**CLASSES), {"pooled.activations": "tanh none "}, (PART,), "pooled.activations"),
        (Shape(**CLASSES), {"pooled.activations": "tanh swish"}, (PART,), "pooled.activations"),
        (Shape(**CLASSES), {"pooled.activations": None}, (PART,), "pooled.activations"),
        (Shape(**CLASSES), {"labels": "one\ntwo"}, (PART,), "labels"),
        (Shape(**CLASSES), {"pooled.normalize": 2}, (PART,), "pooled.normalize"),
        (Shape(**CLASSES), {"feed_forward.activation": "tanh"}, (PART,), "feed_forward.activation"),
    ],
)  # fmt: skip
def test_files_that_contradict_themselves(
    tmp_path: Path, shape: Shape, changes: dict[str, object], parts: tuple[object, ...], message: str
) -> None:
    files.write(tmp_path / "wrong.rbe", shape, changes=changes, parts=parts)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message):
        Model.open(tmp_path / "wrong.rbe")


def test_a_part_that_is_not_required_does_not_count(tmp_path: Path) -> None:
    optional = files.Part("encoder", 1, b"")
    files.write(tmp_path / "wrong.rbe", Shape(), parts=(optional,))
    with pytest.raises(ModelError, match="lacks the part `encoder`"):
        Model.open(tmp_path / "wrong.rbe")


@pytest.mark.parametrize("name", ["pooled.1", "embedding.norm", "head.norm.bias", "layers.0.attention.stream_norm"])
def test_wrong_shapes_are_refused(tmp_path: Path, name: str) -> None:
    shape = Shape(pooling="cls", pooled=((32, "tanh"), (3, "none")))
    tensors = files.random_tensors(shape)
    tensors[name] = np.zeros((len(tensors[name]), tensors[name].shape[1] + 1), np.float32)
    files.write(tmp_path / "wrong.rbe", shape, tensors=tensors)
    with pytest.raises(ModelError, match=f"tensor `{name}` is"):
        Model.open(tmp_path / "wrong.rbe")


def test_prompts_that_are_none(tmp_path: Path) -> None:
    for wrong in ("{", "[]", '{"a": 1}'):
        files.write(tmp_path / "wrong.rbe", Shape(), changes={"embedding.prompts": wrong})
        with Model.open(tmp_path / "wrong.rbe") as model, pytest.raises(ModelError, match=r"embedding\.prompts"):
            _ = model.encoder_info
