"""The pages for everybody: narrow screens, keys alone, screen readers, dark and light."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import ask, chromium, page_of, says, settle, streamed
from server_tools import Running

LONG = (
    "# Title\n\nwords **bold** `code` [link](https://example.org)\n\n```python\n" + "x" * 300 + "\n```\n\n"
    "| a | b | c | d | e | f |\n|---|---|---|---|---|---|\n| " + "long cell | " * 6 + "\n\n" + "y" * 300 + "\n\n"
    "1. one\n   - two\n     - three\n\n> quote\n\n- [x] done\n\n" + "A paragraph of words.\n\n" * 20
)
SIZES = [(320, 568), (390, 844), (1280, 800)]


@pytest.fixture(scope="module")
def browser(server: Running) -> Iterator[Any]:
    with chromium() as found:
        yield found


def answered(page: Any) -> None:
    page.locator(".tries button").first.wait_for()
    says(page, streamed(LONG))
    ask(page, "What is it? " + "z" * 100)
    page.click("button[aria-label='Answer again']")
    settle(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES[1:])
def test_no_rule_of_accessibility_is_broken(browser: Any, server: Running, scheme: str, size: tuple[int, int]) -> None:
    """By axe-core: names, roles, contrast, landmarks, order of headings."""
    package = pytest.importorskip("axe_playwright_python")
    source = next(Path(package.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8")
    view = {"width": size[0], "height": size[1]}

    def broken() -> list[Any]:
        page.evaluate(source)
        found = page.evaluate("axe.run()")["violations"]
        return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]

    with page_of(browser, server.url, viewport=view, color_scheme=scheme, bypass_csp=True) as page:
        page.locator(".tries button").first.wait_for()
        assert broken() == []
        answered(page)
        assert broken() == []
        page.click("#open-settings")
        assert broken() == []
        page.goto(f"{server.url}/docs")
        page.locator("section").first.wait_for()
        assert broken() == []


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_wider_than_the_screen(browser: Any, server: Running, size: tuple[int, int]) -> None:
    with page_of(browser, server.url, viewport={"width": size[0], "height": size[1]}) as page:
        answered(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.evaluate("document.getElementById('thread').scrollWidth") <= size[0]
        assert page.evaluate("document.documentElement.scrollHeight") <= size[1]  # only the conversation scrolls
        box = page.locator("#send").bounding_box()
        assert box["x"] + box["width"] <= size[0] and box["y"] + box["height"] <= size[1]
        page.goto(f"{server.url}/docs")
        page.locator("section").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_on_a_phone_the_list_lies_over_the_page(browser: Any, server: Running) -> None:
    with page_of(browser, server.url, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True) as page:
        answered(page)
        assert not page.locator("#new").is_visible()
        page.tap("#open-side")
        assert page.evaluate("document.activeElement.id") == "close-side"
        assert page.locator("#page").evaluate("(one) => one.inert")
        page.keyboard.press("Escape")
        assert not page.locator("#new").is_visible() and page.evaluate("document.activeElement.id") == "open-side"
        page.tap("#open-side")
        page.tap("#new")
        assert page.locator(".tries").is_visible() and not page.locator("#new").is_visible()
        page.fill("#message", "one")
        page.press("#message", "Enter")  # a line, on a phone
        assert page.input_value("#message") == "one\n"
        sizes = page.evaluate(
            "[...document.querySelectorAll('header button, header a')].map((one) => one.offsetHeight)"
        )
        assert min(sizes) >= 40  # px: for fingers


def test_all_can_be_done_by_keys(browser: Any, server: Running) -> None:
    with page_of(browser, server.url) as page:
        page.locator(".tries button").first.wait_for()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        says(page, streamed("an answer"))
        page.keyboard.type("By keys")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("alone")
        page.keyboard.press("Enter")
        page.locator(".answer", has_text="an answer").wait_for()
        settle(page)
        assert page.inner_text(".said") == "By keys\nalone"
        page.locator("#told", has_text="Answer: an answer").wait_for(state="attached")  # for screen readers
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent.trim()"))
        assert {"Rename", "Delete", "Settings", "Edit", "Answer again", "Copy the answer", "API"} <= reached
        page.keyboard.press("Alt+n")
        assert page.locator(".tries").is_visible()


def test_dark_and_light(browser: Any, server: Running) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with page_of(browser, server.url, color_scheme="dark") as page:
        dark = page.evaluate(ground)
        page.click("#open-settings")
        page.select_option("#theme", "light")
        light = page.evaluate(ground)
        assert dark != light == "rgb(255, 255, 255)"
        page.reload()
        assert page.evaluate(ground) == light


def test_who_reads_above_is_left_there(browser: Any, server: Running) -> None:
    with page_of(browser, server.url, viewport={"width": 390, "height": 500}) as page:
        answered(page)
        at_end = "thread.scrollHeight - thread.scrollTop - thread.clientHeight < 80"
        assert page.evaluate(at_end) and not page.locator("#jump").is_visible()
        page.evaluate("document.getElementById('thread').scrollTop = 0")
        page.click("#jump")
        page.locator("#jump").wait_for(state="hidden")
        assert page.evaluate(at_end)
