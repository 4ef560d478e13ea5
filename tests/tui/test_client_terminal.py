"""`rbe chat` in a real terminal, under tmux, as a person starts it."""

from __future__ import annotations

import os
import shutil
import time

from terminals import Terminal

from rbe_edge.runtime.model import demo_path


def test_a_chat_from_start_to_end(terminal: Terminal) -> None:
    terminal.start()
    terminal.sees("new conversation")
    terminal.type("hello")
    terminal.press("Enter")
    shown = terminal.sees("tokens/s · context 3")
    assert "hello" in shown and "the demo" in shown
    assert all(len(line) <= 80 for line in shown.splitlines()) and len(shown.splitlines()) == 24
    terminal.press("C-o")
    terminal.sees("Search titles and messages")
    terminal.press("Escape")
    terminal.sees("Esc Stop")  # an Escape and a key right after it would be one key with Alt
    terminal.press("F2")
    terminal.sees("Temperature")
    terminal.press("Escape")
    terminal.sees("Esc Stop")  # an Escape and a key right after it would be one key with Alt
    terminal.type("bye")
    terminal.press("C-q")
    terminal.sees("left with 0")  # and the terminal is itself again
    assert "rbe ·" not in terminal.screen()
    database = terminal.home / "data" / "rbe_edge" / "conversations.db"
    assert database.stat().st_size > 0
    terminal.start()
    terminal.sees("rbe · the demo · hello")  # the conversation goes on


def test_damaged_conversations_are_left_and_the_chat_goes_on(terminal: Terminal) -> None:
    database = terminal.home / "data" / "rbe_edge" / "conversations.db"
    database.parent.mkdir(parents=True)
    database.write_bytes(b"damaged" * 1000)
    terminal.start("-n", "3")
    terminal.sees("NOT SAVED")
    terminal.type("hello")
    terminal.press("Enter")
    terminal.sees("Cut here")
    terminal.press("C-q")
    terminal.sees("2 messages of this conversation are not stored")
    terminal.press("y")
    terminal.sees("left with 0")
    assert database.read_bytes() == b"damaged" * 1000


def test_a_model_that_cannot_be_opened_is_one_line(terminal: Terminal) -> None:
    terminal.start("nowhere.rbe")
    shown = terminal.sees("left with 1")
    assert "rbe: nowhere.rbe does not exist; make a .rbe file with `rbe pack`" in " ".join(shown.split())


def test_a_file_that_is_lost_leaves_a_usable_terminal(terminal: Terminal) -> None:
    model = terminal.home / "m.rbe"
    shutil.copy(demo_path(), model)
    terminal.start("nowhere.rbe")
    terminal.sees("left with 1")
    before = terminal.modes()
    terminal.start("m.rbe")
    terminal.sees("new conversation")
    terminal.type("hello")
    terminal.press("Enter")
    terminal.sees("tokens/s · context")
    assert terminal.modes() != before
    os.truncate(model, 20000)
    terminal.type("and now?")
    terminal.press("Enter")
    shown = terminal.sees("left with 1")
    assert "rbe: m.rbe: the file can no longer be read" in shown and "rbe ·" not in shown
    assert terminal.modes() == before
    terminal.type("echoed")  # by the terminal, which is in its usual mode again
    terminal.sees("echoed")


def test_ctrl_c_leaves_a_usable_terminal_and_what_was_said_is_stored(terminal: Terminal) -> None:
    terminal.start("nowhere.rbe")
    terminal.sees("left with 1")
    before = terminal.modes()
    terminal.start()
    terminal.sees("new conversation")
    terminal.type("hello")
    terminal.press("Enter")
    terminal.sees("nice to meet you")
    terminal.press("C-c")
    terminal.sees("Ctrl+C again quits")
    while "left with" not in terminal.screen():  # a busy machine may need more than two seconds from press to press
        terminal.press("C-c")
        time.sleep(0.3)
    shown = terminal.sees("left with 130")
    assert "rbe ·" not in shown and "Traceback" not in shown
    assert terminal.modes() == before
    terminal.type("echoed")  # by the terminal, which is in its usual mode again
    terminal.sees("echoed")
    terminal.start()
    terminal.sees("rbe · the demo · hello")
    terminal.sees("nice to meet you")


def test_ctrl_c_at_the_first_sign_of_the_client_leaves_a_usable_terminal(terminal: Terminal) -> None:
    terminal.start("nowhere.rbe")
    terminal.sees("left with 1")
    before = terminal.modes()
    terminal.start()
    while terminal.modes() == before:
        time.sleep(0.01)
    while "left with" not in terminal.screen():  # at the first press, but on a machine that was slow to send it
        terminal.press("C-c")
        time.sleep(0.3)
    shown = terminal.sees("left with 130")
    assert "rbe ·" not in shown and "Traceback" not in shown
    assert terminal.modes() == before
    terminal.type("echoed")
    terminal.sees("echoed")
