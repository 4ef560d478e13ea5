"""WordPiece and Unigram: equality with the package tokenizers, on published files and on small ones trained here."""

from __future__ import annotations

import base64
import io
import itertools
import json
import random
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from native_tokenizer import NativeStream, NativeTokenizer
from tokenizer_samples import corpora, differing, long_known, random_texts
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers import read_tokenizer, read_tokenizer_json, write_blob
from rbe_edge.sources.tokenizers.sentencepiece_model import CHARSMAP, NORMALIZER, _fields, _texts

PROSE = [
    "The battery of a small computer lasts longer when the model is small. It's 42 degrees; we'll see, I'd say!  ",
    "In 2024 there were 33 333 of them...\n\n\tdef main(x):\n        return x + 1  # don't\r\n",
    "\u041d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438. ",
    "\u6211\u60f3\u5728\u5de5\u4f5c \U0001f999 caf\u00e9 na\u00efve \u00bd \u00b2 \uac00\uac01 \u0e01\u0e33",
]

# Where characters join others: marks of 2 and 3 bytes, letters that the map of characters changes, what comes before a
# cluster, the ends of lines.
CLUSTERS = [
    *("\u00aa \u00b2 \u00bd \u00e9 \u00c5 e a \u2460 \ufb01 \uff21 \uff76 \uff9e \u2122 \u3042 \uac00".split(" ")),
    *("\u0301 \u0323 \u0344 \u3099 \u200d \ufe0f \u0e33 \u0903 \u200c \u1161 \u11a8 \U0001f3fb".split(" ")),
    *("\r \n \t \u0600 \u00ad \u200b \ufeff \u2028 \u3000 \u2581 \u0001".split(" ")),
    "\r\n",
    "  ",
    " ",
]


def texts(count: int = 2_000) -> list[str]:
    source = random.Random(6)
    clusters = ["".join(source.choice(CLUSTERS) for _ in range(source.randrange(1, 9))) for _ in range(count)]
    return [*PROSE, "", *clusters, *random_texts(count, seed=3)]


def differences(reference: Tokenizer, native: NativeTokenizer, samples: list[str]) -> list[str]:
    reference.no_truncation()
    reference.no_padding()
    wrong = []
    for special in (False, True):
        expected = [encoding.ids for encoding in reference.encode_batch(samples, add_special_tokens=special)]
        found = [native.encode(text, parse_special=True, special_prefix=special) for text in samples]
        wrong += differing(samples, expected, found)
    return wrong


def marked(text: str) -> bytes:
    return b"".join(b"\xff" + character.encode() for character in text)


def decoded(native: NativeTokenizer, tokens: list[int]) -> str:
    stream = NativeStream(native)
    return "".join([*map(stream.push, tokens), stream.finish()])


# ---- published tokenizers ------------------------------------------------------------------------------------------


def known_to_tokenizers(text: str) -> bool:
    """package tokenizers takes away the marks, and apart the punctuation, of Unicode 8; some characters have moved."""
    old = unicodedata.ucd_3_2_0
    return long_known(text) and all(old.category(character) == unicodedata.category(character) for character in text)


def test_t5(data_dir: Path) -> None:
    path = data_dir / "tokenizers/t5/tokenizer.json"
    reference = Tokenizer.from_file(str(path))
    samples = [*texts(4_000), *corpora(data_dir, limit=300_000).values()]
    with NativeTokenizer(write_blob(read_tokenizer_json(path))) as native:
        assert not differences(reference, native, samples)
        wanted = [native.encode(text, parse_special=True) for text in samples]
        assert not differing(samples, wanted, [native.encode(marked(text), marked=True) for text in samples])
        for text in samples[:2_000]:
            ids = native.encode(text, special_prefix=True)
            assert decoded(native, [0, *ids]) == reference.decode(ids), "a text of the decoder begins with padding"


def test_minilm(data_dir: Path, minilm: Path) -> None:
    reference = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    samples = [text for text in texts(4_000) if known_to_tokenizers(text)]
    assert len(samples) > 3_000
    samples += corpora(data_dir, limit=300_000).values()
    with NativeTokenizer(write_blob(read_tokenizer(minilm))) as native:
        assert not differences(reference, native, samples)
        for text in samples[:2_000]:
            ids = native.encode(text, special_prefix=True)
            assert decoded(native, ids) == reference.decode(ids)


# ---- WordPiece -------------------------------------------------------------------------------------------------------

BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEMPLATE = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)


def word_pieces(normalizer: Any, **options: Any) -> Tokenizer:
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=BERT_SPECIAL, show_progress=False)
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizer
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained.train_from_iterator(PROSE * 3, trainer)
    vocabulary = trained.get_vocab()
    reference = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", **options))
    reference.normalizer = normalizer
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    reference.post_processor = TEMPLATE
    reference.decoder = decoders.WordPiece()
    reference.add_special_tokens(BERT_SPECIAL)
    return reference


BERT_OPTIONS = list(itertools.product([True, False], [True, False], [None, True, False], [True, False]))


@pytest.mark.parametrize("options", BERT_OPTIONS, ids=str)
def test_bert_normalizers(tmp_path: Path, options: tuple[bool, bool, bool | None, bool]) -> None:
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    reference = word_pieces(normalizers.BertNormalizer(**dict(zip(names, options, strict=True))))
    reference.save(str(tmp_path / "tokenizer.json"))
    samples = [text for text in texts() if known_to_tokenizers(text)]
    with NativeTokenizer(write_blob(read_tokenizer_json(tmp_path / "tokenizer.json"))) as native:
        assert not differences(reference, native, samples)


NORMALIZERS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "as in the quick tour": lambda: normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    ),
    "NFC, stripped": lambda: normalizers.Sequence([normalizers.NFC(), normalizers.Strip()]),
    "left": lambda: normalizers.Strip(left=True, right=False),
    "replaced": lambda: normalizers.Sequence(
        [normalizers.Replace("``", '"'), normalizers.Replace("e", "oo"), normalizers.Replace("oooo", "")]
    ),
}


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("longest", [3, 100])
def test_other_normalizers(tmp_path: Path, name: str, longest: int) -> None:
    reference = word_pieces(NORMALIZERS[name](), max_input_chars_per_word=longest)
    reference.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    reference.save(str(tmp_path / "tokenizer.json"))
    samples = [text for text in texts() if known_to_tokenizers(text)]
    with NativeTokenizer(write_blob(read_tokenizer_json(tmp_path / "tokenizer.json"))) as native:
        assert not differences(reference, native, samples)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"tokenizer_class": "BertTokenizer", "do_lower_case": False},
        {"tokenizer_class": "BertTokenizerFast", "strip_accents": False},
        {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
        {"tokenizer_class": "PreTrainedTokenizerFast"},
    ],
    ids=str,
)
def test_the_configuration_of_bert_counts(tmp_path: Path, config: dict[str, Any]) -> None:
    """transformers builds the tokenizer of BERT again from its configuration, which may differ from tokenizer.json."""
    transformers = pytest.importorskip("transformers")
    reference = word_pieces(normalizers.BertNormalizer(lowercase=False))
    reference.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    check_transformers(transformers, tmp_path)


def check_transformers(transformers: Any, directory: Path) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(str(directory))
    samples = [text for text in [*texts(300), "a [MASK] B[SEP]"] if known_to_tokenizers(text)]
    with NativeTokenizer(write_blob(read_tokenizer(directory))) as native:
        found = [native.encode(text, special_prefix=True, parse_special=True) for text in samples]
    assert not differing(samples, [list(theirs(text).input_ids) for text in samples], found)


@pytest.mark.parametrize("config", [{}, {"do_lower_case": False}], ids=str)
def test_a_vocabulary_of_lines(tmp_path: Path, config: dict[str, Any]) -> None:
    """As the first BERTs were published: vocab.txt alone."""
    transformers = pytest.importorskip("transformers")
    vocabulary = word_pieces(normalizers.BertNormalizer(lowercase=False)).get_vocab()
    lines = sorted(vocabulary, key=vocabulary.__getitem__)
    (tmp_path / "vocab.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    check_transformers(transformers, tmp_path)
    assert read_tokenizer(tmp_path).size == len(lines)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}), encoding="utf-8")
    with pytest.raises(TokenizerError, match="that this is the vocabulary of a BERT"):
        read_tokenizer(tmp_path)


def test_words_as_they_are_decoded(tmp_path: Path) -> None:
    """Before punctuation the decoder takes the space away, where it cleans up."""
    text = "The model, don't it? It's the battery ... of a small computer!"
    for cleanup in (True, False):
        reference = word_pieces(normalizers.BertNormalizer())
        reference.decoder = decoders.WordPiece(cleanup=cleanup)
        reference.save(str(tmp_path / "tokenizer.json"))
        with NativeTokenizer(write_blob(read_tokenizer_json(tmp_path / "tokenizer.json"))) as native:
            ids = native.encode(text, special_prefix=True)
            assert decoded(native, ids) == reference.decode(ids)
            assert decoded(native, ids).startswith("the model," if cleanup else "the model ,")


# ---- Unigram ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def charsmap() -> str:
    """SentencePiece's own map of characters, nmt_nfkc, as base64: every model that it trains holds it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(PROSE * 9), model_writer=model, vocab_size=150, hard_vocab_limit=False, minloglevel=2
    )
    normalizer = next(value for field, value in _fields(model.getvalue()) if field == NORMALIZER)
    return base64.b64encode(_texts(normalizer)[CHARSMAP]).decode()


UNIGRAM_NORMALIZERS: dict[str, Callable[[str], Any]] = {
    "none": lambda charsmap: None,
    "T5": lambda charsmap: normalizers.Precompiled(base64.b64decode(charsmap)),
    "mT5": lambda charsmap: normalizers.Sequence(
        [
            normalizers.Precompiled(base64.b64decode(charsmap)),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), "\u2581"),
        ]
    ),
    "XLNet": lambda charsmap: normalizers.Sequence(
        [
            normalizers.Replace("``", '"'),
            normalizers.Replace("''", '"'),
            normalizers.NFD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Precompiled(base64.b64decode(charsmap)),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    ),
}


def metaspace(scheme: str, *, split: bool = True) -> Any:
    return pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme=scheme, split=split)


UNIGRAM_CUTS: dict[str, Callable[[], Any]] = {
    "words, always": lambda: pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace("always")]),
    "words, never": lambda: pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace("never")]),
    "spaces, always": lambda: metaspace("always"),
    "spaces, first": lambda: metaspace("first"),
    "spaces, never": lambda: metaspace("never"),
    "whole, always": lambda: metaspace("always", split=False),
    "whole, first": lambda: metaspace("first", split=False),
    "nothing": lambda: None,
}


def unigram(normalizer: Any, cut: Any, *, byte_fallback: bool = False) -> Tokenizer:
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizer
    trained.pre_tokenizer = cut if cut is not None else metaspace("always")
    special = ["<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(
        PROSE * 9,
        trainers.UnigramTrainer(vocab_size=160, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    vocabulary = json.loads(trained.to_str())["model"]["vocab"]
    if byte_fallback:
        if "\u2581" not in dict(vocabulary):
            vocabulary.append(["\u2581", -9.0])
        vocabulary += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
    reference = Tokenizer(models.Unigram([tuple(entry) for entry in vocabulary], 2, byte_fallback))
    reference.normalizer = normalizer
    reference.pre_tokenizer = cut
    reference.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    reference.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    reference.add_special_tokens(special)
    return reference


@pytest.mark.parametrize("cut", UNIGRAM_CUTS)
@pytest.mark.parametrize("name", UNIGRAM_NORMALIZERS)
def test_trained_unigram(tmp_path: Path, charsmap: str, name: str, cut: str) -> None:
    for byte_fallback in (False, True):
        reference = unigram(UNIGRAM_NORMALIZERS[name](charsmap), UNIGRAM_CUTS[cut](), byte_fallback=byte_fallback)
        reference.save(str(tmp_path / "tokenizer.json"))
        samples = texts(1_000)
        if name == "XLNet":
            samples = [text for text in samples if known_to_tokenizers(text)]
            # With `first`, package tokenizers puts no space before a text whose first character StripAccents removes.
            samples = [text for text in samples if "first" not in cut or text[:1].isalnum()]
        with NativeTokenizer(write_blob(read_tokenizer_json(tmp_path / "tokenizer.json"))) as native:
            assert not differences(reference, native, samples)


# ---- added tokens ----------------------------------------------------------------------------------------------------

NAMES = ["<mask>", "[X]", "<extra_id_0>", "Caf\u00e9", "the", "\uff21\u2460", "  ", "\u2581x", "HELLO", "a b", "_x"]
BETWEEN = [" ", "  ", "\n", "\u3000", "\u2581", "x", "_", "7", ".", "caf\u00e9", "hello", "the", "A1", "\u0301"]


def with_tokens(base: dict[str, Any], source: random.Random, size: int) -> tuple[dict[str, Any], list[str]]:
    document: dict[str, Any] = json.loads(json.dumps(base))
    contents = source.sample(NAMES, source.randrange(1, 5))
    listed = document["model"]["vocab"]
    known = {text: index for index, (text, _) in enumerate(listed)} if isinstance(listed, list) else listed
    for content in contents:
        flags = {flag: source.random() < 0.3 for flag in ("single_word", "lstrip", "rstrip", "normalized")}
        special = content not in known and source.random() < 0.4  # text never becomes a control token here
        entry = {"id": known.get(content, size), "content": content, "special": special, **flags}
        document["added_tokens"].append(entry)
        size += content not in known
    return document, contents


def bases(charsmap: str) -> Iterator[Tokenizer]:
    yield word_pieces(normalizers.BertNormalizer())
    yield word_pieces(normalizers.BertNormalizer(lowercase=False))
    for cut in ("words, always", "spaces, always", "spaces, first", "whole, always", "nothing"):
        yield unigram(UNIGRAM_NORMALIZERS["T5"](charsmap), UNIGRAM_CUTS[cut]())


def test_random_added_tokens(tmp_path: Path, charsmap: str) -> None:
    source = random.Random(8)
    path = tmp_path / "tokenizer.json"
    wrong = []
    for base in bases(charsmap):
        for _ in range(25):
            document, names = with_tokens(json.loads(base.to_str()), source, base.get_vocab_size())
            path.write_text(json.dumps(document), encoding="utf-8")
            reference = Tokenizer.from_file(str(path))
            with NativeTokenizer(write_blob(read_tokenizer_json(path))) as native:
                for _ in range(40):
                    text = "".join(source.choice(names * 3 + BETWEEN) for _ in range(source.randrange(1, 7)))
                    try:
                        expected = reference.encode(text, add_special_tokens=False).ids
                    except BaseException as error:  # a panic: one token strips what another strips to its left
                        assert "bad split" in str(error)
                        continue
                    found = native.encode(text, parse_special=True)
                    if found != expected:
                        wrong.append(f"{text!a}: expected {expected}, found {found}, {document['added_tokens'][-5:]}")
    assert not wrong, wrong[:3]


def test_normalized_control_tokens_are_not_found_in_marked_text(tmp_path: Path) -> None:
    """Normalization moves every byte: what a template has marked is not known behind it."""
    document = json.loads(word_pieces(normalizers.BertNormalizer()).to_str())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True}
    size = len(document["model"]["vocab"])
    document["added_tokens"].append({"id": size, "content": "[END]", "special": True, **flags})
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    with NativeTokenizer(write_blob(read_tokenizer_json(tmp_path / "tokenizer.json"))) as native:
        assert native.encode("[end]", parse_special=True) == [size]
        assert size not in native.encode(marked("[END]"), marked=True)
        assert native.encode(marked("[SEP]"), marked=True) == [3]
