"""The public interface explains itself: every name says what it is, and every parameter is spoken of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rbe_edge

#: For other files of this package, not for users.
INTERNAL = {"own", "adopt", "release", "use", "run", "keeping", "answer", "handle", "tokenizer_handle"}


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in rbe_edge.__all__:
        thing = getattr(rbe_edge, name)
        if not inspect.isclass(thing):
            continue
        for base in thing.__mro__:
            for member, value in vars(base).items() if base.__module__.startswith("rbe_edge") else ():
                if not member.startswith("_") and member not in INTERNAL:
                    bare = getattr(value, "func", getattr(value, "fget", getattr(value, "__func__", value)))
                    if inspect.isfunction(bare):
                        yield f"{name}.{member}", bare


FUNCTIONS = dict(functions())


def test_all_public_classes_say_what_they_are() -> None:
    assert len(FUNCTIONS) > 50 and "Model.chat" in FUNCTIONS and "Session.info" in FUNCTIONS
    assert all(inspect.getdoc(getattr(rbe_edge, name)) for name in rbe_edge.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_are_spoken_of(name: str) -> None:
    text = inspect.getdoc(FUNCTIONS[name]) or ""
    assert text
    parameters = [one for one in inspect.signature(FUNCTIONS[name]).parameters if one not in ("self", "cls", "options")]
    assert [one for one in parameters if one not in text] == []
