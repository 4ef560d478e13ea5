"""What is claimed of a chat template without Python is equal to Jinja, or refused."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rbe_edge.errors import Cancelled, TemplateError
from rbe_edge.packing import chat_proof
from rbe_edge.packing.chat_form import refusal, style_of, template_hash, written
from rbe_edge.packing.chat_probes import Conversation, conversation, literals_of
from rbe_edge.packing.chat_proof import chat_form
from rbe_edge.runtime.chat_template import ChatTemplate, Message
from rbe_edge.runtime.marked_text import for_tokenizer

PUBLISHED = {
    file.stem: file.read_text(encoding="utf-8")
    for file in sorted((Path(__file__).parents[1] / "golden" / "templates").glob("*.jinja"))
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
#: Written for these tests, in the manner of published ones that the library does not know.
OTHERS = {
    "mistral": "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ m['content'] + eos_token }}"
    "{% endif %}{% endfor %}",
    "phi3": "{% for m in messages %}{% if m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + '<|end|>\n' }}"
    "{% elif m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + '<|end|>\n' }}{% elif m['role'] == 'assistant' %}"
    "{{ '<|assistant|>\n' + m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    "thinking": "{% for m in messages %}{% set c = m.content | trim %}"
    "{% if m.role == 'assistant' and '</think>' in c %}"
    "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}<|im_start|>{{ m.role }}\n{{ c }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    "vicuna": "{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{{ messages[0].content }}"
    "{% else %}{% set rest = messages %}A chat between a curious user and an assistant.{% endif %}{% for m in rest %}"
    "{% if m.role == 'user' %}{{ ' USER: ' + m.content.strip() }}{% elif m.role == 'assistant' %}"
    "{{ ' ASSISTANT: ' + m.content.strip() + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}",
}
CHATML = PUBLISHED["chatml"]
LLAMA3 = PUBLISHED["llama3"]


@functools.cache
def compiled(source: str) -> ChatTemplate:
    return ChatTemplate(source, TOKENS)


def said_by_jinja(template: str, messages: Sequence[Message], prompt: bool = True) -> bytes | None:
    source = template if prompt else "{% set add_generation_prompt = false %}\n" + template
    try:
        marked = compiled(source).render_marked(messages)
    except TemplateError:
        return None
    return for_tokenizer(marked).encode("utf-8", "surrogateescape")


def conversations(template: str, seed: int, n: int = 60) -> Iterator[Conversation]:
    """Not those of the proof: other words, whole pieces of the template, longer ones too."""
    source = random.Random(seed)
    pieces = ["yes", "No", " ", "\n\n", "\u2028", "7", "<think>a</think>", "</think>\n", "</s>", "<s>", "\u00fc", '"']
    pieces += re.findall(r"'([^'\n]{2,40})'", template)
    for _ in range(n):
        roles = "s" * (source.random() < 0.4) + "ua" * source.randrange(6) + "u"
        if source.random() < 0.3:
            roles = "".join(source.choices("suuaa", k=source.randrange(1, 9)))
        yield conversation(roles, ["".join(source.choices(pieces, k=source.randrange(5))) for _ in roles])


def assert_equal_or_refused(template: str, form: str, n: int = 60) -> int:
    """How many were equal."""
    equal = 0
    for messages in conversations(template, seed=11, n=n):
        for prompt in (True, False):
            try:
                native = written(template, form, TOKENS, messages, prompt)
            except TemplateError:
                continue
            assert native == said_by_jinja(template, messages, prompt), (template, messages)
            equal += 1
    return equal


@pytest.mark.parametrize("name", OTHERS)
def test_a_template_that_the_library_does_not_know(name: str) -> None:
    template = OTHERS[name]
    assert style_of(template) is None
    form = chat_form({"chat_template": template, **TOKENS})
    assert form is not None and form.startswith(f"template {template_hash(template):016x}\n") and "none" not in form
    assert assert_equal_or_refused(template, form) >= 40
    has_system = "\nstart system " in form
    assert has_system == (name != "mistral")
    question = [Message("user", "What is </think> 1 < 2?"), Message("assistant", "Yes."), Message("user", " x ")]
    assert written(template, form, TOKENS, question, True) == said_by_jinja(template, question)
    with pytest.raises(TemplateError, match="another chat template"):
        written(template + " ", form, TOKENS, question, True)


def test_what_is_thought_is_left_out() -> None:
    form = chat_form({"chat_template": OTHERS["thinking"]})
    assert form is not None and "\nthoughts " in form and "never" not in form
    messages = conversation("uau", ["a", "<think>\nb\n</think>\n\n c ", "d"])
    assert b"b" not in written(OTHERS["thinking"], form, {}, messages, True)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_known_template_needs_no_form(name: str) -> None:
    assert style_of(PUBLISHED[name]) == name.split("-")[0]
    assert chat_form({"chat_template": PUBLISHED[name]}) is None
    assert chat_form({"chat_template": ""}) is None and chat_form({}) is None


# ---- one detail ----

LOOP = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
PLAIN = LOOP + PROMPT
#: Each is a known style but for one detail. None of them may be written as the style is.
DETAILS = {
    "opens thinking": PLAIN.replace("assistant\n", "assistant\n<think>\n"),
    "default system message": "{% if messages[0].role != 'system' %}<|im_start|>system\nHelp.<|im_end|>\n{% endif %}"
    + PLAIN,
    "default where it is empty": PLAIN.replace(
        "m.content", "(m.content if m.content or m.role != 'system' else 'You are helpful.')"
    ),
    "trims": PLAIN.replace("m.content", "m.content | trim"),
    "trims the user alone": PLAIN.replace("m.content", "(m.content | trim if m.role == 'user' else m.content)"),
    "strips on the left": PLAIN.replace("m.content", "m.content.lstrip()"),
    "another newline": PLAIN.replace("<|im_end|>\n", "<|im_end|>\n\n"),
    "BOS": "{{ bos_token }}" + PLAIN,
    "BOS twice": "{{ bos_token }}{{ bos_token }}" + PLAIN,
    "EOS at the end": PLAIN + "{% if not add_generation_prompt %}{{ eos_token }}{% endif %}",
    "no BOS": LLAMA3.replace("bos_token + ", ""),
    "not trimmed": LLAMA3.replace("| trim", ""),
    "system text of its own": "{{ '<|im_start|>system\nYou can call functions.<|im_end|>\n' }}" + PLAIN,
    "the date": "{{ '<|im_start|>system\nToday is ' + strftime_now('%d %b %Y') + '<|im_end|>\n' }}" + PLAIN,
    "other order": PLAIN.replace("in messages", "in messages | reverse"),
    "the last message alone": PLAIN.replace("in messages", "in messages[-1:]"),
    "another role's name": PLAIN.replace("m.role + '\n'", "('model' if m.role == 'assistant' else m.role) + '\n'"),
    "from the ninth on": PLAIN.replace("{% endfor %}", "{% if loop.index == 9 %}Go on.{% endif %}{% endfor %}"),
    "from the fiftieth on": PLAIN.replace("{% endfor %}", "{% if loop.index > 50 %}Go on.{% endif %}{% endfor %}"),
    "counts by adding": PLAIN.replace("{% endfor %}", "{% if loop.index > 9 + 9 + 9 + 9 %}!{% endif %}{% endfor %}"),
    "a command": PLAIN.replace("m.content", "(m.content.replace('/no_think', ''))"),
    "a command at the end": PLAIN.replace("m.content", "('!' if m.content.endswith('/quiet') else m.content)"),
    "a word of the template": PLAIN.replace("m.content", "m.content.replace('<|im_end|>', '')"),
    "two words": PLAIN.replace("m.content", "('' if '<a>' in m.content and '</a>' in m.content else m.content)"),
    "a long message": PLAIN.replace("m.content", "(m.content if m.content | length < 12 else 'long')"),
    "a very long message": PLAIN.replace("m.content", "(m.content if m.content | length < 4000 else 'long')"),
    "upper case": PLAIN.replace("m.content", "(m.content | upper if m.role == 'system' else m.content)"),
    "escapes": PLAIN.replace("m.content", "m.content | e"),
    "the first twice": PLAIN.replace("{% for", "{{ messages[0].content }}{% for", 1),
    "asks for an answer": PLAIN.replace(
        "{% endfor %}", "{% if loop.last and m.role == 'assistant' %}?{% endif %}{% endfor %}"
    ),
    "refuses an empty one": PLAIN.replace(
        "{{ '<|im_start|>' +", "{% if not m.content %}{{ raise_exception('x') }}{% endif %}{{ '<|im_start|>' +", 1
    ),
    "leaves empty ones out": LOOP.replace("messages %}", "messages if m.content %}") + PROMPT,
    "by arithmetic": PLAIN.replace("m.content", "m.content * (1 + loop.index0 // 7)"),
    "every third": PLAIN.replace("m.content", "('!' if loop.index % 3 == 0 else m.content)"),
    "the same again": PLAIN.replace(
        "m.content", "('again' if loop.index0 > 1 and m.content == messages[0].content else m.content)"
    ),
    "what it said before": PLAIN.replace(
        "m.content", "(m.content if loop.first or 'stop' not in loop.previtem.content else 'stopped')"
    ),
}


@pytest.mark.parametrize("name", DETAILS)
def test_one_detail(name: str) -> None:
    """By its text alone it is refused; packed, it is refused or equal, and never what the style writes."""
    template = DETAILS[name]
    assert template not in (PLAIN, LLAMA3)
    assert style_of(template) is None
    form = chat_form({"chat_template": template, **TOKENS})
    assert form is not None
    if "\nnone " in form:
        with pytest.raises(TemplateError, match="nothing is proven of this model's chat template: "):
            written(template, form, TOKENS, [Message("user", "x")], True)
        return
    assert_equal_or_refused(template, form)
    told = [same * "x" for same in (1, 11, 13, 4001)] + ["<a>", "<a></a>", "a /quiet", "/no_think", "stop", "again"]
    for content in told:
        for roles in ("u", "su", "uau", "suau" + "au" * 4, "u" + "au" * 26):
            messages = conversation(roles, [content] * len(roles))
            try:
                native = written(template, form, TOKENS, messages, True)
            except TemplateError:
                continue
            assert native == said_by_jinja(template, messages), messages


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("the date", "line 2 writes the date, of which nothing can be proven"),
        ("from the fiftieth on", "counts to 50"),
        ("counts by adding", "counts to 45"),
        ("a very long message", "counts to 4000"),
        ("by arithmetic", "calculates"),
        ("every third", "calculates"),
        ("the first twice", "refuses messages of text, or writes them otherwise"),
        ("escapes", "a form writes"),
    ],
)
def test_why_nothing_is_proven(name: str, reason: str) -> None:
    form = chat_form({"chat_template": DETAILS[name], **TOKENS})
    assert form is not None and reason in form and form.count("\n") == 2, form


def test_what_is_malformed() -> None:
    for template in (
        "{% for %}",
        "{{ messages[0].content",
        "\ud800",
        "{{ 'a' * 10 }}",
        "{% include 'x' %}",
        "x" * 1_000_001,
    ):
        form = chat_form({"chat_template": template})
        assert form is not None and "\nnone " in form and len(form) < 500 and form.isascii()
    assert refusal("x", "a\nb\n").count("\n") == 2


MUTATED = ["chatml", "chatml-qwen2", "llama3", "zephyr", "gemma", "gemma-3"]
_TOKEN = re.compile(r"\w+|\s+|'[^']*'|[^\w\s]")


@pytest.mark.parametrize("name", MUTATED)
def test_a_token_less_or_more(name: str) -> None:
    """A published template with one token taken out, doubled or exchanged for another of its own."""
    source = random.Random(name)
    tokens = _TOKEN.findall(PUBLISHED[name])
    proven = 0
    for _ in range(8):
        mutated = list(tokens)
        at = source.randrange(len(mutated))
        mutated[at] = source.choice(["", 2 * mutated[at], source.choice(tokens)])
        template = "".join(mutated)
        form = chat_form({"chat_template": template, **TOKENS})
        if form is None:
            assert template == PUBLISHED[name] or style_of(template) is not None
        elif "\nnone " not in form:
            assert_equal_or_refused(template, form, n=25)
            proven += 1
    assert proven <= 8


def test_the_special_tokens_of_the_file() -> None:
    """A template that asks for the text of one is proven for that text, and not for another."""
    asks = "{% if bos_token == '<s>' %}[A]{% endif %}{{ bos_token }}" + PLAIN
    form = chat_form({"chat_template": asks, "bos_token": "<s>"})
    assert form is not None and "none" in form
    plain = chat_form({"chat_template": "{{ bos_token }}" + PLAIN})
    assert plain is not None and "\\b" not in plain
    with_bos = chat_form(
        {"chat_template": "{{ bos_token }}" + PLAIN, "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    )
    assert with_bos is not None and "start user as-is \\b<|im_start|>user" in with_bos


def test_it_can_be_stopped() -> None:
    calls = 0

    def tell() -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        chat_form({"chat_template": OTHERS["phi3"]}, tell)


def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_proof, "MAX_SECONDS", -1.0)
    form = chat_form({"chat_template": OTHERS["phi3"]})
    assert form is not None and "takes more than" in form


def test_literals() -> None:
    found = literals_of(
        "{% if 'a' in x or m.c.startswith('b') or y == 'c' %}d{{ 'e' }}{{ n + 2 }}{% endif %}{% if n > 3 %}f{% endif %}"
    )
    assert set(found.asked) == {"a", "b", "c"} and set(found.wrote) == {"d", "e", "f"} and found.most == 5
