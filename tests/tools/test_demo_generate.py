"""The dialogue generator: repeatable, apart from the held-out prompts, and well formed."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from pathlib import Path

import pytest

from tools.demo.dialogues import Writer
from tools.demo.generate import generate
from tools.demo.overlap import HELD_OUT, N, Overlap, ngrams, words
from tools.demo.stages import STAGES
from tools.demo.topics.stories import ANIMALS, THINGS, plural, story


def prompts() -> list[str]:
    return [turn for prompt in json.loads(HELD_OUT.read_text(encoding="utf-8"))["prompts"] for turn in prompt["turns"]]


@pytest.fixture(scope="module")
def corpus() -> list[list[dict[str, str]]]:
    """The training text, as the seeds of the stages make it: of each a tenth, all of it with RBE_LONG_TESTS."""
    share = 1 if os.environ.get("RBE_LONG_TESTS") else 10
    return [dialogue.messages() for stage in STAGES for dialogue in generate(stage.dialogues // share, stage.seed)]


def test_same_seed_same_dialogues() -> None:
    def digest(seed: int) -> str:
        text = "\n".join(json.dumps(d.messages()) for d in generate(300, seed))
        return hashlib.sha256(text.encode()).hexdigest()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


def test_no_held_out_five_gram_in_the_corpus(corpus: list[list[dict[str, str]]]) -> None:
    # Written apart from Overlap, which the generator itself uses to reject turns.
    held = [tuple(re.sub(r"[^a-z0-9 ]", " ", re.sub("['\u2019]", "", p.lower())).split()) for p in prompts()]
    grams = {tuple(p[i : i + 5]) for p in held for i in range(len(p) - 4)}
    short = {p for p in held if len(p) < 5}
    assert len(grams) > 200 and short
    for dialogue in corpus:
        text = " ".join(m["content"] for m in dialogue).lower()
        sequence = re.sub(r"[^a-z0-9 ]", " ", re.sub("['\u2019]", "", text)).split()
        shared = grams.intersection(zip(*(itertools.islice(sequence, i, None) for i in range(5)), strict=False))
        assert not shared, (shared, text)
        for message in dialogue:
            if message["role"] == "user" and len(message["content"]) < 60:
                assert words(message["content"]) not in short


def test_overlap_is_found() -> None:
    overlap = Overlap.of(["Which colour do you like the most?", "Hiya, anyone there?"])
    assert overlap.hits("tell me, WHICH color or colour: do you like the most", user=False)
    assert overlap.hits("and which colour do you like", user=True)
    assert not overlap.hits("which colour do they like the most", user=True)
    assert overlap.hits("hiya anyone there", user=True)
    assert not overlap.hits("hiya anyone there", user=False)
    assert len(ngrams(words("one two three four five six"))) == 6 - N + 1


def test_dialogues_alternate_and_are_clean(corpus: list[list[dict[str, str]]]) -> None:
    turns = [len([m for m in d if m["role"] == "user"]) for d in corpus]
    assert max(turns) >= 15 and sum(n >= 2 for n in turns) > len(turns) * 0.6
    for dialogue in corpus[:20_000]:
        spoken = [m for m in dialogue if m["role"] != "system"]
        assert [m["role"] for m in spoken] == ["user", "assistant"] * (len(spoken) // 2)
        for message in dialogue:
            assert message["content"] == message["content"].strip() != ""
            assert not re.search(r"[{}$|]|<[a-z]", message["content"]), message["content"]
        for answer in spoken[1::2]:
            assert re.match(r"[A-Z\"]|rbe_edge", answer["content"]), answer["content"]
            assert re.search(r"([.!?]\"?|[-\w]\.rbe|--bits 4|-t 4)$", answer["content"]), answer["content"]


def test_the_user_is_named_as_introduced() -> None:
    told = 0
    writer = Writer(5, Overlap.of([]))
    for _ in range(2000):
        turns = writer.dialogue().turns
        welcomed = [
            m.group(1)
            for _, reply in turns
            if (m := re.match(r"(?:Nice to meet you, |Hello |It is a pleasure to meet you, )(\w+)!", reply))
        ]
        for _, reply in turns:
            if found := re.match(r"(?:Your name is|You are) (\w+)[.,] ?(?:you told|I remember|$)", reply):
                assert welcomed == [found.group(1)]
                told += 1
    assert told > 100


@pytest.mark.parametrize("noun", ["fox", "umbrella", "mouse", "kite"])
def test_a_story_is_about_its_noun(noun: str) -> None:
    import random

    for seed in range(50):
        text = story(random.Random(seed), noun)
        assert noun in text
        assert len(re.findall(r"[.!?]", text)) >= 5


def test_plurals_and_lists() -> None:
    assert [plural(w) for w in ("fox", "mouse", "kite", "fairy")] == ["foxes", "mice", "kites", "fairies"]
    assert not {" "} & set("".join(ANIMALS + THINGS))
    assert Path(HELD_OUT).is_file()
