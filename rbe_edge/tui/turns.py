"""Lists of messages, counted in turns: a question of the person and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rbe_edge.store.conversations import StoredMessage


def answered(messages: Sequence[StoredMessage]) -> list[StoredMessage]:
    """Questions that were answered, and their answers, in turn: a history as templates want it."""
    turns: list[StoredMessage] = []
    for question, answer in pairwise(messages):
        if question.role == "user" and answer.role == "assistant":
            turns += [question, answer]
    return turns


def n_holding_answered(messages: Sequence[StoredMessage], n_answered: int) -> int:
    """How many of the messages hold the first so many messages of answered(messages)."""
    position = count = 0
    while position < len(messages) and count < n_answered:
        pair = [message.role for message in messages[position : position + 2]] == ["user", "assistant"]
        position, count = (position + 2, count + 2) if pair else (position + 1, count)
    return position


def latest_within(history: Sequence[StoredMessage], characters: int) -> tuple[list[StoredMessage], int]:
    """The latest whole turns of about so many characters, and how many messages were cut before them."""
    kept, length = len(history), 0
    while kept >= 2:
        length += len(history[kept - 1].content) + len(history[kept - 2].content)
        if length > characters:
            break
        kept -= 2
    return list(history[kept:]), kept


def n_messages_of(history: Sequence[StoredMessage], turns: int) -> int:
    """How many messages the first so many turns are."""
    questions = [index for index, message in enumerate(history) if message.role == "user"]
    return questions[turns] if turns < len(questions) else len(history)
