"""The Python API over models that hold WordPiece or Unigram: the weights are another architecture's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import tiny_models
from tiny_models import MODELS
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack

PROSE = ["The battery of a small computer lasts longer. It's caf\u00e9, isn't it? \u6211\u60f3 <x> [y]"] * 9
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
T5 = ["<pad>", "</s>", "<unk>"]


def words() -> Tokenizer:
    reference = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    reference.normalizer = normalizers.BertNormalizer()
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    reference.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=BERT, show_progress=False)
    reference.train_from_iterator(PROSE, trainer)
    reference.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return reference


def unigram() -> Tokenizer:
    reference = Tokenizer(models.Unigram())
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="always")
    reference.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
    reference.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=100, special_tokens=T5, unk_token="<unk>", show_progress=False)
    reference.train_from_iterator(PROSE, trainer)
    reference.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return reference


@pytest.mark.parametrize("kind", ["words", "unigram"])
def test_model(tmp_path: Path, kind: str) -> None:
    reference = words() if kind == "words" else unigram()
    size = reference.get_vocab_size()
    end = 3 if kind == "words" else 1
    tiny = MODELS["llama"]
    config = {**tiny.config, "vocab_size": size, "bos_token_id": None, "eos_token_id": end, "pad_token_id": 0}
    directory = tiny_models.write(dataclasses.replace(tiny, config=config), tmp_path / "m")
    reference.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}), encoding="utf-8")
    report = pack(directory, tmp_path / "m.rbe", PackOptions(bits=16))
    with Model.open(report.path) as model:
        assert model.tokenizer_size == size
        for text in ("The computer's battery, isn't it?", "caf\u00e9 \u6211", "", "zzz", "  two   spaces "):
            expected = reference.encode(text).ids
            tokens = model.tokenize(text, special=True)
            assert tokens == expected
            assert model.tokenize(text, special=True, parse_special=True) == expected
            began = tokens if kind == "words" else [0, *tokens]
            assert model.detokenize(began) == reference.decode(expected)
        said = reference.id_to_token(end)
        growing = ""  # texts that come again are remembered
        for word in (
            "The battery of",
            "a small computer",
            "lasts longer, it's",
        ):
            growing += f"{word} {said} "
            for special in (True, False):
                ids = reference.encode(growing, add_special_tokens=special).ids
                assert model.tokenize(growing, special=special, parse_special=True) == ids
        token = model.tokenize("battery", special=False)[0]
        written = model.token_bytes(token)
        assert written.startswith(b" ") and model.token_id(written.decode()) == token
        assert model.token_bytes(1) == b"" and model.token_bytes(1, special=True).decode() == reference.id_to_token(1)
        assert model.token_id(str(reference.id_to_token(1))) == 1
