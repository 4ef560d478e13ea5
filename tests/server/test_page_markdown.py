"""Markdown on the chat page: nothing of a text is hidden, none of it becomes HTML, and it takes no long time."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import ask, chromium, page_of, says, streamed
from server_tools import Running

#: Draws a text as it comes, piece by piece, and tells the letters and digits that are seen after each; numbers of lists
#: are drawn by the browser. Then: whether drawing it at once gives the same.
GROW = """async ([text, size]) => {
  const { MarkdownView } = await import("./web/markdown_view.js");
  const seen = (node) => {
    let found = node.matches?.("ol > li") ? String(node.value) : "";
    for (const one of node.childNodes) found += one.nodeType === Node.TEXT_NODE ? one.data : seen(one);
    return found;
  };
  const [growing, whole] = [document.createElement("div"), document.createElement("div")];
  const view = new MarkdownView(growing);
  const said = [];
  for (let end = size; end < text.length + size; end += size) {
    view.show(text.slice(0, end));
    said.push([text.slice(0, end), seen(growing)]);
  }
  new MarkdownView(whole).show(text);
  return [said, growing.innerHTML === whole.innerHTML];
}"""

#: What a text becomes: the tags of its elements, in order, without those of the frames around.
SHAPE = """async (text) => {
  const { MarkdownView } = await import("./web/markdown_view.js");
  const made = document.createElement("div");
  new MarkdownView(made).show(text);
  const walk = (node) => [...node.childNodes].map((one) =>
    one.nodeType === Node.TEXT_NODE ? one.data : `<${one.localName}>${walk(one)}</${one.localName}>`).join("");
  return walk(made);
}"""


@pytest.fixture(scope="module")
def page(server: Running) -> Iterator[Any]:
    with chromium() as browser, page_of(browser, server.url) as found:
        found.locator(".tries button").first.wait_for()
        yield found


def letters(text: str) -> str:
    return "".join(re.findall(r"[^\W_]", text))


TEXTS = [
    "- 1. \n- 2.",
    "1. a\n   - b\n\n     c\n2. d\n9) e\n007. f\n3. g\n1. h",
    "| a | b |\n|---|:-:|\n| c | d | e | f |\n| g |\n|h\\|i|`j|k`|\n\nl",
    "[a]: https://b.c 'd'\n\n[a] [e][a] ![f](https://g.h 'i') [j](k \"l\") [m](<n o>)",
    "<!-- a --> <b>c</b> <script>d</script> &lt; &#65; <https://e.f>",
    "```a b c\nd\n``` e\nf\n```\n~~~\ng\n> h",
    "> a\n>> b\nc\n> - d\n> 1. e\n\n>\n> f",
    "# a #\n#b\n####### c\nd\n===\ne\n---\nf\n***\n# ",
    "***a** b*c **d __e_ f* g** ~h~ ~~i~~ ~~~j~~~ k_l_m `n ``o` p``",
    "    a\n\n\tb\nc\n- [ ] d\n- [a] e\n-\n- \n+ f",
    "a\\*b\\\\c\\[d\\]\\(e\\) \\",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 1000])
def test_nothing_is_hidden_while_it_grows(page: Any, text: str, size: int) -> None:
    said, same = page.evaluate(GROW, [text, size])
    assert same
    for given, seen in said:
        assert letters(given) == letters(seen), given


def test_nothing_is_hidden_of_random_texts(page: Any) -> None:
    chance = random.Random(7)
    marks = [
        *"ab12 \n\n-*_`~#>|[]()<&:!\\+.",
        "  ",
        "    ",
        "\t",
        "```",
        "- ",
        "1. ",
        "> ",
        "|-",
        "https://c",
        "](",
        "**",
    ]
    for _ in range(300):
        text = "".join(chance.choices(marks, k=chance.randint(1, 60)))
        said, same = page.evaluate(GROW, [text, 5])
        assert same, text
        for given, seen in said:
            assert letters(given) == letters(seen), given


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("# a *b*\n\nc  \nd", "<h3>a <em>b</em></h3><p>c  \nd</p>"),
        ("- a\n  - b\n- c", "<ul><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ul>"),
        ("1. a\n  - b\n2. c", "<ol><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ol>"),
        ("- [x] a", "<ul><li><span>☑</span><p>a</p></li></ul>"),
        ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
        ("***a***", "<p><em><strong>a</strong></em></p>"),
        ("a_b_c _d_ ~~e~~", "<p>a_b_c <em>d</em> <del>e</del></p>"),
        ("`` a`b `` `*c*`", "<p><code>a`b</code> <code>*c*</code></p>"),
        ("a * b * c", "<p>a * b * c</p>"),
        ("> a\n\n---", "<blockquote><p>a</p></blockquote><hr></hr>"),
        ("see https://a.b/c_(d).", "<p>see <a>https://a.b/c_(d)</a>.</p>"),
        ("[a](https://b)", "<p><span><a>a</a><span> (https://b)</span></span></p>"),
        ("[a](javascript:b)", "<p>[a](javascript:b)</p>"),
        ("a\n1986. b", "<p>a\n1986. b</p>"),
        ("\\[x\\]", "<p>\\[x\\]</p>"),
        ("a\u202eb\u0007", "<p>a‹U+202E›b‹U+0007›</p>"),
    ],
)
def test_shapes(page: Any, text: str, shape: str) -> None:
    assert page.evaluate(SHAPE, text) == shape


def test_tables_keep_their_sides(page: Any) -> None:
    says(page, streamed("|a|b|c|\n|:-|:-:|-:|\n|1|2|3|"))
    ask(page, "Hello!")
    sides = "[...document.querySelectorAll('.answer td')].map((one) => getComputedStyle(one).textAlign)"
    assert page.evaluate(sides) == ["start", "center", "end"]
    assert page.locator(".answer th[scope=col]").count() == 3


def test_direction_of_writing(page: Any) -> None:
    says(page, streamed("1. مرحبا\n2. hello\n\nhello\n\n> مرحبا"))
    ask(page, "Hello!")
    ways = "[...document.querySelectorAll('.answer')].at(-1).querySelectorAll(':scope > *, li p')"
    found = page.evaluate(f"[...{ways}].map((one) => getComputedStyle(one).direction)")
    assert found == ["rtl", "rtl", "rtl", "ltr", "rtl"]


def test_no_word_of_a_model_is_html(page: Any) -> None:
    hostile = (
        "<img src=x onerror=alert(1)><script>alert(2)</script>\n\n<iframe src='https://example.org'>\n\n"
        "[a](javascript:alert(3)) [b](data:text/html,c) [d]( https://e.f ) ![g](https://h.i/j.png)\n\n"
        '[k](https://l.m" onclick="alert(4)) `<b>n</b>`\n\n```<i>\n<u>o</u>\n```\n\n|<s>p</s>|\n|-|\n'
        "|<svg onload=alert(5)>|"
    )
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    says(page, streamed(hostile))
    ask(page, hostile)
    tags = page.evaluate("[...document.querySelectorAll('#messages *')].map((one) => one.localName)")
    assert not set(tags) & {"img", "script", "iframe", "b", "i", "u", "s", "object", "style", "form"}
    links = page.evaluate(
        "[...document.querySelectorAll('.answer a')].map((one) => [one.protocol, one.target, one.rel])"
    )
    assert links and all(link == ["https:", "_blank", "noopener noreferrer nofollow"] for link in links)
    attributes = "[...document.querySelectorAll('#messages *')].flatMap((one) => one.getAttributeNames())"
    assert not [name for name in page.evaluate(attributes) if name.startswith("on")]


@pytest.mark.parametrize(
    "text",
    [
        "*a **b " * 20_000,
        "[" * 50_000 + "](https://a)" * 5_000,
        ">" * 50_000,
        "- " * 20_000,
        "`" * 50_000,
        "`".join("x" * n for n in range(400)),
        "|" * 20_000 + "\n" + "|-" * 20_000,
        "https://" + "!" * 50_000 + "a",
        "\n".join(" " * n + "- x" for n in range(1000)),
        "**" * 20_000 + "a" + "**" * 20_000,
    ],
)
def test_hostile_texts_end(page: Any, text: str) -> None:
    """Each is drawn, and the page still answers."""
    assert page.evaluate(SHAPE, text)
    assert page.evaluate("1 + 1") == 2
