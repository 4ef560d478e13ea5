"""Patterns, formats and bounds: what they take, against Python's own reading of the same."""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
import uuid
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rbe_edge.grammar import grammar
from rbe_edge.grammar.automaton import DEAD, Automaton
from rbe_edge.grammar.characters import EVERY, complement, union, written
from rbe_edge.grammar.formats import FORMATS
from rbe_edge.grammar.grammar import Node
from rbe_edge.grammar.number_range import number_between
from rbe_edge.grammar.pattern import PatternError, string_that_fits


def takes(root: Node | Automaton, text: str) -> bool:
    automaton = root if isinstance(root, Automaton) else Automaton(grammar.measure(root))
    state = automaton.run(automaton.start, text.encode())
    return state != DEAD and automaton.accepts(state)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


ATOMS = st.sampled_from(
    ["a", "b", "é", r"\d", r"\W", ".", "[ab]", "[^a]", r"[\d€-😀]", r"\n", r"\x22", r"\\", r"[^\s\S]"]
)
TEXTS = st.text('ab1é"\\\n😀 ', max_size=6)
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


@settings(max_examples=300, deadline=None)
@given(PATTERNS, st.sampled_from(["{}", "^{}", "{}$", "^{}$"]), st.lists(TEXTS, max_size=8))
def test_patterns_mean_what_they_mean_in_python(inner: str, anchors: str, texts: list[str]) -> None:
    """`$` is Python's `\\Z`; the classes are those of ASCII."""
    pattern = anchors.format(f"(?:{inner})")
    theirs = re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern, re.ASCII)
    try:
        automaton = Automaton(grammar.measure(string_that_fits(pattern)))
    except (PatternError, grammar.GrammarError) as error:
        assert "no text" in str(error)
        assert not any(theirs.search(text) for text in texts)
        return
    for text in texts:
        assert takes(automaton, quoted(text)) == bool(theirs.search(text)), text
    shortest = json.loads(automaton.ending(automaton.start, 1000))
    assert theirs.search(shortest)


@settings(max_examples=60, deadline=None)
@given(PATTERNS, st.integers(0, 3), st.none() | st.integers(0, 4), st.text("ab1é\n", max_size=6))
def test_patterns_with_a_length(inner: str, low: int, more: int | None, text: str) -> None:
    high = None if more is None else low + more
    theirs = re.compile(rf"\A(?:{inner})\Z", re.ASCII)
    fits = bool(theirs.search(text)) and low <= len(text) <= (len(text) if high is None else high)
    try:
        root = grammar.measure(string_that_fits(f"^(?:{inner})$", low, high))
    except (PatternError, grammar.GrammarError):
        assert not fits
        return
    assert takes(root, quoted(text)) == fits


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("(?=a)", "looking"), ("(?<!a)b", "looking"), (r"(a)\1", r"\\1"), (r"\bword", r"\\b"), (r"\p{L}", r"\\p"),
        ("a**", "repeat"), ("+", "repeat"), ("(a", "without its"), ("a)", "without its"), ("[a", "early"),
        ("a{3,1}", "counts"), ("a{,3}", "count"), ("a{9999999999}", "count"), ("a^b", "ends"), ("(a$)b", "ends"),
        ("a$b", "ends"), ("[z-a]", "range"), (r"[\d-x]", "range"), (r"\ud800", "surrogate"), (r"\u12", "digits"),
        ("(?<name", "early"), ("a" * 1001, "longer"), ("(" * 60 + ")" * 60, "deep"), ("\\", "early"),
        ("".join(map(chr, range(200, 800, 2))), "kinds"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(pattern: str, named: str) -> None:
    with pytest.raises(PatternError, match=named) as caught:
        string_that_fits(pattern)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|b)*a(a|b){900}", "(a?){1000}", "((a?b?){0,30}){0,30}", "((((a{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}",
        "foo.{500}bar", "^(.*a.*){12}$", "([a-z]?){1000}",
    ],
)  # fmt: skip
def test_what_would_explode_is_refused_at_once(pattern: str) -> None:
    """No time is measured: what is not refused early runs out of memory, or of the runner's patience."""
    try:
        root = grammar.measure(string_that_fits(pattern))
    except PatternError:
        return
    assert takes(root, quoted("a" * 12))  # else it is small after all


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(x+x+)+y", "(a|aa)+$", "(.*)*(.*)*(.*)*z", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_what_makes_other_engines_hang(pattern: str) -> None:
    automaton = Automaton(grammar.measure(string_that_fits(pattern)))
    for text in ("a" * 3000, "x" * 3000, "ab" * 1500 + "Z"):
        takes(automaton, quoted(text))
    assert len(automaton._stacks) < 200


RANGES = st.tuples(st.integers(0, 0x10FFFF), st.integers(0, 3000)).map(lambda pair: (pair[0], min(sum(pair), 0x10FFFF)))


@settings(max_examples=100, deadline=None)
@given(st.lists(RANGES, min_size=1, max_size=4), st.lists(st.characters(codec="utf-8"), max_size=5))
def test_characters_are_written_as_json_writes_them(ranges: list[tuple[int, int]], others: list[str]) -> None:
    chosen = union(ranges)
    assume(chosen)
    root = Automaton(grammar.measure(written(chosen)))
    edges = [chr(edge) for low, high in chosen for edge in (low, high)]
    beside = [chr(code) for low, high in complement(chosen) for code in (low, high)]
    for letter in [*edges, *beside, *others]:
        assert takes(root, quoted(letter)[1:-1]) == any(low <= ord(letter) <= high for low, high in chosen)
    assert union((*chosen, *complement(chosen))) == EVERY


BOUNDS = st.decimals(-120, 120, places=3) | st.integers(-30, 30).map(Decimal)


@settings(max_examples=200, deadline=None)
@given(st.none() | BOUNDS, st.none() | BOUNDS, st.lists(BOUNDS, max_size=6))
def test_numbers_between(low: Decimal | None, high: Decimal | None, others: list[Decimal]) -> None:
    assume(low is None or high is None or low <= high)
    automaton = Automaton(grammar.measure(number_between(low, high)))
    tick = Decimal("0.0001")
    near = [bound + step for bound in (low, high) if bound is not None for step in (-1, -tick, 0, tick, 1)]
    for number in [*others, *near, Decimal(0), *(-one for one in others)]:
        fits = (low is None or low <= number) and (high is None or number <= high)
        for text in {format(number, "f"), format(number.normalize(), "f")}:
            assert takes(automaton, text) == fits, (text, low, high)
    for text in ("", "-", "1.", ".5", "01", "1e3", "--1", "1.2.3"):
        assert not takes(automaton, text)
    ending = Decimal(automaton.ending(automaton.start, 100).decode())
    assert (low is None or low <= ending) and (high is None or ending <= high)


def test_dates() -> None:
    date = Automaton(grammar.measure(string_that_fits(FORMATS["date"])))
    for year in (1, 4, 99, 400, 1600, 1900, 1999, 2000, 2023, 2024, 2100, 9999):
        for month in range(0, 14):
            for day in range(0, 33):
                text = f"{year:04}-{month:02}-{day:02}"
                try:
                    datetime.date.fromisoformat(text)
                    exists = True
                except ValueError:
                    exists = False
                assert takes(date, quoted(text)) == exists, text
    assert not takes(date, '"0000-01-01"') and not takes(date, '"2024-1-1"') and not takes(date, '" 2024-01-01"')


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("time", ["00:00:00Z", "23:59:59.123456+14:00"], ["24:00:00Z", "12:60:00Z", "12:00:00", "12:00Z"]),
        ("date-time", ["2024-02-29T12:00:00Z"], ["2023-02-29T12:00:00Z", "2024-02-29 12:00:00Z", "2024-02-29"]),
        ("uuid", [str(uuid.UUID(int=2**127 + 5))], ["12345678-1234-1234-1234-12345678901", "x" * 36]),
        ("email", ["a@b.co", "first.last+tag@mail.example.org"], ["a", "@b.co", "a@b", "a..b@c.de", "a@-b.de"]),
        ("hostname", ["example.org", "a-b.c.de"], ["-a.de", "a-.de", "a..de", "a.de."]),
        ("uri", ["https://example.org/a?b=c", "ftp://a.example.org:21"], ["example.org", "http://", "http://a b.de"]),
        ("ipv6", [ipaddress.IPv6Address(2**100 + 7).exploded, "0:0:0:0:0:0:0:1"], ["::1", "1:2:3:4:5:6:7:8:9"]),
        ("duration", ["P3D", "P1DT2H30M", "PT5S", "P2W"], ["P", "PT", "3D", "P1DT", "P1.5D"]),
        ("ipv4", ["0.0.0.0", "255.249.99.9", str(ipaddress.IPv4Address(2**31))], ["256.0.0.1", "1.2.3", "01.2.3.4"]),
    ],
)
def test_formats(name: str, good: list[str], bad: list[str]) -> None:
    automaton = Automaton(grammar.measure(string_that_fits(FORMATS[name])))
    assert [takes(automaton, quoted(text)) for text in good] == [True] * len(good)
    assert [takes(automaton, quoted(text)) for text in bad] == [False] * len(bad)
