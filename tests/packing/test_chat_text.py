"""Calibration text in the form of a model's own template, and how windows are chosen of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models

from rbe_edge import Model
from rbe_edge.packing.chat_text import conversation_tokens
from rbe_edge.packing.effort import EFFORTS
from rbe_edge.packing.pack import PackOptions, pack

TEXT = "\n\n".join(f"the cat sat on mat {number}, and the dog" for number in range(120))
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def packed(directory: Path, template: str) -> Path:
    source = tiny_models.write(tiny_models.MODELS["llama_tied"], directory / "tiny")
    (source / "chat_template.jinja").write_text(template)
    return pack(source, directory / "tiny.rbe", PackOptions(bits=32, force=True)).path


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("chat"), TEMPLATE)


def test_questions_and_answers_in_turn(chat: Path) -> None:
    with Model.open(chat) as model:
        tokens = conversation_tokens(model, TEXT, 10**6)
        said = model.detokenize(tokens)
        assert said.count("the cat sat on mat") == 120 and said.index("mat 0,") < said.index("mat 1,")
        written = b"".join(model.token_bytes(token, special=True) for token in tokens[:60]).decode()
        assert "user\nthe cat sat on mat 0, and the dog" in written and "assistant\nthe cat sat on mat 1" in written
        assert conversation_tokens(model, TEXT, 50) == tokens[:50]
        assert conversation_tokens(model, "one paragraph", 50) == []
        long = conversation_tokens(model, "the cat " * 2000, 10**6)
        assert model.detokenize(long).count("the cat") >= 900  # a paragraph without end is cut


@pytest.mark.parametrize("template", ["{{ messages[7].nothing.at_all }}", "{{ raise_exception('no') }}"])
def test_without_a_template_that_works_there_is_none(template: str, tmp_path: Path) -> None:
    with Model.open(packed(tmp_path, template)) as model:
        assert conversation_tokens(model, TEXT, 10**6) == []


def test_without_a_template_there_is_none() -> None:
    with Model.open(Path(__file__).parents[1] / "golden" / "v1" / "planes.rbe") as model:
        assert "chat_template" not in model.metadata and conversation_tokens(model, TEXT, 10**6) == []


@pytest.mark.parametrize("name", list(EFFORTS))
def test_half_of_the_windows_are_of_conversations(name: str, chat: Path) -> None:
    effort = EFFORTS[name]
    with Model.open(chat) as model:
        plain = model.tokenize(TEXT * 30, special=False)
    conversations = [7] * 20000
    seen, unseen = effort.windows(chat, plain, conversations)
    of_chat = [window for window in seen if set(window[-5:]) == {7}]
    assert 0.25 < len(of_chat) / len(seen) < 0.6 and sum(map(len, seen)) <= effort.tokens + max(map(len, seen))
    assert unseen
    alone, _ = effort.windows(chat, plain)
    assert not any(set(window[-5:]) == {7} for window in alone)
    few, _ = effort.windows(chat, plain, [7] * 5)  # fill no window
    assert few == alone
