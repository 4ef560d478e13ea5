"""Vocabularies that do not fit the matrices of their model, ids that are none, and the ends of answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from gguf_models import gguf_tensors, vocabulary, write_gguf
from tiny_models import MODELS

from rbe_edge import Model
from rbe_edge.cli.main import main
from rbe_edge.errors import PackError
from rbe_edge.packing.pack import PackOptions, PackReport, pack
from rbe_edge.sources.tokenizers import TokenType, read_gguf, read_tokenizer

GEMMA = MODELS["gemma3"]
ENDOFTEXT, IM_START, IM_END, PAD = range(268, 272)

Added = Sequence[tuple[int, str, TokenType]]


def directory(path: Path, added: Added = (), rename: dict[int, str] | None = None, **files: Any) -> Path:
    """A tiny model with more added tokens, or with other names for its four, and with configuration files."""
    tiny_models.write(GEMMA, path)
    document = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    for index, text in (rename or {}).items():
        entry = next(entry for entry in document["added_tokens"] if entry["id"] == index)
        document["model"]["vocab"][text] = document["model"]["vocab"].pop(entry["content"])
        entry["content"] = text
    for index, text, kind in added:
        document["added_tokens"] = [entry for entry in document["added_tokens"] if entry["id"] != index]
        if kind in (TokenType.CONTROL, TokenType.USER_DEFINED):
            special = kind is TokenType.CONTROL
            document["added_tokens"].append({"id": index, "content": text, "special": special, "normalized": False})
        else:
            document["model"]["vocab"] = {t: i for t, i in document["model"]["vocab"].items() if i != index}
            document["model"]["vocab"][text] = index
    (path / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    for name, content in files.items():
        (path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return path


def gguf(path: Path, added: Added = (), rename: dict[int, str] | None = None, **changes: Any) -> Path:
    """The same as a GGUF file. changes: keys under `tokenizer.ggml.`, with _ for the first dot."""
    fields = vocabulary(GEMMA.config.get("pad_token_id"))
    texts, types = list(fields["tokenizer.ggml.tokens"]), list(fields["tokenizer.ggml.token_type"])
    for index, text in (rename or {}).items():
        texts[index] = text
    for index, text, kind in added:
        texts[index : index + 1], types[index : index + 1] = [text], [int(kind)]
    fields |= {"tokenizer.ggml.tokens": texts, "tokenizer.ggml.token_type": types}
    return write_gguf(GEMMA, path, changes=fields | {f"tokenizer.{key}": value for key, value in changes.items()})


def packed(source: Path) -> PackReport:
    return pack(source, source.parent / "out.rbe", PackOptions(bits=16, force=True))


def ends(source: Path) -> set[int]:
    with Model.open(packed(source).path) as model:
        return {token for token in range(model.info.vocabulary) if model.ends_text(token)}


SOURCES = pytest.mark.parametrize("write", [directory, gguf])


@SOURCES
@pytest.mark.parametrize("kind", [TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.NORMAL])
def test_tokens_beyond_the_rows_are_left_out(tmp_path: Path, write: Any, kind: TokenType) -> None:
    """As <image_soft_token>, 262144, of the text models of Gemma 3, whose matrices have 262144 rows."""
    report = packed(write(tmp_path / "m", [(272, "<image_soft_token>", kind), (273, "\x1b[2J<b>", kind)]))
    assert report.notes == (
        "the tokenizer has 274 tokens, the model rows for 272; left out: <image_soft_token>, [2J<b>",
    )
    with Model.open(report.path) as model:
        assert model.info.vocabulary == 272
        tokens = model.tokenize("the <image_soft_token>", parse_special=True)
        assert max(tokens) < 272
        assert model.detokenize(tokens) == "the <image_soft_token>"


@SOURCES
def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path, write: Any) -> None:
    more = [(272 + i, f"{'xyz'[i % 3]}{i}", TokenType.NORMAL) for i in range(5)]
    with pytest.raises(PackError, match="277 tokens but the model only 272; this is the tokenizer of another model"):
        packed(write(tmp_path / "m", more))
    many = [(272 + i, f"<unused{i}>", TokenType.CONTROL) for i in range(400)]
    (note,) = packed(write(tmp_path / "n", many)).notes
    assert note.endswith("left out: <unused0>, <unused1>, <unused2>, ...")


def test_what_the_left_out_tokens_were_for(tmp_path: Path) -> None:
    """Padding, BOS and EOS beyond the rows, and what the tokenizer puts around every text."""
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<|im_end|>"}
    source = directory(
        tmp_path / "m",
        [(272, "<pad>", TokenType.CONTROL), (273, "<bos>", TokenType.CONTROL)],
        tokenizer_config=names | {"add_bos_token": True},
        generation_config={"bos_token_id": 273, "pad_token_id": 272, "eos_token_id": [IM_END, 274]},
    )
    tokenizer = read_tokenizer(source, 272)
    assert (tokenizer.bos, tokenizer.pad, tokenizer.eos) == (268, 271, IM_END), "those of config.json"
    assert tokenizer.before == (268,) and tokenizer.ends_text == {268, IM_END}
    assert tokenizer.notes == (
        "the tokenizer has 274 tokens, the model rows for 272; left out: <pad>, <bos>",
        "bos_token_id is 273, but there are 272 tokens; left out",
        "pad_token_id is 272, but there are 272 tokens; left out",
        "eos_token_id is 274, but there are 272 tokens; left out",
    )
    whole = read_tokenizer(source)
    assert (whole.bos, whole.pad, whole.before) == (273, 272, (273,))
    fitted = whole.fitted_to(272)
    assert (fitted.bos, fitted.pad, fitted.before) == (None, None, ())
    assert fitted.notes[-1].endswith("left out: <pad>, <bos> (among them BOS and padding)")


@pytest.mark.parametrize("key", ["bos", "eos", "unknown", "padding", "eot", "eom"])
def test_ids_of_gguf_files_that_are_none(tmp_path: Path, key: str) -> None:
    for value, notes in (
        (272, (f"{key}_token_id is 272, but there are 272 tokens; left out",)),
        (4_000_000_000, (f"{key}_token_id is 4000000000, but there are 272 tokens; left out",)),
        (0xFFFFFFFF, ()),
        (-1, ()),
    ):
        report = packed(gguf(tmp_path / "m.gguf", **{f"ggml.{key}_token_id": value}))
        assert report.notes == notes
        tokenizer = read_gguf(tmp_path / "m.gguf")
        assert getattr(tokenizer, {"padding": "pad"}.get(key, key), None) is None


def test_matrices_of_gguf_files_with_fewer_rows(tmp_path: Path) -> None:
    weights = gguf_tensors(GEMMA)
    less = weights | {"token_embd.weight": np.ascontiguousarray(weights["token_embd.weight"][:270])}
    (note,) = packed(write_gguf(GEMMA, tmp_path / "m.gguf", tensors=less)).notes
    assert note.endswith("left out: <|im_end|>, <|pad|> (among them EOS and padding)")


def test_the_note_reaches_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = directory(tmp_path / "m", [(272, "<image_soft_token>", TokenType.CONTROL)])
    assert main(["pack", str(source), "-o", str(tmp_path / "a.rbe"), "--bits", "16"]) == 0
    assert (
        "rbe: the tokenizer has 273 tokens, the model rows for 272; left out: <image_soft_" in capsys.readouterr().err
    )
    assert main(["pack", str(source), "-o", str(tmp_path / "b.rbe"), "--bits", "16", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["notes"]) == 1


# ---- ends of answers ---------------------------------------------------------------------------------------------


@SOURCES
@pytest.mark.parametrize("kind", [TokenType.USER_DEFINED, TokenType.NORMAL])
@pytest.mark.parametrize("text", ["</s>", "<eos>", "<|end|>", "<end_of_turn>"])
def test_text_is_no_end_whatever_it_is_called(tmp_path: Path, write: Any, kind: TokenType, text: str) -> None:
    """As the HTML tag </s>, a user-defined token of Gemma."""
    source = write(tmp_path / "m", [(PAD, text, kind)])
    assert ends(source) == {ENDOFTEXT, IM_END}


def test_what_the_files_of_a_model_name(tmp_path: Path) -> None:
    """A control token is no end where others are named."""
    plain = {"chat_template": "{{ messages }}"}

    def found(**files: Any) -> set[int]:
        config = {**GEMMA.config, **files.pop("config", {})}
        return ends(
            directory(tmp_path / "m", rename={PAD: "</s>"}, config=config, **{"tokenizer_config": plain, **files})
        )

    assert found(config={"eos_token_id": 3}) == {3}
    assert found(config={"eos_token_id": [3, 4.0, None]}) == {3, 4}
    assert found(config={"eos_token_id": None}, generation_config={"eos_token_id": [5, 6]}) == {5, 6}
    assert found(config={"eos_token_id": 3}, generation_config={"eos_token_id": None}) == {3}
    assert found(config={"eos_token_id": None}, generation_config=[1]) == {ENDOFTEXT, IM_END, PAD}, (
        "only by their names"
    )
    assert found(config={"eos_token_id": None, "text_config": {"eos_token_id": 7}}) == {7}
    named = {"eos_token": {"content": "</s>"}, **plain}
    assert found(config={"eos_token_id": -1}, tokenizer_config=named) == {PAD}
    template = {"chat_template": "{{ messages }}<|im_end|>"}
    assert found(config={"eos_token_id": 3}, tokenizer_config=template) == {3, IM_END}, "the template names it"


def test_what_gguf_files_name(tmp_path: Path) -> None:
    """One end, and what llama.cpp finds by the names of control tokens."""
    ids = {"ggml.eos_token_id": 3, "ggml.eot_token_id": 4, "ggml.eom_token_id": 5}
    assert ends(gguf(tmp_path / "m.gguf", rename={PAD: "</s>"}, **ids)) == {3, 4, 5, ENDOFTEXT, IM_END, PAD}
    nameless = {ENDOFTEXT: "<a>", IM_END: "<b>"}
    assert ends(gguf(tmp_path / "m.gguf", rename=nameless, **ids)) == {3, 4, 5}
