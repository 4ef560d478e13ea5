"""Chat templates: the same text as Hugging Face's way of rendering, and hostile ones stopped."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from template_reference import SPECIAL, reference

from rbe_edge.errors import TemplateError
from rbe_edge.runtime.chat_template import ChatTemplate, Message, PlainTemplate, template_of

MESSAGES = [
    Message("system", " Be brief. "),
    Message("user", 'Say "hi" <b>to</b> Zo\u00eb\nplease '),
    Message("assistant", "<think>\nhm\n</think>\n\nHi Zo\u00eb! "),
    Message("user", "More."),
]

# In the manner of published templates, each with another part of the language.
TEMPLATES = {
    "chatml": "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "default system": "{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = 'none' %}{% set rest = messages %}{% endif %}"
    "{{ bos_token }}[{{ first|trim }}]"
    "{% for m in rest %}{{ loop.index0 }}/{{ loop.length }}{{ ' last' if loop.last }}:{{ m.content }}{% endfor %}",
    "blocks": "{{- bos_token }}\n{%- for message in messages %}\n    {%- if message.role == 'user' %}\n"
    "        {{- '[INST] ' ~ message.content ~ ' [/INST]' }}\n    {%- elif message.role == 'assistant' %}\n"
    "        {{- ' ' ~ message.content | trim ~ eos_token }}\n    {%- endif %}\n{%- endfor %}\n",
    "trimmed": "A\n  {% if true %}\nB\n  {% endif %}\nC {% for m in messages %}\n  {{ m.role }}\n{% endfor %}\nD",
    "namespace": "{% set ns = namespace(last=-1, n=0) %}{% for m in messages[::-1] %}"
    "{% set index = (messages|length - 1) - loop.index0 %}"
    "{% if m.role == 'user' and ns.last < 0 %}{% set ns.last = index %}{% endif %}{% set ns.n = ns.n + 1 %}"
    "{% endfor %}{{ ns.last }} {{ ns.n }}",
    "thinking": "{% for m in messages %}{% set content = m.content %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ content }}{% endfor %}",
    "macro": "{% macro line(role, text='') %}<{{ role }}>{{ text }}{% endmacro %}{% for m in messages %}"
    "{{ line(m.role, text=m.content) }}{% endfor %}{{ line('assistant') }}",
    "filters": "{{ messages|tojson }}{{ messages|map(attribute='role')|join(', ') }}"
    "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ 'a b'|replace(' ', '_')|upper }}"
    "{{ undefined_thing|default('x') }}{{ {'b': 1}|tojson(indent=2) }}"
    "{{ 'l1\nl2'|indent(4, true) }}{{ [3, 1]|sort|first }}{{ {'a': 1}|items|list }}",
    "controls": "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}"
    "{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "set block": "{% set x %}{% for m in messages %}{{ m.role }},{% endfor %}{% endset %}{{ x|upper }}{{ x|length }}",
    "tests": "{{ tools is none }} {{ documents is defined }} {{ nothing is defined }} {{ messages[0].role is string }}"
    " {{ messages is iterable and messages is not mapping }} {{ 7 is odd }} {{ tools and 1 }} {{ not tools }}",
    "arithmetic": "{{ 7 // 2 }} {{ 7 % 2 }} {{ 2 ** 5 }} {{ 1 / 4 }} {{ 'ab' * 3 }} {{ [1] + [2] }}"
    " {{ '%s-%d' % ('a', 3) }}",
    "unpacking": "{% for key, value in messages[0].items() %}{{ key }}={{ value }};{% endfor %}"
    "{% set a, b = 'x', 'y' %}{{ b }}{{ a }}",
    "loop with condition": "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}"
    "{% else %}none{% endfor %}",
    "call block": "{% macro box() %}[{{ caller() }}]{% endmacro %}{% call box() %}in{% endcall %}",
    "recursive loop": "{% for x in [[1, [2]], 3] recursive %}{{ loop(x) if x is iterable else x }},{% endfor %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_equal_to_the_reference(name: str) -> None:
    source = TEMPLATES[name]
    expected = reference(source, MESSAGES)
    assert expected
    template = ChatTemplate(source, SPECIAL)
    assert template.render(MESSAGES) == expected
    assert template.render(MESSAGES) == expected  # rendering changes nothing


def test_long_conversations_are_within_the_limits() -> None:
    messages = [Message(("user", "assistant")[i % 2], f"{i} " + "word " * 40) for i in range(2000)]
    for name in ("chatml", "blocks", "thinking", "macro"):
        assert ChatTemplate(TEMPLATES[name], SPECIAL).render(messages) == reference(TEMPLATES[name], messages)


def test_without_the_beginning_of_an_answer() -> None:
    template = ChatTemplate(TEMPLATES["chatml"])
    whole, rest = template.render(MESSAGES), "<|im_start|>assistant\n"
    assert whole.endswith(rest) and template.render(MESSAGES, add_generation_prompt=False) + rest == whole


def test_a_message_is_shown_as_transformers_shows_it() -> None:
    template = ChatTemplate("{% for m in messages %}{{ m|tojson }}{% endfor %}")
    assert template.render([Message("tool", "yes", {"name": "f", "tool_call_id": None})]) == (
        '{"role": "tool", "content": "yes", "name": "f"}'
    )
    for name in ("reasoning_content", "thinking", "reasoning"):
        thinks = ChatTemplate(
            "{{ messages[0].thinking }}|{{ messages[0].reasoning_content }}|{{ messages[0].content }}"
        )
        assert thinks.render([Message("assistant", "2", {name: "easy"})]) == "easy|easy|2"


def test_unset_special_tokens_are_empty() -> None:
    assert ChatTemplate("[{{ bos_token }}]").render(MESSAGES) == "[]"


def test_time_is_of_now() -> None:
    assert ChatTemplate("{{ strftime_now('%d %b %Y %%') }}").render([]) == datetime.now().strftime("%d %b %Y %%")


def test_a_model_has_its_template_compiled_once() -> None:
    def model(**tokens: str) -> Any:
        return SimpleNamespace(metadata={"chat_template": "[{{ bos_token }}]", **tokens})

    first, other = template_of(model(bos_token="<s>")), template_of(model(bos_token="<b>"))
    assert template_of(model(bos_token="<s>")) is first and template_of(model(bos_token="<b>")) is other
    assert [template.render(MESSAGES) for template in (first, other)] == ["[<s>]", "[<b>]"]


def test_refusal_is_one_line() -> None:
    with pytest.raises(TemplateError, match=r"at line 2: no system role, please; ") as caught:
        ChatTemplate("\n{{ raise_exception('no system\\n role, please') }}").render(MESSAGES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{ 'a'|nofilter }}", "{% for %}", "{{" + "(" * 5000, "{% endif %}", "{{ 1"]
)
def test_malformed_is_refused_at_once(source: str) -> None:
    with pytest.raises(TemplateError, match="is malformed"):
        ChatTemplate(source)


def test_the_plain_template_is_what_was_said() -> None:
    words = [("system", " A tale. "), ("user", "Once "), ("assistant", "upon a"), ("user", "b")]
    said = [Message(role, content) for role, content in words]
    template, text = PlainTemplate(), " A tale. \nOnce upon a\nb"
    assert template.render(said) == template.render(said, add_generation_prompt=False) == text
    assert template.render(said[2:3]) == "upon a"
