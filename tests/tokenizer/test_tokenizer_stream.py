"""Text streams: always valid UTF-8, whole characters, stop sequences held back and cut."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_tokenizer import NativeStream, NativeTokenizer

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers import PreTokenizer, from_ranks
from rbe_edge.sources.tokenizers.blob import write_blob

# A token for every byte, and longer ones that cut characters and stop sequences anywhere.
LONGER = ["ab", "aba", "\u20ac", "\U0001f999", "\u00e9!"]
PARTS = [text.encode()[begin:end] for text in LONGER for begin in range(6) for end in range(begin + 1, 6)]
TOKENS = dict.fromkeys([*(bytes([byte]) for byte in range(256)), *filter(None, PARTS)])
RANKS = {token: rank for rank, token in enumerate(TOKENS)}


@pytest.fixture(scope="module")
def tokenizer() -> Iterator[NativeTokenizer]:
    with NativeTokenizer(write_blob(from_ranks(RANKS, PreTokenizer.NONE, {"<end>": len(RANKS)}))) as native:
        yield native


def tokens() -> st.SearchStrategy[list[int]]:
    """Ids of mostly the few bytes that make up the longer tokens, so that stop sequences do occur."""
    likely = st.sampled_from([*b"abab!", *range(256, len(RANKS) + 1), *"\u20ac\U0001f999".encode()])
    return st.lists(likely | st.integers(0, len(RANKS)), max_size=30)


@given(ids=tokens())
def test_equals_an_incremental_decoder(tokenizer: NativeTokenizer, ids: list[int]) -> None:
    reference = codecs.getincrementaldecoder("utf-8")("replace")
    stream = NativeStream(tokenizer)
    ours = theirs = ""
    for token in ids:
        ours += stream.push(token)
        theirs += reference.decode(tokenizer.token_bytes(token))
        # Python waits for the third byte of half a surrogate, which can never become valid.
        assert ours.startswith(theirs) and not ours[len(theirs) :].strip("\ufffd")
    assert ours + stream.finish() == theirs + reference.decode(b"", final=True)


def first_stop(text: str, stops: list[str]) -> int | None:
    """Where the stop sequence begins that is complete first, the longest of those that end there."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return end - max(len(stop) for stop in complete)
    return None


def stop_sequences() -> st.SearchStrategy[list[str]]:
    return st.lists(st.text(st.sampled_from("ab!\u20ac\U0001f999\ufffd"), min_size=1, max_size=5), max_size=4)


@given(ids=tokens(), stops=stop_sequences())
def test_stop_sequences(tokenizer: NativeTokenizer, ids: list[int], stops: list[str]) -> None:
    whole = b"".join(tokenizer.token_bytes(token) for token in ids).decode("utf-8", "replace")
    cut = first_stop(whole, stops)
    stream = NativeStream(tokenizer, [stop.encode("utf-8") for stop in stops])
    text = ""
    for token in ids:
        was_stopped = stream.stopped
        given = stream.push(token)
        assert not (was_stopped and given)
        text += given
        assert whole.startswith(text)
    assert text + stream.finish() == (whole if cut is None else whole[:cut])
    assert stream.push(ord("x")) == "x"


def test_holds_back_no_more_than_needed(tokenizer: NativeTokenizer) -> None:
    stream = NativeStream(tokenizer, [b"abc"])
    assert [stream.push(ord(letter)) for letter in "xaabx"] == ["x", "", "a", "", "abx"]


@pytest.mark.parametrize("stop", [b"", b"\xff", b"a\xc3"])
def test_bad_stop_sequences(tokenizer: NativeTokenizer, stop: bytes) -> None:
    with pytest.raises(TokenizerError, match="stop sequence 1"):
        NativeStream(tokenizer, [b"fine", stop])
