"""What templates do with texts, lists and dictionaries: the result is Jinja's own, the template's words stay marked,
and what was said never is."""

from __future__ import annotations

import random

import pytest
from template_reference import reference

from rbe_edge.errors import TemplateError
from rbe_edge.runtime.chat_template import ChatTemplate, Message
from rbe_edge.runtime.marked_text import unmark

# What is said has signs that the templates below have not, and the other way round.
SAID = "@ab^ x~y@ \u00df\u03a3 \U0001f600^c`"
MESSAGES = [
    Message("user", SAID),
    Message(
        "tool",
        "a_b <think>x</think> [INST] 'q' \"r\" {0} %s \\ end\n\n",
        {"weight": 3, "hold": ["<s>", None, 1.5]},
    ),
]
SAID_SIGNS = "@^~`"
SETUP = (
    "{% set c = messages[0].content %}{% set m = messages[1].content %}{% set o = '<|own|> a_b [X]\\n' %}"
    "{% set x = o ~ c ~ '</s>' %}{% set n = namespace(v=o, w=[c, o], d={'k<': c, c: o}) %}{% set e = '' %}"
)
TEXTS = "c m o x n.v n.w[1] n.d['k<']".split()

#: of a text t
TEXT_TO_TEXT = """
t|replace('_', '-')
t|replace('<think>', '')|replace('[INST]', 'I')
t|replace(o, '|!|')
t|replace(c, o, 1)
t|replace('', '-', 3)
t|replace('', '[]')
t.replace('<', o)
t.replace(t, c)
t.replace('', '', 2)
t.split('<')|join('{}')
t.split('_', 1)[0]
t.rsplit('|', 1)[-1]
t.split()|join('|')
t.split(none, 1)|last
t.rsplit(none, 2)|join
t.splitlines(true)|join
t.partition('|')|join('/')
t.rpartition('_')[2]
t.strip('<|@')
t.lstrip('<')
t.rstrip('\\n]')
t|trim
t|trim('<^')
t.removeprefix('<|')
t.removesuffix('\\n')
t|upper
t|lower
t|title
t|capitalize
t.swapcase()
t.casefold()
t.title()
t|center(60)
t.center(70, '|')
t.ljust(50, '_')
t.rjust(50)
t.zfill(60)
t.expandtabs(3)
t|indent
t|indent(2, true, true)
t|indent('>_')
t|wordwrap(10)
t|wordwrap(7, true, '|')
t|truncate(9)
t|truncate(12, true, '<>')
t|reverse
t|string
t|default('d')
e|default(t, true)
t|list|join('_')
t|first
t|last
t[0]
t[2:9]
t[::-1]
t[:-3]
t|e
t|safe
(t|safe) ~ '<'
(t|safe) + '<&>'
('"'|safe) + t + '\\''
(t|e) + t
t|e|safe|upper
t|escape|string|length
t|striptags
t|forceescape
t|urlencode
t|tojson
t|tojson(ensure_ascii=true)
[t]|string
(t, o)|string
{t: t}|string
[[t], {'a': (t,)}]|string
'' ~ [t, 1, none, true]
t ~ 5 ~ [t]
t + o
o + t
t * 2
2 * t
'%s|' % t
t|format if '%' not in t and '{' not in t else 'f'
'<|%s|> %5s %.3s %%' % (t, o, c)
'%(a_b)s<|%(c)s' % {'a_b': t, 'c': o}
'%r' % t
'%s' % [t]
'<|{}|>{}'.format(t, 1)
'{0}{0!r}{a[k]:>9}'.format(t, a={'k': '_'})
'{:*^40}'.format(t)
'{{}}<{:>{}}>'.format('a', 5)
[t, o]|join(t)
t.join([o, c])
'|'.join(t)
t|pprint
t|batch(3, '<')|map('join')|join(';')
t|slice(3, '_')|map('join')|join(';')
t|sort|join
t|unique|join
t|map('upper')|join
t|select('in', '<|@')|join
t|groupby(0)|map(attribute='list')|map('join')|join(',')
[t, o, c]|sort|join
[t, o, c]|max
[t, o, t]|unique|join('_')
[{'a': t}, {'a': o}]|map(attribute='a')|join
[{'a': t}, {'a': o}]|sort(attribute='a')|tojson
[{'a': t}, {'a': o}]|groupby('a')|string
{t: o}|dictsort|string
{t: o}|items|list|string
{'<': t}.items()|list
dict(a=t, b=[t])
dict([(t, o)])
{'a': t}|xmlattr
""".strip().splitlines()  # fmt: skip

#: of a text t, what is no text
TEXT_TO_ANY = """
t|length
t|count
t|wordcount
'<' in t
c in t
t == o
t != '</s>'
t < '<'
o.startswith('<|')
t.startswith(('<', '@'))
t.endswith('>')
t.find('|')
t.rfind('_')
t.count('<')
t.isalpha()
t is string
t in [o, c]
t in n.d
n.d[t] if t in n.d else 'no'
n.d.get(c)
n.d
n.w
messages
messages[1]
messages[1].weight
messages[1].hold
messages|tojson(indent=2)
messages|map(attribute='content')|list
messages[1].keys()
messages[1].values()
messages[1].items()
[n.w, n.d]
{'ns': n.w}|tojson(sort_keys=true)
'1_0'|int
'<3>'|float
['b<', 'a<', 'B>']|sort
['<', '(', 'a', '_']|sort|tojson
range(3)|list
(1,)
()
[none, true, 1.0, undefined_thing]
5 .bit_length()
""".strip().splitlines()

#: of what the template wrote alone, or beside what was said
MOVED = r"""
o
o ~ c
c + o
o|trim
o.strip()
x.replace(c, '')
x|replace(c, '')
o.split('_')|join('_')
o|upper
o|title
o|indent
o|center(40)
[o, c]|join
c.join([o, o])
'%s' % o
'%(a)s' % {'a': o}
'{}'.format(o)
[o]|string
{'a': o}
[o]|tojson
o|safe
(o|safe) + 'a'
o|default('x')
o[:9]
o|list|join
n.v
n.w[1]
x|reverse|reverse
o|truncate(12)
[c, o]|last
(o, 1)|first
o ~ ''|e
[o]|map('trim')|first
c.replace('a', o)
c|replace('a', o)
o.rsplit('_', 1)[0]
o.partition('_')[0]
(o|string)|lower
o.removesuffix('\n')
o * 2
""".strip().splitlines()

#: where templates keep what they made
STATEMENTS = [
    "{% for m in messages %}{% set n = namespace(v=1) %}{{ m.content.strip() }}{% endfor %}",
    "{% for m in messages %}{% set n = namespace(v=1) %}{{ m.get('x') or m.get('role') }}{% endfor %}",
    "{% set s = namespace(role='system', content='a') %}{% for m in [s] + messages %}{{ m.role }},{% endfor %}",
    "{% macro f(n) %}{{ n.c }}{% endmacro %}{% set s = namespace(c='<|') %}{{ f(n=s) }}{{ f(s) }}",
    "{% set a = namespace(x='<|') %}{% set b = namespace(f=a, g={'k': [a]}) %}{{ b.f.x }}{{ b.g.k[0].x }}",
    "{% set n = namespace(x=1) %}{% for i in range(3) %}{% set n.x = [n.x, {'a': n.x}] %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(l=[]) %}{% for m in messages %}{% set n.l = n.l + [m] %}{% endfor %}{{ n.l[::-1]|tojson }}",
    "{% for m in messages %}{% set q = namespace(m=m) %}{% set q.m = q %}{{ q.m.m is sameas q }}{% endfor %}",
    "{% set b %}<|{{ c }}|>{% for i in 'a<' %}{{ i }}{% endfor %}{% endset %}{{ b|upper }}{{ [b] }}{{ b == '' }}",
    "{% macro f(a, b='<|') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{{ caller() }}{% endmacro %}"
    "{% call f(c, o, x, k=o) %}</s>{{ c }}{% endcall %}",
    "{% filter replace('<', '[') %}<|{{ c }}|>{% endfilter %}",
    "{% for k, v in n.d.items() %}{{ k }}={{ v }}{% endfor %}{% for a in c %}{{ loop.cycle('<', '>') }}{% endfor %}",
    "{% set a, b = x.split('>', 1) %}{{ b }}{{ a }}{% set y = cycler('<', c) %}{{ y.next() }}{{ y.next() }}",
    "{% for x in [[c, [o]], '<'] recursive %}{{ loop(x) if x is iterable and x is not string else x }},{% endfor %}",
    "{% for m in messages %}{% generation %}{% set z = m.role ~ '<' %}{{ z }}{% endgeneration %}{{ z }}{% endfor %}",
    "{% block one %}<|{{ messages[0].role }}|>{% endblock %}{{ self.one() }}",
    "{% with a = o %}{{ a }}{% endwith %}{{ joiner('<')() }}{{ dict.fromkeys(['<', c], o) }}",
    "{{ namespace(a=1, b=[o, c]) }}{% set s = namespace({'a<': c}) %}{{ s }}",
]


def check(source: str) -> str:
    """The marked text of a template, which is Jinja's own when it is read."""
    source = SETUP + source
    try:
        wanted = reference(source, MESSAGES)
    except Exception:
        with pytest.raises(TemplateError):
            ChatTemplate(source).render(MESSAGES)
        return ""
    marked = ChatTemplate(source).render_marked(MESSAGES)
    assert unmark(marked) == wanted, source
    plain = unmark(marked)
    for index, sign in enumerate(plain):
        assert sign not in SAID_SIGNS or marked[index] == sign, source
    return marked


@pytest.mark.parametrize("expression", [*TEXT_TO_TEXT, *TEXT_TO_ANY])
def test_expressions(expression: str) -> None:
    sources = [f"{{% set t = {name} %}}{{{{ {expression} }}}}|" for name in TEXTS]
    if not check("".join(sources)):  # some of them are refused
        for source in sources:
            check(source)


@pytest.mark.parametrize("source", STATEMENTS)
def test_statements(source: str) -> None:
    check(source)


def test_expressions_of_expressions() -> None:
    chance = random.Random(1)
    for _ in range(150):
        steps = [chance.choice(TEXTS), *chance.choices(TEXT_TO_TEXT, k=3)]
        last = chance.choice([*TEXT_TO_TEXT, *TEXT_TO_ANY])
        lines = "".join(f"{{% set t = {step} %}}" for step in steps)
        check(f"{lines}{{{{ {last} }}}}|{{{{ t }}}}")


def test_errors_name_types_as_jinja_does() -> None:
    for source, reason in (
        ("{{ messages[0].nothing.more }}", "'dict object' has no attribute 'nothing'"),
        ("{{ 1 + '<|' }}", "'int' and 'str'"),
        ("{{ messages + 1 }}", "list"),
        ("{{ undefined_thing.more }}", "'undefined_thing' is undefined"),
    ):
        with pytest.raises(TemplateError, match=reason):
            ChatTemplate(source).render(MESSAGES)


@pytest.mark.parametrize("expression", MOVED)
def test_marks_stay(expression: str) -> None:
    marked = check(f"{{{{ {expression} }}}}")
    signs = [index for index, sign in enumerate(unmark(marked)) if sign in "<|>"]
    assert len(signs) >= 4 and all(marked[index] != unmark(marked)[index] for index in signs)
