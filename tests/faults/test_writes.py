"""Whatever rbe writes is whole, before or after: each call that changes something on the disk fails, is cut short or
kills the program, in turn (operations.py says what is written)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

import pytest
from operations import OPERATIONS, Drive

FILES = ["save", "export", "origin", "copy", "part", "vectors", "build", "gguf"]
ERRORS = ("full", "read-only", "broken once")


def others(paths: list[str], *patterns: tuple[str, ...]) -> list[str]:
    return [path for path in paths if not any(fnmatch(path, pattern) for group in patterns for pattern in group)]


def check(operation: str, outcome: dict[str, Any]) -> None:
    known = OPERATIONS[operation]
    assert outcome["state"] in ("old", "new"), outcome
    assert outcome["again"] == "new" and not others(outcome["left_again"], known.ignored), outcome
    if outcome["raised"] == "killed":
        assert outcome["how"] == "killed", outcome
    elif outcome["raised"]:
        assert outcome["how"] in ERRORS and outcome["is_ours"], outcome
        assert re.fullmatch(r"[^\n]*/run\b[^\n]*[;,] [^\n]+", outcome["message"]), outcome
        assert len(outcome["message"]) < 400 and not others(outcome["left"], known.next_run), outcome
    else:
        assert outcome["state"] == "new" and not outcome["left"], outcome


def check_all(drive: Drive, operation: str, hows: Sequence[str], most: int) -> list[dict[str, Any]]:
    whole, *found = drive(operation, hows, most)
    assert whole["raised"] == "" and len(found) >= len(hows) * min(whole["calls"], most // 2) > 0, whole
    for outcome in [whole, *found]:
        check(operation, outcome)
    assert {one["how"] for one in found if one["raised"]} == set(hows) - {"short"}, "a fault was not noticed"
    return found


def check_files(drive: Drive, operation: str) -> None:
    found = check_all(drive, operation, [*ERRORS, "short", "killed"], 100)
    full = [one["message"] for one in found if one["raised"] and one["how"] == "full"]
    assert all("No space left on device" in line and "make room" in line for line in full)


@pytest.mark.parametrize("operation", FILES)
def test_files(drive: Drive, operation: str) -> None:
    check_files(drive, operation)


@pytest.mark.parametrize("operation", ["conversations", "new conversations", "index"])
def test_databases(drive: Drive, operation: str) -> None:
    check_all(drive, operation, [*ERRORS, "killed"], 24)


@pytest.mark.parametrize("operation", ["pack", "pack cache"])
def test_packing(drive: Drive, operation: str) -> None:
    """What cannot be kept in the cache is not, and the file is written all the same, where there is room for the copy
    that the packer works on."""
    hows = ["full", "killed"]
    whole, *found = drive(operation, hows, 6)
    for outcome in [whole, *found]:
        check(operation, outcome)
    full = [one for one in found if one["how"] == "full"]
    assert all("make room" in one["message"] for one in full if one["raised"])
    assert (full[0]["raised"] == "") == (operation == "pack cache")
