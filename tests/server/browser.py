"""A browser without a window, for the tests of pages: Chromium, driven by playwright."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

#: Before the page's own scripts run: likeliest tokens and short answers.
SETTLED = {"temperature": 0, "maxTokens": 24}


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """While it lasts, this thread must run no other event loop: close it with the module that needs it."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def page_of(browser: Any, url: str, settings: dict[str, Any] | None = None, **context: Any) -> Iterator[Any]:
    """A page in a browser that has kept nothing. It fails the test where a script failed, where something was asked of
    another server, or where the policy of contents had to step in."""
    wrong: list[str] = []
    made = browser.new_context(viewport=context.pop("viewport", {"width": 1280, "height": 800}), **context)
    kept = json.dumps(settings if settings is not None else SETTLED)
    made.add_init_script(
        f"localStorage.getItem('rbe-edge/settings') ?? localStorage.setItem('rbe-edge/settings', '{kept}')"
    )
    page = made.new_page()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: wrong.append(f"failed: {error}"))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None)
    origin = "/".join(url.split("/")[:3])
    page.on("request", lambda one: wrong.append(one.url) if not one.url.startswith((origin, "blob:")) else None)
    page.goto(url)
    yield page
    made.close()
    assert wrong == []


def streamed(text: str, *, pieces: int = 3, end: bool = True, finish: str = "stop") -> str:
    """The answer of a server that says this text."""
    size = max(1, -(-len(text) // pieces))
    deltas: list[dict[str, Any]] = [{"content": text[at : at + size]} for at in range(0, len(text), size)]
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 7, "total_tokens": 8}})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + ("data: [DONE]\n\n" if end else "")


def says(page: Any, body: str, status: int = 200, **headers: str) -> None:
    """From now on the server gives this answer to conversations."""
    page.unroute_all()
    page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=status, body=body, content_type="text/event-stream", headers=headers),
    )


def send(page: Any, text: str) -> None:
    """Types a message and sends it."""
    page.fill("#message", text)
    page.click("#send")


def settle(page: Any) -> None:
    """Waits until no answer is being made."""
    page.locator("body:not(.running)").wait_for()


def ask(page: Any, text: str) -> str:
    """The last answer, once it is whole."""
    send(page, text)
    page.locator(".reply .tools button").last.wait_for()
    settle(page)
    return str(page.locator(".answer").last.inner_text())
