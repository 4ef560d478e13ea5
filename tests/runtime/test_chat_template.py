"""Chat templates: the same text as Hugging Face's way of rendering, and hostile ones stopped."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import pytest

from rbe_edge.errors import TemplateError
from rbe_edge.runtime.chat_template import ChatTemplate, Message, PlainTemplate

MESSAGES = [
    Message("system", " Be brief. "),
    Message("user", 'Say "hi" <b>to</b> Zo\u00eb\nplease '),
    Message("assistant", "<think>\nhm\n</think>\n\nHi Zo\u00eb! "),
    Message("user", "More."),
]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}

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


def reference(source: str, messages: list[Message]) -> str:
    """Rendering as transformers does it (utils/chat_template_utils.py), without any limits."""
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
    return environment.from_string(source).render(
        messages=[{"role": m.role, "content": m.content} for m in messages],
        tools=None,
        documents=None,
        add_generation_prompt=True,
        **SPECIAL,
    )


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


def test_unset_special_tokens_are_empty() -> None:
    assert ChatTemplate("[{{ bos_token }}]").render(MESSAGES) == "[]"


def test_time_is_of_now() -> None:
    assert ChatTemplate("{{ strftime_now('%d %b %Y %%') }}").render([]) == datetime.now().strftime("%d %b %Y %%")


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


def growing(value: str) -> str:
    """A template that makes a value out of its former self, 99 times."""
    return f"{{% set n = namespace(x='ab') %}}{{% for i in range(99) %}}{{% set n.x = {value} %}}{{% endfor %}}"


# Each of these takes for ever, takes all memory, or leaves the sandbox where nothing bounds it.
HOSTILE = {
    "loop in loop": ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "takes more than"),
    "large range": ("{% for a in range(10 ** 12) %}{% endfor %}", "Range too big"),
    "concatenation": (growing("n.x ~ n.x"), "makes"),
    "addition": (growing("n.x + n.x"), "makes"),
    "block": (
        "{% set n = namespace(x=1) %}{% for i in range(30) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        "writes",
    ),
    "lists": (growing("[n.x, n.x]"), "makes"),
    "dicts": (growing("{1: n.x, 2: n.x}"), "makes"),
    "tuples": (growing("(n.x, n.x)"), "makes"),
    "dict call": (growing("dict(a=n.x, b=n.x)"), "makes"),
    "compared lists": (
        "{% set n = namespace(x=1, y=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}"
        "{% endfor %}{{ n.x == n.y }}",
        "makes",
    ),
    "namespaces": ("{% set n = namespace() %}{% set n = namespace(a=n, b=n) %}{{ n }}", "namespace"),
    "namespace in itself": ("{% set n = namespace() %}{% set n.a = n %}{{ n }}", "namespace"),
    "multiplied text": ("{{ 'a' * 10 ** 10 }}", "makes"),
    "multiplied list": ("{{ [0] * 10 ** 10 }}", "makes"),
    "power": ("{{ 9 ** 9 ** 9 ** 9 ** 9 }}", "bits"),
    "squares": ("{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}", "bits"),
    "percent width": ("{{ '%9999999999d' % 1 }}", "width"),
    "percent star": ("{{ '%*d' % (9999999999, 1) }}", "width"),
    "format width": ("{{ '{:>9999999999}'.format(1) }}", "unsafe"),
    "format by item": ("{{ '{:>9999999999}'['format'](1) }}", "unsafe"),
    "center": ("{{ 'a'.center(9999999999) }}", "unsafe"),
    "center filter": ("{{ 'a'|center(9999999999) }}", "center"),
    "mapped filter": ("{{ ['a']|map('center', 9999999999)|list }}", "center"),
    "indent": ("{{ 'a\n'|indent(9999999999, true) }}", "indent"),
    "indent with a text": ("{{ ('a\n' * 99999)|indent('b' * 99999) }}", "indent"),
    "json indent": ("{{ messages|tojson(indent=9999999999) }}", "tojson"),
    "replace": ("{{ ('a' * 99999)|replace('a', 'b' * 99999) }}", "replaces"),
    "replace method": ("{{ ('a' * 99999).replace('a', 'b' * 99999) }}", "replaces"),
    "join": ("{{ ('a' * 99999)|list|join('b' * 99999) }}", "join"),
    "join method": ("{{ ('b' * 99999).join(('a' * 99999)|list) }}", "join"),
    "join of much": ("{{ range(99999)|map('string')|map('replace', '', 'x' * 99)|join }}", "makes"),
    "text in loop": ("{% for a in range(99999) %}" + "x" * 99999 + "{% endfor %}", "writes"),
    "text in macro": (
        "{% macro m() %}{% for a in range(99999) %}" + "x" * 99999 + "{% endfor %}{% endmacro %}{{ m()|length }}",
        "writes",
    ),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    "two-fold recursion": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "takes more than",
    ),
    "recursive loop": ("{% for x in messages recursive %}{{ loop(messages) }}{% endfor %}", "recursion"),
    "time width": ("{{ strftime_now('%9999999999d') }}", "time"),
    "internals": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "internals by filter": ("{{ (messages|map(attribute='__class__')|list)[0].__mro__ }}", "unsafe"),
    "change": ("{{ messages.append(messages) }}", "unsafe"),
    "file": ("{% include '/etc/passwd' %}", "loader"),
    "import": ("{% import 'os' as os %}", "loader"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_is_stopped(name: str) -> None:
    source, reason = HOSTILE[name]
    with pytest.raises(TemplateError, match=re.escape(reason)) as caught:
        ChatTemplate(source, SPECIAL).render(MESSAGES)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_template_recovers_from_a_hostile_message() -> None:
    template = ChatTemplate("{% for m in messages %}{% for i in range(m.content|int) %}{% endfor %}{% endfor %}ok")
    assert template.render([Message("user", "100")]) == "ok"
    with pytest.raises(TemplateError):
        template.render([Message("user", "99999")] * 9)
    assert template.render([Message("user", "100")]) == "ok"


def test_plain_template_reads_as_a_dialogue() -> None:
    template = PlainTemplate()
    text = template.render(MESSAGES[:2])
    assert text.splitlines()[0] == "Be brief." and text.endswith("\nAssistant:")
    assert "\nUser:" in template.stops
