"""The chat page in a browser: asking, stopping, versions, conversations, settings, keys, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import SETTLED, ask, chromium, page_of, says, send, settle, streamed
from server_tools import LONG, Running, running

from rbe_edge.runtime.model import Model

httpx = pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def browser(server: Running) -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Any, server: Running) -> Iterator[Any]:
    with page_of(browser, server.url) as found:
        found.locator(".tries button").first.wait_for()
        yield found


def kept(page: Any) -> list[dict[str, Any]]:
    """The conversations in the browser's storage."""
    names = "Object.keys(localStorage).filter((name) => name.startsWith('rbe-edge/chat/'))"
    return [json.loads(text) for text in page.evaluate(f"{names}.map((name) => localStorage.getItem(name))")]


def test_it_says_what_the_model_says_and_keeps_it(page: Any, server: Running) -> None:
    said = ask(page, "Hello!")
    asked = {"messages": [{"role": "user", "content": "Hello!"}], "temperature": 0, "max_tokens": 24}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json={"model": "demo", **asked}, timeout=60).json()
    expected = answer["choices"][0]["message"]["content"]
    assert kept(page)[0]["nodes"][1]["text"] == expected and expected.split()[0] in said
    assert f"{answer['usage']['completion_tokens']} tokens" in page.inner_text(".figures")
    page.reload()
    page.locator(".tries button").first.wait_for()
    page.click("#conversations .open")
    assert page.inner_text(".answer") == said and page.inner_text(".said") == "Hello!"
    assert ask(page, "And now?")  # goes on with what was said before
    assert [node["parent"] for node in kept(page)[0]["nodes"]] == [-1, 0, 1, 2]


def test_escape_stops_the_server_too(page: Any, server: Running) -> None:
    def longer(route: Any) -> None:
        more = {"max_tokens": 2000, "n": 32, **LONG}  # one answer ends before a busy machine has shown its beginning
        route.continue_(post_data=json.dumps({**route.request.post_data_json, **more}))

    page.route("**/v1/chat/completions", longer)
    cancelled = server.metric("rbe_cancelled_total")
    send(page, "Hello!")
    page.locator(".answer p, .answer li").first.wait_for()
    assert page.get_attribute("#send", "aria-label") == "Stop"
    page.keyboard.press("Escape")
    settle(page)
    server.wait_for(lambda: server.metric("rbe_cancelled_total") > cancelled)
    assert "stopped" in page.inner_text(".figures") and page.get_attribute("#send", "aria-label") == "Send"
    assert 0 < len(kept(page)[0]["nodes"][1]["text"]) < 32 * 800  # what had come stays


def test_an_answer_goes_on_where_it_was_cut(page: Any) -> None:
    go_on = page.get_by_role("button", name="Continue", exact=True)
    says(page, streamed("**half", finish="length"))
    ask(page, "Hello!")
    assert "Cut" in page.inner_text(".reply")
    says(page, streamed(" of** it"))
    with page.expect_request("**/v1/chat/completions") as asked:
        go_on.click()
    body = asked.value.post_data_json
    assert body["messages"][1:] == [{"role": "assistant", "content": "**half"}] and body["continue_final_message"]
    page.locator(".answer", has_text="half of it").wait_for()
    settle(page)
    assert go_on.count() == 0 and "Cut" not in page.inner_text(".reply") and "14 tokens" in page.inner_text(".figures")
    assert [node["text"] for node in kept(page)[0]["nodes"]] == ["Hello!", "**half of** it"]
    # Only the last answer goes on; one that the server does not take stays as it was.
    says(page, streamed("more", finish="length"))
    ask(page, "And?")
    says(page, json.dumps({"error": {"message": "no more"}}), 400)
    go_on.click()
    page.locator("[role=alert]").wait_for()
    says(page, streamed(" and more"))
    page.click("[role=alert] button")
    page.locator(".answer", has_text="more and more").wait_for()
    settle(page)
    assert page.locator(".answer").count() == 2 and page.locator(".waiting").count() == 0


def test_a_stopped_answer_goes_on(page: Any, server: Running) -> None:
    ask(page, "Tell me a story.")
    whole = kept(page)[0]["nodes"][1]["text"]
    cut = whole[: len(whole) // 2]
    name = "Object.keys(localStorage).find((name) => name.startsWith('rbe-edge/chat/'))"
    change = "(chat.nodes[1].text = cut, chat.nodes[1].finish = undefined, chat.nodes[1].stopped = true, chat)"
    page.evaluate(
        f"(cut) => {{ const name = {name}, chat = JSON.parse(localStorage.getItem(name));"
        f" localStorage.setItem(name, JSON.stringify({change})) }}",
        cut,
    )
    page.reload()
    page.click("#conversations .open")
    page.get_by_role("button", name="Continue", exact=True).click()
    server.wait_for(lambda: len(kept(page)[0]["nodes"][1]["text"]) > len(cut))
    settle(page)
    node = kept(page)[0]["nodes"][1]
    assert node["text"].startswith(cut) and len(node["text"]) > len(cut) and not node["stopped"]


def test_no_version_is_lost(page: Any) -> None:
    says(page, streamed("first"))
    assert ask(page, "One?") == "first"
    says(page, streamed("second"))
    page.click("button[aria-label='Answer again']")
    page.locator(".answer", has_text="second").wait_for()
    settle(page)
    assert page.inner_text(".reply .count") == "2/2"
    page.click("button[aria-label='The version before']")
    assert page.inner_text(".answer") == "first" and page.inner_text(".reply .count") == "1/2"
    says(page, streamed("third"))
    page.press("#message", "ArrowUp")  # edits the last question
    page.fill(".editing textarea", "Two?")
    page.press(".editing textarea", "Control+Enter")
    page.locator(".answer", has_text="third").wait_for()
    settle(page)
    assert page.inner_text(".said") == "Two?" and page.inner_text(".question .count") == "2/2"
    page.click(".question button[aria-label='The version before']")
    assert page.inner_text(".said") == "One?" and page.inner_text(".answer") == "first"
    assert [node["text"] for node in kept(page)[0]["nodes"]] == ["One?", "first", "second", "Two?", "third"]


def test_thoughts_are_shown_and_not_sent_again(page: Any) -> None:
    deltas = [{"reasoning_content": "<b>I th"}, {"reasoning_content": "ink"}, {"content": "so"}]
    chunks = "".join(f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n" for delta in deltas)
    says(page, f"{chunks}data: [DONE]\n\n")
    assert ask(page, "Hello!") == "so"
    assert page.inner_text(".thought") == "<b>I think"
    with page.expect_request("**/v1/chat/completions") as asked:
        ask(page, "And?")
    assert [one["content"] for one in asked.value.post_data_json["messages"]] == ["Hello!", "so", "And?"]


def test_settings_are_sent(page: Any) -> None:
    says(page, streamed("fine"))
    page.click("#open-settings")
    page.fill("#temperature", "1.3")
    page.fill("#max-tokens", "77")
    page.fill("#system", "Be brief.")
    page.keyboard.press("Escape")
    with page.expect_request("**/v1/chat/completions") as asked:
        ask(page, "Hello!")
    body = asked.value.post_data_json
    assert (body["temperature"], body["max_tokens"], body["model"]) == (1.3, 77, "demo")
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]


def test_conversations_are_renamed_deleted_exported_and_imported(page: Any, tmp_path: Path) -> None:
    says(page, streamed("a **bold** answer"))
    ask(page, "What is it?")
    page.click("button[aria-label=Rename]")
    page.fill("#ask-value", "  My   notes ")
    page.press("#ask-value", "Enter")
    assert page.locator("#conversations .open[title='My notes']").inner_text() == "My notes"
    with page.expect_download() as download:
        page.click("button[aria-label='Export as Markdown']")
    assert download.value.suggested_filename == "My-notes.md"
    assert "## You\n\nWhat is it?\n\n## demo\n\na **bold** answer" in download.value.path().read_text(encoding="utf-8")
    page.click("#open-settings")
    with page.expect_download() as download:
        page.click("#export-all")
    file = tmp_path / "all.json"
    download.value.save_as(file)
    page.keyboard.press("Escape")
    for _ in range(2):
        page.click("button[aria-label=Delete]")
        assert kept(page) == [] and page.locator("#conversations .open").count() == 0
        page.click("#notice button")  # undo
        assert page.inner_text(".said") == "What is it?"
    page.click("button[aria-label=Delete]")
    page.set_input_files("#import-file", file)
    page.locator("#conversations .open").click()
    assert page.inner_text(".answer") == "a bold answer"
    file.write_text('{"conversations": [{"id": "<b>", "nodes": []}, {"id": "a", "nodes": [{"parent": 0}]}]}', "utf-8")
    page.set_input_files("#import-file", file)
    page.locator("#notice", has_text="holds no conversations").wait_for()
    assert len(kept(page)) == 1


def test_what_others_left_in_the_storage_does_no_harm(page: Any) -> None:
    bad = ["{", "null", '{"id":"x","nodes":[{"parent":5,"role":"user","text":"a"}]}', '{"id":"x","nodes":7}', "[]"]
    for index, text in enumerate(bad):
        page.evaluate("([name, text]) => localStorage.setItem(name, text)", [f"rbe-edge/chat/{index}", text])
    page.evaluate('localStorage.setItem(\'rbe-edge/settings\', \'{"temperature": "<b>", "theme": 3}\')')
    page.reload()
    page.locator(".tries button").first.wait_for()
    assert page.locator("#conversations .open").count() == 0
    says(page, streamed("fine"))
    with page.expect_request("**/v1/chat/completions") as asked:
        ask(page, "Hello!")
    assert asked.value.post_data_json["temperature"] == 0.7


def test_a_full_storage_is_told(page: Any) -> None:
    page.evaluate("for (let n = 22; n >= 0; n--) try { localStorage.setItem(`x${n}`, 'x'.repeat(2 ** n)) } catch {}")
    says(page, streamed("still said"))
    assert ask(page, "Hello!") == "still said"
    assert "full" in page.inner_text("#notice")


@pytest.mark.parametrize(
    ("status", "error", "headers", "words"),
    [
        (429, {"message": "busy"}, {"Retry-After": "7"}, "in 7 s"),
        (503, {"message": "the server is stopping"}, {}, "loading its model, or stopping"),
        (400, {"message": "the prompt has 9 tokens", "code": "context_length_exceeded"}, {}, "Start a new one"),
        (400, {"message": "`max_tokens` is 512; this server gives at most 4"}, {}, "gives at most 4"),
        (500, {"message": "the answer could not be made"}, {}, "could not be made"),
        (502, None, {}, "not ready"),
    ],
)
def test_errors_say_what_to_do(page: Any, status: int, error: Any, headers: Any, words: str) -> None:
    says(page, json.dumps({"error": error}) if error else "<html>", status, **headers)
    send(page, "Hello!")
    assert words in page.locator("[role=alert]").inner_text()
    settle(page)
    says(page, streamed("now it works"))
    page.click("[role=alert] button")
    page.locator(".answer", has_text="now it works").wait_for()
    assert page.locator("[role=alert]").count() == 0
    assert [node["text"] for node in kept(page)[0]["nodes"]] == ["Hello!", "now it works"]


def test_a_conversation_that_is_too_long(page: Any) -> None:
    """As the real server tells it."""
    send(page, "word " * 3000)
    assert "no longer fits" in page.locator("[role=alert]").inner_text()
    page.click("[role=alert] >> text=New conversation")
    page.locator(".tries").wait_for()


@pytest.mark.parametrize("broken", [streamed("half of", end=False), 'data: {"error": {"message": "it ended"}}\n\n'])
def test_an_answer_that_breaks_off(page: Any, broken: str) -> None:
    says(page, broken)
    send(page, "Hello!")
    told = page.locator("[role=alert]").inner_text()
    assert "broke off" in told or "it ended" in told
    if "half" in broken:
        assert page.inner_text(".answer") == "half of"  # stays
    page.reload()
    page.locator("#conversations .open").click()
    assert page.inner_text(".said") == "Hello!"


def test_a_server_that_is_gone(browser: Any, model: Model) -> None:
    with running(model, slots=1) as server, page_of(browser, server.url) as page:
        page.locator(".tries button").first.wait_for()
        server.server.should_exit = True
        server.wait_for(lambda: not server.server.started or not server.server.servers)
        page.route("**/v1/**", lambda route: route.abort("connectionrefused"))
        send(page, "Hello!")
        assert "rbe serve" in page.locator("[role=alert]").inner_text()


def test_the_key_is_asked_once_and_kept_in_the_tab(browser: Any, model: Model) -> None:
    with running(model, {"api_key": "s3 cret"}, slots=1) as server, page_of(browser, server.url) as page:
        page.locator("#ask[open]").wait_for()
        page.fill("#ask-value", "wrong")
        page.press("#ask-value", "Enter")
        page.locator("#ask-title", has_text="wrong").wait_for()
        page.fill("#ask-value", "s3 cret")
        page.click("#ask-yes")
        page.locator(".tries button").first.wait_for()
        assert ask(page, "Hello!")
        page.reload()
        page.locator(".tries button").first.wait_for()  # not asked again
        assert "s3 cret" not in page.evaluate("JSON.stringify(localStorage)")
        with page_of(browser, f"{server.url}/#key=s3%20cret") as second:
            second.locator(".tries button").first.wait_for()
            assert second.url == f"{server.url}/"  # the address no longer shows it
        with page_of(browser, server.url) as third:
            third.click("#ask button:not(#ask-yes)")
            assert "knows the key" in third.locator("[role=alert]").inner_text()


def test_two_tabs(page: Any, server: Running) -> None:
    says(page, streamed("in the first"))
    ask(page, "Hello!")
    other = page.context.new_page()
    other.goto(server.url)
    other.locator("#conversations .open").click()
    says(page, streamed("and more"))
    ask(page, "More?")
    other.locator(".answer", has_text="and more").wait_for()
    assert other.locator(".answer").count() == 2


def test_nothing_is_kept_but_in_this_browser(page: Any) -> None:
    assert SETTLED["maxTokens"] == page.evaluate("JSON.parse(localStorage.getItem('rbe-edge/settings')).maxTokens")
    assert page.evaluate("document.cookie") == ""
