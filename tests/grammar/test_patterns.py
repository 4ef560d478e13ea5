"""Patterns and formats: what they take, against Python's own reading of the same."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import uuid

import pytest
from grammar_tools import Taker
from hypothesis import given, settings
from hypothesis import strategies as st

from rbe_edge.grammar.formats import FORMATS
from rbe_edge.grammar.grammar import GrammarError
from rbe_edge.grammar.pattern import PatternError, rust_pattern
from rbe_edge.grammar.schema_error import SchemaError


def string_that_fits(pattern: str, **counts: int) -> Taker:
    return Taker({"type": "string", "pattern": pattern, **counts})


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


ATOMS = st.sampled_from(
    ["a", "b", "é", r"\d", r"\W", ".", "[ab]", "[^a]", r"[\d€-😀]", r"\n", r"\x22", r"\\", r"[^\s\S]", "[&b]", "[[]",
     r"[\]a]",
     r"\.", "-", "[a-]", "~", r"\[", "&", r"[\w-]", r"[^\W1]"]
)  # fmt: skip
TEXTS = st.text('ab1é"\\\n😀 -[]&.~', max_size=6)
COUNTS = st.sampled_from(["", "", "*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "{0}"])
PATTERNS = st.recursive(
    st.tuples(ATOMS, COUNTS).map("".join),
    lambda inner: (
        st.tuples(st.lists(inner, max_size=3).map("".join), inner, COUNTS).map(
            lambda part: f"({part[0]}|{part[1]}){part[2]}"
        )
        | st.lists(inner, max_size=3).map("".join)
    ),
    max_leaves=6,
)


@pytest.mark.filterwarnings("ignore:Possible nested set")
@settings(max_examples=300, deadline=None)
@given(
    PATTERNS, st.sampled_from(["{}", "^{}", "{}$", "^{}$", "^{}|b$", "(^{})", "(^a|{})$"]), st.lists(TEXTS, max_size=8)
)
def test_patterns_mean_what_they_mean_in_python(inner: str, anchors: str, texts: list[str]) -> None:
    """`$` is Python's `\\Z`; the classes are those of ASCII."""
    pattern = anchors.format(f"(?:{inner})")
    theirs = re.compile(re.sub(r"(?<!\\)\$", r"\\Z", pattern), re.ASCII)
    try:
        taker = string_that_fits(pattern)
    except GrammarError as error:
        assert "nsatisfiable" in str(error) or "lookarounds" in str(error)
        if "nsatisfiable" in str(error):
            assert not any(theirs.search(text) for text in texts)
        return
    for text in texts:
        assert taker.takes(quoted(text)) == bool(theirs.search(text)), text


@pytest.mark.filterwarnings("ignore:Possible nested set")
@settings(max_examples=60, deadline=None)
@given(PATTERNS, st.integers(0, 3), st.none() | st.integers(0, 4), st.text("ab1é\n", max_size=6))
def test_patterns_with_a_length(inner: str, low: int, more: int | None, text: str) -> None:
    high = {} if more is None else {"maxLength": low + more}
    theirs = re.compile(rf"\A(?:{inner})\Z", re.ASCII)
    fits = bool(theirs.search(text)) and low <= len(text) <= high.get("maxLength", len(text))
    try:
        taker = string_that_fits(f"^(?:{inner})$", minLength=low, **high)
    except GrammarError:
        assert not fits
        return
    assert taker.takes(quoted(text)) == fits


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[[]$", "[", "]"),
        ("^[a&&b]+$", "a&b", "c"),
        ("^[a~~b]+$", "~b", "d"),
        ("^.$", "x", "\u2028"),
        (r"^\S$", "x", "\ufeff"),
        (r"^\s+$", "\u2003\ufeff\n ", "\u200b"),
        (r"^a\/b$", "a/b", r"a\/b"),
        ("^{a}$", "{a}", "a"),
        ("^a{,3}$", "a{,3}", "aaa"),
        ("^x{2$", "x{2", "xx"),
        (r"^\cJ\0$", "\n\0", "J0"),
        (r"^\ud83d\ude00$", "😀", "😁"),
        (r"^\u{1F600}[\u{1F601}-\u{1F603}]$", "😀😂", "😀😀"),
        (r"^\p{Lu}\P{L}$", "É1", "éa"),
        (r"^[\p{L}\d_]+$", "é_1", "-"),
        ("^[^]$", "\n", ""),
        (r"^(?<year>\d{4})$", "2024", "24"),
        (r"^[\b]$", "\b", "b"),
        (r"^\$\d+(\.\d{2})?$", "$12.50", "12.50"),
        ("^#[0-9a-f]{6}$", "#00ff7f", "#00FF7F"),
        (" # no comment", "x # no comment", "x #no comment"),
    ],
)
def test_what_rust_reads_otherwise(pattern: str, good: str, bad: str) -> None:
    taker = string_that_fits(pattern)
    assert taker.takes(quoted(good)) and not taker.takes(quoted(bad))


@pytest.mark.parametrize(
    ("pattern", "example"),
    [
        ("say hello#", "say hello#"),
        ("^a+(bcd|e)?[x-z]{3}$", "axxx"),
        (r"(long|\d{2}\.)(yes|no)+", "00.no"),
        (r"x*[\w.]\s.", "0  "),
        ("(a{1000}){1000}", ""),
    ],
)
def test_examples(pattern: str, example: str) -> None:
    assert rust_pattern(pattern).example == example


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("(?=a)", "looking"), ("(?<!a)b", "looking"), (r"(a)\1", r"\\1"), (r"\bword", r"\\b"), (r"\p", r"\\p"),
        ("a**", "repeat"), ("+", "repeat"), ("(*a)", "repeat"), ("(a", "without its"), ("a)", "without its"), ("[a",
         "early"),
        ("a{3,1}", "counts"), ("a{9999999999}", "counts"), ("[]", "no character"), ("(?i)a", "looking"),
        ("[z-a]", "range"), (r"[\d-x]", "range"), (r"\ud800", "surrogate"), (r"\u12", "digits"), (r"\u{110000}",
         "character"),
        ("(?<name", "early"), ("a" * 5001, "longer"), ("(" * 60 + ")" * 60, "deep"), ("\\", "early"), (r"\c1",
         "letter"),
        (r"\00", "digits"), (r"\p{L&&}", "written"), (r"\Z", r"\\Z"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(pattern: str, named: str) -> None:
    with pytest.raises(PatternError, match=named) as caught:
        rust_pattern(pattern)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["a^b", "a$b", "(a$)b", "a(^b)", "a(|^b)", r"a\|^b", "(a$|b)c"])
def test_anchors_within_are_refused(pattern: str) -> None:
    with pytest.raises((SchemaError, GrammarError)) as caught:
        string_that_fits(pattern)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|b)*a(a|b){900}", "(a?){1000}", "((a?b?){0,30}){0,30}", "((((a{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}",
        "foo.{500}bar", "^(.*a.*){12}$", "([a-z]?){1000}", "(a+)+$", "(x+x+)+y", "(a|aa)+$", "(.*)*(.*)*(.*)*z",
        "^(([a-z])+.)+[A-Z]([a-z])+$",
    ],
)  # fmt: skip
def test_what_makes_other_engines_hang(pattern: str) -> None:
    """No time is measured: what takes too long runs out of memory, or of the runner's patience."""
    try:
        taker = string_that_fits(pattern)
    except (SchemaError, GrammarError):
        return
    for text in ("a" * 500, "x" * 500, "ab" * 250 + "Z"):
        taker.takes(quoted(text))


def test_dates() -> None:
    date = Taker({"type": "string", "format": "date"})
    for year in (1, 4, 99, 400, 1600, 1900, 1999, 2000, 2023, 2024, 2100, 9999):
        for month in range(0, 14):
            for day in (0, 1, 9, 28, 29, 30, 31, 32):
                text = f"{year:04}-{month:02}-{day:02}"
                try:
                    datetime.date.fromisoformat(text)
                    exists = True
                except ValueError:
                    exists = False
                assert date.takes(quoted(text)) == exists, text
    assert not date.takes('"0000-01-01"') and not date.takes('"2024-1-1"') and not date.takes('" 2024-01-01"')


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("time", ["00:00:00Z", "23:59:59.123456+14:00"], ["24:00:00Z", "12:60:00Z", "12:00:00", "12:00Z"]),
        ("date-time", ["2024-02-29T12:00:00Z"], ["2023-02-29T12:00:00Z", "2024-02-29 12:00:00Z", "2024-02-29"]),
        ("uuid", [str(uuid.UUID(int=2**127 + 5))], ["12345678-1234-1234-1234-12345678901", "x" * 36]),
        ("uuid4", ["12345678-1234-4234-9234-123456789012"], ["12345678-1234-1234-9234-123456789012"]),
        ("email", ["a@b.co", "first.last+tag@mail.example.org"], ["a", "@b.co", "a@b", "a..b@c.de", "a@-b.de"]),
        ("hostname", ["example.org", "a-b.c.de"], ["-a.de", "a-.de", "a..de", "a.de."]),
        ("uri", ["https://example.org/a?b=c", "ftp://a.example.org:21"], ["example.org", "http://", "http://a b.de"]),
        ("ipv6", [ipaddress.IPv6Address(2**100 + 7).exploded, "0:0:0:0:0:0:0:1"], ["::1", "1:2:3:4:5:6:7:8:9"]),
        ("duration", ["P3D", "P1DT2H30M", "PT5S", "P2W"], ["P", "PT", "3D", "P1DT", "P1.5D", "PT1H2S"]),
        ("ipv4", ["0.0.0.0", "255.249.99.9", str(ipaddress.IPv4Address(2**31))], ["256.0.0.1", "1.2.3", "01.2.3.4"]),
        ("json-pointer", ["", "/a/0", "/a~1b"], ["a", "/~2"]),
        ("relative-json-pointer", ["0", "1/a", "2#"], ["01", "-1"]),
        ("regex", ["^a+b?$", "x"], ["(", "a{2,1}", "++"]),
        ("base64", ["", "QUI=", "QUJD"], ["Q", "QUJDQ==="]),
        ("json-string", ["true", '"ab"', "-3"], ["", "tru", "01"]),
        ("made-up", ["anything", ""], []),
    ],
)
def test_formats(name: str, good: list[str], bad: list[str]) -> None:
    taker = Taker({"type": "string", "format": name})
    assert [taker.takes(quoted(text)) for text in good] == [True] * len(good)
    assert [taker.takes(quoted(text)) for text in bad] == [False] * len(bad)


def test_a_format_beside_a_pattern() -> None:
    taker = Taker({"type": ["string", "null"], "format": "date", "pattern": "^2024", "maxLength": 10})
    assert taker.takes('"2024-02-29"') and taker.takes("null")
    assert not taker.takes('"2023-02-28"') and not taker.takes('"2024"')


def test_every_format_can_be_written() -> None:
    for name in FORMATS:
        Taker({"type": "string", "format": name, "maxLength": 80})
