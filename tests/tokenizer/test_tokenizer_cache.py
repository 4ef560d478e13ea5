"""The cache gives what the tokenizer gives, in every order of texts, and counts what it does."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest
from native_tokenizer import NativeTokenizer

from rbe_edge.runtime.model import Model, demo_path
from rbe_edge.runtime.tokenizer_cache import TokenizerCache
from rbe_edge.sources.tokenizers import read_sentencepiece, read_tokenizer
from rbe_edge.sources.tokenizers.blob import write_blob

TURNS = ("How do I pack a model?", "你好，这个多少钱？", "  two  spaces ", "\n\nlines\n", "<|im_end|>", "e\u0301 🦉")


def chat(turns: list[str]) -> str:
    roles = ("user", "assistant") * len(turns)
    said = "".join(f"<|im_start|>{role}\n{turn}<|im_end|>\n" for role, turn in zip(roles, turns, strict=False))
    return said + "<|im_start|>assistant\n"


def test_growing_conversations_cost_their_rest() -> None:
    with Model.open(demo_path()) as model:
        counted: list[int] = []

        def tokenize(text: str, special: bool) -> list[int]:
            counted.append(len(text))
            return model._tokenize(text, special, True)

        cache = TokenizerCache(tokenize, lambda token: control(model, token))
        turns: list[str] = []
        for index in range(40):
            turns.append(TURNS[index % len(TURNS)])
            text = chat(turns)
            assert cache.tokenize(text, True) == model._tokenize(text, True, True)
        assert cache.statistics.misses == 1 and cache.statistics.prefix_hits == 39
        assert max(counted) < 400 < len(text)
        before = len(counted)
        assert cache.tokenize(text, True) == model._tokenize(text, True, True)
        assert len(counted) == before and cache.statistics.hits == 1


def control(model: Model, token: int) -> str:
    return "" if model.token_bytes(token) else model.token_bytes(token, special=True).decode()


def test_random_texts_in_random_order_equal_the_tokenizer() -> None:
    draw = random.Random(7)
    with Model.open(demo_path()) as model:
        for _ in range(400):
            text = chat([draw.choice(TURNS) for _ in range(draw.randint(0, 6))])[draw.choice((0, 5)) :]
            special = draw.random() < 0.5
            assert model.tokenize(text, special=special, parse_special=True) == model._tokenize(text, special, True)
        found = model.tokenizer_cache.statistics
        assert found.prefix_hits > 20 and found.hits > 5 and found.evictions > 0 and found.entries <= 64


def test_limits_hold() -> None:
    cache = TokenizerCache(lambda text, special: list(text.encode()), lambda token: "", max_bytes=2000, max_entries=5)
    for index in range(20):
        cache.tokenize(f"{index:030}", False)
        assert cache.statistics.bytes <= 2000 and cache.statistics.entries <= 5
    assert cache.statistics.evictions == 15
    assert cache.tokenize("y" * 5000, False) == list(b"y" * 5000)
    assert cache.statistics.entries == 5  # what would take most of it is not kept
    cache.tokenize("short", False)
    assert cache.statistics.misses == 21


def test_threads_share_it() -> None:
    with Model.open(demo_path()) as model:
        expected = {length: model._tokenize(chat(["hello there"] * length), True, True) for length in range(1, 20)}
        wrong: list[int] = []

        def work(seed: int) -> None:
            draw = random.Random(seed)
            for _ in range(60):
                length = draw.randint(1, 19)
                if model.tokenize(chat(["hello there"] * length), parse_special=True) != expected[length]:
                    wrong.append(length)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


@pytest.mark.parametrize("name", ["smollm2", "gpt2", "stories260K"])
def test_chinese_corpus(name: str, data_dir: Path) -> None:
    passages = json.loads((data_dir / "text" / "cmrc2018_dev.zh.json").read_text(encoding="utf-8"))[:60]
    sentencepiece = data_dir / name / "tok512.model"
    read = (
        read_sentencepiece(sentencepiece) if name == "stories260K" else read_tokenizer(data_dir / "tokenizers" / name)
    )
    ends = {"stories260K": "</s>", "gpt2": "<|endoftext|>"}.get(name, "<|im_end|>")
    with NativeTokenizer(write_blob(read)) as tokenizer:

        def control_text(token: int) -> str:
            return "" if tokenizer.token_bytes(token) else tokenizer.token_bytes(token, special=True).decode()

        cache = TokenizerCache(
            lambda text, special: tokenizer.encode(text, special_prefix=special, parse_special=True), control_text
        )
        for passage in passages:
            text = passage["context_text"] + ends
            for question in passage["qas"]:
                text += question["query_text"] + ends + question["answers"][0] + ends
                expected = tokenizer.encode(text, special_prefix=True, parse_special=True)
                assert cache.tokenize(text, True) == expected
        found = cache.statistics
        assert found.prefix_hits > found.misses


def test_each_token_is_asked_for_once() -> None:
    """Whether it is a control token: a text may have hundreds of thousands, of few kinds. What is too long to be kept
    is not looked through."""
    asked: list[int] = []

    def control_text(token: int) -> str:
        asked.append(token)
        return ""

    cache = TokenizerCache(lambda text, special: [ord(character) for character in text], control_text, 1 << 16)
    assert len(cache.tokenize("ab" * 500, False)) == len(cache.tokenize("ab" * 501, False)) - 2 == 1000
    assert sorted(asked) == [97, 98]
    assert len(cache.tokenize("cd" * 10_000, False)) == 20_000
    assert sorted(asked) == [97, 98] and cache.statistics.entries == 2
