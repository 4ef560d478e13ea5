"""What is read of WordPiece and Unigram in tokenizer.json, and what is refused by its name."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers import (
    Algorithm,
    PreTokenizer,
    SpacePrefix,
    Tokenizer,
    TokenType,
    read_tokenizer,
    read_tokenizer_json,
    write_blob,
)
from rbe_edge.sources.tokenizers.normalization import Keys, Normalization, Step, StepKind, charsmap_step

BERT = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
# A map of no characters: an array of one unit, and no text.
EMPTY_MAP = base64.b64encode(b"\x04\0\0\0\0\0\0\0").decode()


def word_pieces(**changes: Any) -> dict[str, Any]:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "small", "##er", ".", "'s", "a"]
    return {
        "normalizer": BERT,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "added_tokens": [{"id": i, "content": names[i], "special": True, "normalized": False} for i in range(4)],
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {text: i for i, text in enumerate(names)}},
    } | changes


def unigram(**changes: Any) -> dict[str, Any]:
    pieces = [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["\u2581", -2.0], ["\u2581a", -3.5], ["b", -4.25]]
    return {
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": EMPTY_MAP},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, METASPACE]},
        "post_processor": None,
        "decoder": METASPACE,
        "added_tokens": [{"id": i, "content": pieces[i][0], "special": True, "normalized": False} for i in range(3)],
        "model": {"type": "Unigram", "unk_id": 2, "vocab": pieces, "byte_fallback": False},
    } | changes


def read(directory: Path, document: dict[str, Any], **files: Any) -> Tokenizer:
    for name, content in {"tokenizer": document, **files}.items():
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return read_tokenizer(directory)


def test_word_pieces(tmp_path: Path) -> None:
    tokenizer = read(
        tmp_path, word_pieces(), tokenizer_config={"pad_token": "[PAD]", "tokenizer_class": "BertTokenizer"}
    )
    assert tokenizer.algorithm is Algorithm.WORD_PIECES and tokenizer.pre_tokenizer is PreTokenizer.BERT
    assert tokenizer.tokens[4:] == (b" small", b"er", b".", b"'s", b" a")
    assert tokenizer.types[1] is TokenType.CONTROL and tokenizer.unknown == 1 and tokenizer.pad == 0
    assert tokenizer.continuing == {5} and tokenizer.longest_word == 100
    assert (tokenizer.before, tokenizer.after) == ((2,), (3,))
    kinds = [step.kind for step in tokenizer.normalization.steps]
    assert kinds == [StepKind.CLEAN, StepKind.SPACE_HAN, StepKind.NFD, StepKind.DROP_MARKS, StepKind.LOWER]


def test_accents_follow_lower_case(tmp_path: Path) -> None:
    for lower, accents, expected in (
        (True, None, True),
        (False, None, False),
        (False, True, True),
        (True, False, False),
    ):
        normalizer = {**BERT, "lowercase": lower, "strip_accents": accents}
        steps = read(tmp_path, word_pieces(normalizer=normalizer)).normalization.steps
        assert (Step(StepKind.DROP_MARKS) in steps) == expected
        assert (Step(StepKind.LOWER) in steps) == lower


def test_unigram(tmp_path: Path) -> None:
    tokenizer = read(tmp_path, unigram())
    assert tokenizer.algorithm is Algorithm.UNIGRAM and tokenizer.pre_tokenizer is PreTokenizer.WHITE_SPACE
    assert tokenizer.tokens[3:] == (b" ", b" a", b"b") and tokenizer.scores[3:] == (-2.0, -3.5, -4.25)
    assert tokenizer.unknown_score == -14.25 and tokenizer.unknown == 2
    assert tokenizer.space_prefix is SpacePrefix.FRAGMENT and tokenizer.prefix_unless_space
    assert tokenizer.normalization.steps == (charsmap_step(Keys.OF_CLUSTERS),)


def test_a_file_that_does_not_say_its_type(tmp_path: Path) -> None:
    for document, algorithm in ((word_pieces(), Algorithm.WORD_PIECES), (unigram(), Algorithm.UNIGRAM)):
        del document["model"]["type"]
        document["model"]["continuing_subword_prefix"] = "##"
        assert read(tmp_path, document).algorithm is algorithm


def test_scores_are_written_as_they_are(tmp_path: Path) -> None:
    """In 32 bits where these are enough, else in 64."""
    narrow = write_blob(read(tmp_path, unigram()))
    document = unigram()
    document["model"]["vocab"][5][1] = -4.1
    wide = write_blob(read(tmp_path, document))
    assert len(wide) == len(narrow) + 4 * 6


def test_whole_texts_are_cut_where_sums_are_exact(tmp_path: Path) -> None:
    document = unigram(pre_tokenizer={**METASPACE, "split": False})
    tokenizer = read(tmp_path, document)
    assert tokenizer.pre_tokenizer is PreTokenizer.SPACES and tokenizer.fuse_unknown
    document["model"]["vocab"][5][1] = -4.1
    assert read(tmp_path, document).pre_tokenizer is PreTokenizer.NONE
    document["model"]["vocab"][5] = ["a\u2581b", -4.0]
    assert read(tmp_path, document).pre_tokenizer is PreTokenizer.NONE, "a piece crosses the place before a space"


def test_tokens_beyond_the_rows_of_a_model(tmp_path: Path) -> None:
    for document in (word_pieces(), unigram()):
        tokenizer = read(tmp_path, document)
        assert write_blob(tokenizer.padded_to(99)) != write_blob(tokenizer)
        assert tokenizer.padded_to(99).scores[9:] in ((), (0.0,) * 90)


def replaced(**changes: Any) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": "a"}, "content": "b"} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalizer": {"type": "NFKC"}}, "the normalizer .*NFKC.* is not supported for Unigram and WordPiece; supp"),
        ({"normalizer": {"type": "Sequence", "normalizers": [BERT, {"type": "Nmt"}]}}, "the normalizer .*Nmt"),
        ({"normalizer": {"type": "Prepend", "prepend": "\u2581"}}, "the normalizer .*Prepend"),
        ({"normalizer": replaced(pattern={"Regex": "\\\\s+"})}, "the normalizer .*Replace"),
        ({"normalizer": replaced(pattern={"String": ""})}, "the normalizer .*Replace"),
        ({"normalizer": replaced(content="x" * 257)}, "puts 257 bytes; 256 are supported"),
        ({"normalizer": {"type": "Sequence", "normalizers": [replaced()] * 17}}, "a normalizer of 17 steps"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "!"}}, "no base64"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "precompiled_charsmap is damaged"),
        ({"pre_tokenizer": None}, "with WordPiece the pre-tokenizer None is not supported"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "with WordPiece the pre-tokenizer .*Whitespace"),
        ({"decoder": {"type": "WordPiece", "prefix": "@@"}}, "with WordPiece the decoder .*@@"),
        ({"decoder": {"type": "CTC"}}, "with WordPiece the decoder .*CTC"),
        ({"post_processor": {"type": "Other"}}, "post-processor Other"),
        ({"model": {"type": "WordPiece", "vocab": [["a", 0]]}}, "lacks `vocab`"),
        ({"model": {"type": "WordPiece", "vocab": {"a": 0}}}, "lacks the unknown token '\\[UNK\\]'"),
        (
            {"model": {"type": "WordPiece", "vocab": {"[UNK]": 0}, "continuing_subword_prefix": ""}},
            "WordPiece where ''",
        ),
        ({"added_tokens": [{"id": 10**9, "content": "<x>"}]}, "ids do not number"),
    ],
)
def test_word_pieces_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    check_refused(tmp_path, word_pieces(**changes), message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre_tokenizer": {"type": "WhitespaceSplit"}}, "with Unigram the pre-tokenizer .*WhitespaceSplit"),
        ({"pre_tokenizer": {**METASPACE, "replacement": "_"}}, "with Unigram the pre-tokenizer .*Metaspace"),
        ({"pre_tokenizer": {**METASPACE, "prepend_scheme": "last"}}, "with Unigram the pre-tokenizer .*last"),
        (
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [{"type": "WhitespaceSplit"}, {**METASPACE, "prepend_scheme": "first"}],
                }
            },
            "with Unigram the pre-tokenizer .*first",
        ),
        ({"decoder": {"type": "Replace", "pattern": {"String": "_"}, "content": " "}}, "with Unigram the decoder .*_"),
        ({"model": {"type": "Unigram", "vocab": []}}, "lacks `vocab`"),
        ({"model": {"type": "Unigram", "vocab": [["a", float("nan")]]}, "added_tokens": []}, "not a number"),
        ({"model": {"type": "Unigram", "vocab": [["a", 1e30]]}, "added_tokens": []}, "too large"),
        ({"model": {"type": "Unigram", "vocab": [["a"]]}}, "not built as a tokenizer.json"),
        ({"model": {"type": "Unigram", "unk_id": 77, "vocab": [["a", 0.0]]}, "added_tokens": []}, "unk_id is 77"),
    ],
)
def test_unigrams_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    check_refused(tmp_path, unigram(**changes), message)


def check_refused(directory: Path, document: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message) as caught:
        read(directory, document)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800


def test_what_the_blob_does_not_hold(tmp_path: Path) -> None:
    document = word_pieces()
    document["model"]["vocab"]["x" * 600] = 9
    with pytest.raises(TokenizerError, match="has 600 bytes; 512 are supported"):
        write_blob(read(tmp_path, document))
    document["model"]["vocab"].popitem()
    document["added_tokens"].append({"id": 9, "content": "y" * 513, "special": True})
    with pytest.raises(TokenizerError, match="has 513 bytes; 512 are supported"):
        write_blob(read(tmp_path, document))
    document["added_tokens"].pop()
    document["model"]["max_input_chars_per_word"] = 1 << 20
    with pytest.raises(TokenizerError, match="words of 1048576 characters"):
        write_blob(read(tmp_path, document))
    unit = (4).to_bytes(4, "little") + bytes(4)
    with pytest.raises(TokenizerError, match="puts 300 bytes for a character"):
        Normalization((charsmap_step(Keys.LONGEST),), unit + b"x" * 300 + b"\0")


def test_normalizing_single_texts() -> None:
    """What is looked for in normalized text is normalized as the text is."""
    steps = (
        Step(StepKind.REPLACE, old="``", new='"'),
        Step(StepKind.CLEAN),
        Step(StepKind.SPACE_HAN),
        Step(StepKind.NFD),
        Step(StepKind.DROP_MARKS, 1),
        Step(StepKind.NFC),
        Step(StepKind.LOWER),
        Step(StepKind.STRIP, 3),
        Step(StepKind.SQUEEZE, new="_"),
    )
    assert Normalization(steps).apply(" ``Caf\u00c9\t\u6211\u00ad  x\0 ") == '"cafe_\u6211_x'
    assert Normalization((Step(StepKind.STRIP, 1), Step(StepKind.LOWER))).apply(" \u0130 ") == "i\u0307 "


def test_roberta_is_byte_level(tmp_path: Path) -> None:
    """Its post-processor names what stands around a text."""
    characters = [chr(code) for code in range(0x21, 0x7F)]
    vocabulary = {text: i for i, text in enumerate(["<s>", "<pad>", "</s>", *characters])}
    document = {
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
        "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    (tmp_path / "t.json").write_text(json.dumps(document), encoding="utf-8")
    tokenizer = read_tokenizer_json(tmp_path / "t.json")
    assert (tokenizer.before, tokenizer.after) == ((0,), (2,))
