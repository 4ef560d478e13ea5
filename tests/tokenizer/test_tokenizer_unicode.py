"""The generated Unicode tables against Python's own data, and normalization through the library."""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from native_tokenizer import NativeTokenizer
from tokenizer_samples import any_texts

from rbe_edge.sources.tokenizers import Algorithm, PreTokenizer, Tokenizer, TokenType
from rbe_edge.sources.tokenizers.blob import write_blob

REPOSITORY = Path(__file__).resolve().parents[2]
TABLES = REPOSITORY / "native/src/text/tokenizer/unicode_tables.c"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("unicode_tables", REPOSITORY / "tools/unicode_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(name: str) -> list[int]:
    body = re.search(rf"{name}\[\d+\] = \{{(.*?)\}};", TABLES.read_text(encoding="utf-8"), re.S)
    assert body is not None
    return [int(number) for number in body[1].split(",")]


def test_file_is_what_the_tool_writes(tool: ModuleType) -> None:
    """Where Python, or unicodedata2, has the version of the committed file."""
    committed = TABLES.read_text(encoding="utf-8")
    version = tool.unicodedata.unidata_version
    if f"Unicode {version};" not in committed:
        pytest.skip(f"the tables are of another version than Unicode {version}; `pip install unicodedata2==16.0.0`")
    assert tool.source() == committed


def test_classes(tool: ModuleType) -> None:
    """Characters seldom move between categories from version to version, so any version of Python will do."""
    index, blocks = table("rbe__class_index"), table("rbe__class_blocks")

    def found(code: int) -> int:
        at = index[code // tool.BLOCK] * tool.BLOCK + code % tool.BLOCK
        return blocks[at // 2] >> 4 * (at % 2) & 15

    known = [code for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    assert len(known) > 140_000
    assert [code for code in known if found(code) != tool.class_of(code)] == []


def rows(name: str, columns: int) -> list[tuple[int, ...]]:
    body = re.search(rf"{name}\[\d+\]\[\d\] = \{{(.*?)\}};", TABLES.read_text(encoding="utf-8"), re.S)
    assert body is not None
    numbers = [int(number, 0) for number in re.findall(r"0x[0-9a-f]+|\d+", body[1])]
    return [tuple(numbers[at : at + columns]) for at in range(0, len(numbers), columns)]


def test_marks_and_control_characters() -> None:
    for name, categories in (("rbe__nonspacing", ("Mn",)), ("rbe__controls", ("Cc", "Cf", "Co"))):
        found = {code for first, last in rows(name, 2) for code in range(first, last + 1)}
        known = [code for code in range(0x110000) if unicodedata.category(chr(code)) != "Cn"]
        wrong = [code for code in known if (code in found) != (unicodedata.category(chr(code)) in categories)]
        assert len(wrong) < 9, "a few, such as U+1734, became other marks in a newer version of Unicode than Python's"


def test_lower_case() -> None:
    found = {
        code: (code + added) % (1 << 32)
        for first, last, added, step in rows("rbe__lower", 4)
        for code in range(first, last + 1, step)
    }
    known = [code for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    assert [code for code in known if chr(code).lower() != chr(found.get(code, code)) and code != 0x130] == []
    assert len(found) > 1_400


@pytest.fixture(scope="module")
def normalizing() -> Iterator[NativeTokenizer]:
    tokens = tuple(bytes([byte]) for byte in range(256))
    types = (TokenType.NORMAL,) * 256
    tokenizer = Tokenizer(Algorithm.BYTE_PAIRS, tokens, types, PreTokenizer.NONE, nfc=True)
    with NativeTokenizer(write_blob(tokenizer)) as native:
        yield native


def check(native: NativeTokenizer, text: str) -> None:
    assert native.decode(native.encode(text)).decode("utf-8") == unicodedata.normalize("NFC", text)


def test_normalization_of_every_character(normalizing: NativeTokenizer) -> None:
    known = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    for start in range(0, len(known), 1000):
        characters = known[start : start + 1000]
        check(normalizing, "\n".join(characters))
        check(normalizing, "".join(unicodedata.normalize("NFD", character) for character in characters))
        check(normalizing, "".join(reversed(characters)))


@given(text=any_texts())
def test_normalization(normalizing: NativeTokenizer, text: str) -> None:
    known = "".join(character for character in text if unicodedata.category(character) != "Cn")
    check(normalizing, known)
    check(normalizing, unicodedata.normalize("NFD", known))


def test_long_runs_of_marks(normalizing: NativeTokenizer) -> None:
    """Marks that must be sorted, a hundred thousand of them after one letter."""
    count = 25_000
    text = "a" + "\u0323\u0301\u0327\u0345" * count
    expected = "\u1ea1" + "\u0327" * count + "\u0323" * (count - 1) + "\u0301" * count + "\u0345" * count
    assert normalizing.decode(normalizing.encode(text)).decode("utf-8") == expected
