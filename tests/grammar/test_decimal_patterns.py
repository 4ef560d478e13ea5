"""Pydantic's patterns of decimal numbers: what is made of them fits them."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from grammar_tools import Taker

pytest.importorskip("llguidance")

from rbe_edge.grammar.decimal_patterns import without_looking_ahead

HEAD = r"^(?!^[-+.]*$)[+-]?0*"
#: Of a Decimal alone; of max_digits and decimal_places 5 and 2, 5 and none, none and 2, 3 and 3, 2 and 3, 5 and 0.
PATTERNS = [
    r"\d*\.?\d*$",
    r"(?:\d{0,3}|(?=[\d.]{1,6}0*$)\d{0,3}\.\d{0,2}0*$)",
    r"(?:\d{0,5}|(?=[\d.]{1,6}0*$)\d*\.\d*0*$)",
    r"\d*\.?\d{0,2}0*$",
    r"(?:\d{0,0}|(?=[\d.]{1,4}0*$)\d{0,0}\.\d{0,3}0*$)",
    r"(?:\d{0,0}|(?=[\d.]{1,3}0*$)\d{0,0}\.\d{0,3}0*$)",
    r"(?:\d{0,5}|(?=[\d.]{1,6}0*$)\d{0,5}\.\d{0,0}0*$)",
]
TEXTS = [
    sign + whole + part
    for sign in ("", "+", "-")
    for whole in ("", "0", "7", "12", "345", "6789", "12345", "123456", "00")
    for part in ("", ".", ".0", ".5", ".12", ".123", ".1234", ".12345")
]


@pytest.mark.parametrize("rest", PATTERNS)
def test_what_fits_fits_theirs(rest: str) -> None:
    made = without_looking_ahead(HEAD + rest)
    assert "(?" not in made
    fitting = [text for text in TEXTS if re.search(made, text)]
    assert "0" in fitting and len(fitting) >= 3
    for text in fitting:
        assert re.fullmatch(HEAD + rest, text), text
        Decimal(text)


def test_numbers_of_each_size() -> None:
    five_and_two = without_looking_ahead(HEAD + PATTERNS[1])
    assert all(re.search(five_and_two, text) for text in ("123", "-123.45", "0.05", "+7.1"))
    assert not any(re.search(five_and_two, text) for text in ("1234", "1.234", ".5", "", "+", "1."))
    assert re.search(without_looking_ahead(HEAD + PATTERNS[2]), "123.45")


def test_in_a_schema() -> None:
    taker = Taker({"type": "string", "pattern": HEAD + PATTERNS[1]})
    assert taker.takes(json.dumps("12.34"))
    assert not any(taker.takes(json.dumps(text)) for text in ("12.345", "+", "1e5"))


def test_other_patterns_stay() -> None:
    for pattern in ("^a+$", HEAD, f"{HEAD}x", r"(?=a)b"):
        assert without_looking_ahead(pattern) == pattern
