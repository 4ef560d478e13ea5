"""Templates that would take all time or memory are stopped, and nothing else is."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from template_reference import SPECIAL

from rbe_edge.errors import TemplateError
from rbe_edge.runtime import template_budget
from rbe_edge.runtime.chat_template import ChatTemplate, Message

MESSAGES = [Message("user", "hi"), Message("assistant", "<|yes|>"), Message("user", "more")]


def growing(value: str, times: int = 99, at_first: str = "'ab'") -> str:
    """A template that makes a value out of its former self."""
    return (
        f"{{% set n = namespace(x={at_first}) %}}{{% for i in range({times}) %}}{{% set n.x = {value} %}}{{% endfor %}}"
    )


def many(form: str, times: int) -> str:
    return "".join(form.replace("#", str(index)) for index in range(times))


LONG = "('<a' * 499999)"
NUMBERS = "(range(99999)|list)"
COLLIDING = "[" + ",".join(str((2**61 - 1) * index) for index in range(1, 100)) + "]"  # all have the same hash

# Each of these takes for ever, takes all memory, or leaves the sandbox where nothing bounds it.
HOSTILE = {
    # time
    "loop in loop": ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "takes more than"),
    "large range": ("{% for a in range(10 ** 12) %}{% endfor %}", "Range too big"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    "two-fold recursion": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "takes more than",
    ),
    "recursive loop": ("{% for x in messages recursive %}{{ loop(messages) }}{% endfor %}", "recursion"),
    "loop called with much": (
        "{% for x in [1] recursive %}{% if loop.depth < 4 %}{{ loop(range(99999)) }}{% endif %}{% endfor %}",
        "takes more than",
    ),
    "search in lists": (f"{{% set r = {NUMBERS} %}}" + "{{ -1 in r }}{{ -2 in r }}" * 700, "takes more than"),
    "search by a test": (f"{{{{ range(100000, 199999)|select('in', {NUMBERS})|list }}}}", "takes more than"),
    "long attribute": (f"{{{{ ('x' * 99999)|list|sort(attribute='{'0.' * 9000}0') }}}}", "takes more than"),
    "search backwards": ("{% set a = 'a' * 499999 %}{{ (a + a).rfind('ab' + a) }}", "compares"),
    "split backwards": ("{% set a = 'a' * 499999 %}{{ (a + a).rsplit('ab' + a) }}", "compares"),
    "strip": ("{{ ('a' * 999999).strip('b' * 999998 + 'a') }}", "compares"),
    "trim": ("{{ ('a' * 999999)|trim('b' * 999998 + 'a') }}", "compares"),
    "sum of lists": ("{{ ([[1, 2]] * 30000)|sum(start=[]) }}", "compares"),
    "numbers of one hash": (
        f"{{% set n = namespace(l=[]) %}}{{% for i in range(99) %}}{{% set n.l = n.l + {COLLIDING} %}}{{% endfor %}}"
        "{{ dict.fromkeys(n.l) }}",
        "slow work",
    ),
    "tags": (f"{{{{ {LONG}|striptags }}}}", "slow work"),
    "links": ("{{ ('www.a.com ' * 9999)|urlize }}", "slow work"),
    "word wrap": ("{{ ('a' * 999999)|wordwrap(1) }}", "slow work"),
    "pretty print": (f"{{{{ {NUMBERS}|pprint }}}}", "slow work"),
    "title": (f"{{{{ {LONG}|title }}}}", "slow work"),
    "digits": ("{{ ('9' * 999999)|int }}", "reads a number"),
    "rounding": ("{{ 1.5|round(10 ** 8, 'ceil') }}", "rounds"),
    "power": ("{{ 9 ** 9 ** 9 ** 9 ** 9 }}", "bits"),
    "power as text": ("{{ (9999 ** 99999)|string }}", "bits"),
    "squares": (growing("n.x * n.x", at_first="9"), "bits"),
    # one large value
    "concatenation": (growing("n.x ~ n.x"), "makes"),
    "addition": (growing("n.x + n.x"), "makes"),
    "lists": (growing("[n.x, n.x]"), "makes"),
    "added lists": (growing("n.x + n.x", at_first="[1]"), "makes"),
    "dicts": (growing("{1: n.x, 2: n.x}"), "makes"),
    "tuples": (growing("(n.x, n.x)"), "makes"),
    "dict call": (growing("dict(a=n.x, b=n.x)"), "makes"),
    "deep lists": (growing("[n.x]", 99999), "levels"),
    "deep tuples as keys": (growing("(n.x,)", 99999) + "{{ {n.x: 1} }}", "levels"),
    "deep dicts": (growing("{1: n.x}", 99999), "levels"),
    "deep batches": (growing("[n.x]|batch(1)|list", 99999), "levels"),
    "many directives": ("{{ ('%%' * 499999) % () }}", "slow work"),
    "many fields": ("{{ ('{}' * 499999).format(1) }}", "slow work"),
    "time": ("{{ strftime_now('%c' * 99999) }}", "time"),
    "namespaces": (
        "{% set n0 = 1 %}" + many("{% set n = namespace(a=n, b=n) %}", 40) + "{{ n }}",
        "makes",
    ),
    "namespace in itself": ("{% set n = namespace() %}{% set n.a = [n] %}{{ n }}", "recursion"),
    "multiplied text": ("{{ 'a' * 10 ** 10 }}", "makes"),
    "multiplied list": ("{{ [0] * 10 ** 10 }}", "makes"),
    "in a condition": ("{% if 'x' * 10 ** 10 %}{% endif %}", "makes"),
    "mapping used again": ("{{ ('%(a)s' * 5000) % {'a': 'x' * 400000} }}", "makes"),
    "a list used again": (f"{{{{ '%s%s' % ({NUMBERS}, {NUMBERS}) }}}}", "makes"),
    "percent width": ("{{ '%9999999999d' % 1 }}", "makes"),
    "percent star": ("{{ '%*d' % (9999999999, 1) }}", "makes"),
    "percent precision": ("{{ '%.999999999f' % 1.5 }}", "makes"),
    "width behind a key": ("{{ '%(a(b))999999999d' % {'a(b)': 1} }}", "makes"),
    "format filter": ("{{ '%999999999d'|format(1) }}", "makes"),
    "format width": ("{{ '{:>9999999999}'.format(1) }}", "makes"),
    "format width as field": ("{{ '{:{}}'.format(1, 999999999) }}", "makes"),
    "format used again": ("{{ ('{0}' * 9999).format('x' * 9999) }}", "makes"),
    "format of a list": (f"{{{{ ('{{0}}' * 99).format({NUMBERS}) }}}}", "makes"),
    "format by item": ("{{ '{:>9999999999}'['format'](1) }}", "makes"),
    "format by filter": ("{{ ('{:>9999999999}'|attr('format'))(1) }}", "makes"),
    "center": ("{{ 'a'.center(9999999999) }}", "makes"),
    "zeros": ("{{ 'a'.zfill(9999999999) }}", "makes"),
    "tabs": ("{{ ('\t' * 999).expandtabs(9999999) }}", "makes"),
    "center filter": ("{{ 'a'|center(9999999999) }}", "makes"),
    "mapped filter": ("{{ ['a']|map('center', 9999999999)|list }}", "makes"),
    "indent": ("{{ 'a\n'|indent(9999999999, true) }}", "makes"),
    "indent with a text": ("{{ ('a\n' * 99999)|indent('b' * 99999) }}", "makes"),
    "json indent": ("{{ messages|tojson(indent=9999999999) }}", "makes"),
    "json of depth": (growing("[n.x]", 400) + "{{ n.x|tojson(indent=99999) }}", "makes"),
    "json of depth without spaces": (
        growing("[n.x]", 400, "(range(9999)|list)") + "{{ n.x|tojson(indent=0) }}",
        "makes",
    ),
    "json separators": (f"{{{{ {NUMBERS}|tojson(separators=('x' * 9999, 'y')) }}}}", "makes"),
    "replace": ("{{ ('a' * 99999)|replace('a', 'b' * 99999) }}", "makes"),
    "replace nothing": ("{{ ('a' * 99999)|replace('', 'b' * 99999) }}", "makes"),
    "replace method": ("{{ ('a' * 99999).replace('a', 'b' * 99999) }}", "makes"),
    "join": ("{{ ('a' * 99999)|list|join('b' * 99999) }}", "makes"),
    "join method": ("{{ ('b' * 99999).join(('a' * 99999)|list) }}", "makes"),
    "join of much": ("{{ range(99999)|map('string')|map('replace', '', 'x' * 99)|join }}", "makes"),
    "wrap with a text": ("{{ ('a ' * 9000)|wordwrap(1, true, 'b' * 9999) }}", "makes"),
    "batch": ("{{ [1]|batch(10 ** 9, 'x')|list }}", "makes"),
    "slice": ("{{ [1]|slice(10 ** 9)|list }}", "takes more than"),
    "characters": (f"{{{{ {LONG}|list }}}}", "makes"),
    "sorted characters": (f"{{{{ {LONG}|sort }}}}", "makes"),
    "characters as arguments": (f"{{% macro m() %}}{{% endmacro %}}{{{{ m(*{LONG}) }}}}", "makes"),
    "repr": ("{{ ['\x01' * 999999] }}", "makes"),
    "views": ("{% set d = dict(a='x' * 600000) %}{{ [d.items(), d.items()] }}", "makes"),
    "bytes": ("{{ (5).to_bytes(10 ** 9, 'big') }}", "unsafe"),
    "encoded": ("{{ 'a'.encode() }}", "unsafe"),
    "time width": ("{{ strftime_now('%9999999999d') }}", "time"),
    # much at a time, and much written
    "texts": (many("{% set a# = 'x' * 999999 %}", 900), "holds"),
    "own texts": (many("{% set a# = '<' * 999999 %}", 900), "holds"),
    "texts in a list": ("{{ [" + "'<' * 999999, " * 1900 + "] }}", "holds"),
    "texts in calls": (
        "{% macro f(n) %}{% set t = '<' * 999999 %}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(120) }}",
        "holds",
    ),
    "lists at a time": (many(f"{{% set a# = {NUMBERS} %}}", 600), "holds"),
    "block": (
        "{% set n = namespace(x=1) %}{% for i in range(30) %}{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}{% endfor %}",
        "writes",
    ),
    "text in loop": ("{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}", "writes"),
    "text in macro": (
        "{% macro m() %}{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}{% endmacro %}{{ m()|length }}",
        "writes",
    ),
    # out of the sandbox
    "internals": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "internals by filter": ("{{ (messages|map(attribute='__class__')|list)[0].__mro__ }}", "unsafe"),
    "internals by format": ("{{ '{0.__class__.__mro__}'.format(messages) }}", "unsafe"),
    "internals of a namespace": ("{{ namespace(__class__=1) }}", "underscore"),
    "stand-ins": ("{{ ('<|a|>')._marked.a }}", "unsafe"),
    "change": ("{{ messages.append(messages) }}", "unsafe"),
    "file": ("{% include '/etc/passwd' %}", "loader"),
    "import": ("{% import 'os' as os %}", "loader"),
}

# Compiling these takes seconds or hundreds of megabytes.
LARGE = {
    "macros": (many("{% macro m#() %}{% endmacro %}", 600), "loops, macros and blocks"),
    "loops": (many("{% for a in b %}{% endfor %}", 600), "loops, macros and blocks"),
    "call blocks": (many("{% call m() %}{% endcall %}", 600), "loops, macros and blocks"),
    "conditions": (many("{% if a# %}{% endif %}", 1200), "conditions"),
    "alternatives": ("{% if a %}" + many("{% elif b# %}", 2000) + "{% endif %}", "conditions"),
    "sum": ("{{ a" + " + a" * 3000 + " }}", "nested"),
    "filters": ("{{ a" + "|upper" * 3000 + " }}", "nested"),
    "attributes": ("{{ a" + ".a" * 3000 + " }}", "nested"),
    "list": ("{{ [" + "a," * 40000 + "] }}", "words and signs"),
    "outputs": ("{{ a }}" * 10000, "words and signs"),
    "parentheses": ("{{" + "(" * 5000, "recursion"),
    "brackets": ("{{" + "[" * 5000, "recursion"),
    "negations": ("{{ " + "not " * 5000 + "1 }}", "recursion"),
    "nested conditions": ("{% if a %}" * 2000 + "{% endif %}" * 2000, "recursion"),
    "number": ("{{ " + "9" * 90000 + " }}", "digits"),
    "source": ("x" * 10**7, "too many"),
    "escaping": ("{% autoescape true %}{{ a }}{% endautoescape %}", "HTML"),
}

# As large as they may be: these must be made.
LARGEST = {
    "macros": many("{% macro m#() %}{{ a }}{% endmacro %}", 240),
    "loops": many("{% for a# in messages %}{% set b# = a# %}{% endfor %}", 240),
    "conditions": many("{% if a# %}{% set b# = 1 %}{% endif %}", 390),
    "alternatives": "{% if a %}" + many("{% elif b# %}{% set m# = 1 %}", 390) + "{% endif %}",
    "list": "{% set x = [" + "a," * 4500 + "] %}",
    "sum": "{% set a = 1 %}" + ("{{ a" + " + a" * 90 + " }}") * 50,
    "text": "x" * 99_999,
    "values": "{% set x = 'ab' * 499999 %}{{ x.replace('a', 'b')[:9] }}{{ x.split('a')[:0] and '' if false else '' }}",
    "small values": growing("n.x[:9] ~ i", 30000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_is_stopped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, reason = HOSTILE[name]
    monkeypatch.setattr(template_budget, "MAX_SECONDS", 0.1 if reason.startswith("takes") else 600.0)
    with pytest.raises(TemplateError, match=re.escape(reason)) as caught:
        ChatTemplate(source, SPECIAL).render(MESSAGES)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("name", LARGE)
def test_large_is_refused_before_it_is_compiled(name: str) -> None:
    source, reason = LARGE[name]
    with pytest.raises(TemplateError, match=re.escape(reason)) as caught:
        ChatTemplate(source)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("name", LARGEST)
def test_what_is_just_small_enough(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_budget, "MAX_SECONDS", 600.0)
    ChatTemplate(LARGEST[name]).render(MESSAGES)


def test_memory() -> None:
    """What the process takes at most, for templates that are stopped because they hold much, and for the largest."""
    pytest.importorskip("resource")
    program = (
        "import resource, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_hostile_templates import *\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "template_budget.MAX_SECONDS = 600.0\n"
        "for source in [*[s for s, reason in HOSTILE.values() if reason == 'holds'], *LARGEST.values()]:\n"
        "    try:\n        ChatTemplate(source).render(MESSAGES)\n    except TemplateError:\n        pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run.stdout) >> (20 if sys.platform == "darwin" else 10) < 250  # MiB; Linux counts KiB


def test_a_template_recovers_from_a_hostile_message() -> None:
    template = ChatTemplate("{% for m in messages %}{% for i in range(m.content|int) %}{% endfor %}{% endfor %}ok")
    assert template.render([Message("user", "100")]) == "ok"
    with pytest.raises(TemplateError):
        template.render([Message("user", "99999")] * 9)
    assert template.render([Message("user", "100")]) == "ok"


def test_threads_have_budgets_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One template, rendered by several threads at a time: what one may use is not used up by another."""
    monkeypatch.setattr(template_budget, "MAX_SECONDS", 600.0)
    template = ChatTemplate("{% for m in messages %}{% for i in range(m.content|int) %}{% endfor %}{% endfor %}<|ok|>")
    outcomes: list[str] = []

    def render(steps: str) -> None:
        try:
            outcomes.append(template.render([Message("user", steps)] * 4))
        except TemplateError as error:
            outcomes.append("stopped" if "takes more than" in str(error) else str(error))

    threads = [threading.Thread(target=render, args=(steps,)) for steps in ("60000", "99999") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["<|ok|>"] * 4 + ["stopped"] * 4
