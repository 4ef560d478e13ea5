"""Changes documents of JSON in their structure: a fuzzer that changes bytes mostly makes what is no JSON any more."""

from __future__ import annotations

import json
import random
from typing import Any

#: Between the documents of an input.
END = b"\n"

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 7, 64, 1.5, 2**31, 2**63, 10**400, 1e308, 1e-320, float("inf"), float("nan"), "",
    "12", "a",
    "x" * 2000, "\ud800", "\x1b[31m\nb", [], {}, [1], ["a"], [[]], [10**400], {"a": {"b": 1}}, {"type": "string"},
)  # fmt: skip


def _containers(value: Any, found: list[Any]) -> list[Any]:
    """All lists and objects of a document that hold something, themselves."""
    if isinstance(value, (dict, list)) and value:
        found.append(value)
        for part in value.values() if isinstance(value, dict) else value:
            _containers(part, found)
    return found


def _change(document: Any, choose: random.Random) -> Any:
    """One change: a value goes, is replaced, doubled, put under another name, or becomes one from elsewhere."""
    containers = _containers(document, [])
    if not containers:
        return choose.choice(VALUES)
    place = choose.choice(containers)
    key = choose.choice(list(place)) if isinstance(place, dict) else choose.randrange(len(place))
    kind = choose.randrange(6)
    if kind == 0:
        del place[key]
    elif kind == 1:
        other = choose.choice(containers)
        place[key] = choose.choice(list(other.values()) if isinstance(other, dict) else other)
        place[key] = json.loads(json.dumps(place[key]))  # a copy: no value holds itself
    elif kind == 2 and isinstance(place, list):
        place.append(place[key])
    elif kind == 2 and isinstance(key, str):
        place[
            choose.choice([key + "x", key[:-1], *(k for one in containers if isinstance(one, dict) for k in one)])
        ] = place[key]
    elif kind == 3 and isinstance(place[key], (int, float)):
        place[key] = choose.choice([-1, 1, 2, 0.5, 1000]) * place[key]
    else:
        place[key] = choose.choice(VALUES)
    return document


def changed(data: bytes, seed: int) -> bytes | None:
    """The input with some changes in one of its documents of JSON; None where it holds none."""
    choose = random.Random(seed)
    parts = data.split(END)
    places = list(range(len(parts)))
    choose.shuffle(places)
    for place in places:
        try:
            document = json.loads(parts[place])
            for _ in range(choose.choice([1, 1, 2, 4])):
                document = _change(document, choose)
            parts[place] = json.dumps(document).encode()
        except (ValueError, RecursionError, TypeError, OverflowError):
            continue
        return END.join(parts)
    return None
