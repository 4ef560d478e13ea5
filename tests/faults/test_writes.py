"""Whatever rbe writes is whole, before or after: each call that changes something on the disk fails, is cut short or
kills the program, in turn (operations.py says what is written)."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from typing import Any

import pytest
from conftest import Drive
from operations import OPERATIONS

SLOW = ("pack", "pack cache")
FILES = [name for name in OPERATIONS if name not in (*SLOW, "conversations", "new conversations", "index")]
ERRORS = ("full", "read-only", "broken once")


def others(paths: list[str], *patterns: tuple[str, ...]) -> list[str]:
    return [path for path in paths if not any(fnmatch(path, pattern) for group in patterns for pattern in group)]


def check(operation: str, how: str, outcome: dict[str, Any]) -> None:
    known = OPERATIONS[operation]
    assert outcome["state"] in ("old", "new"), outcome
    assert outcome["again"] == "new" and not others(outcome["left_again"], known.ignored), outcome
    if outcome["raised"] == "killed":
        assert how == "killed", outcome
    elif outcome["raised"]:
        assert how in ERRORS and outcome["is_ours"], outcome
        assert re.fullmatch(r"[^\n]*/run\b[^\n]*[;,] [^\n]+", outcome["message"]), outcome
        assert len(outcome["message"]) < 400 and not others(outcome["left"], known.next_run), outcome
    else:
        assert outcome["state"] == "new" and not outcome["left"], outcome


def check_all(drive: Drive, operation: str, how: str, most: int) -> list[dict[str, Any]]:
    whole, *found = drive(operation, how, most)
    assert whole["raised"] == "" and whole["calls"] == len(found) or len(found) >= min(most, 8), whole
    for outcome in [whole, *found]:
        check(operation, how, outcome)
    raised = [outcome for outcome in found if outcome["raised"]]
    assert (how == "short") == (not raised), "no fault was noticed"
    return found


@pytest.mark.parametrize("how", [*ERRORS, "short", "killed"])
@pytest.mark.parametrize("operation", FILES)
def test_files(drive: Drive, operation: str, how: str) -> None:
    found = check_all(drive, operation, how, 100)
    if how == "full":
        assert all("No space left on device" in one["message"] for one in found if one["raised"])
        assert all(re.search("make room|free some space", one["message"]) for one in found if one["raised"])


@pytest.mark.parametrize("how", [*ERRORS, "killed"])
@pytest.mark.parametrize("operation", ["conversations", "new conversations", "index"])
def test_databases(drive: Drive, operation: str, how: str) -> None:
    check_all(drive, operation, how, 50)


@pytest.mark.parametrize(("operation", "how"), [("pack", "full"), ("pack", "killed"), ("pack cache", "killed")])
def test_packing(drive: Drive, operation: str, how: str) -> None:
    check_all(drive, operation, how, 8)


def test_packing_without_a_cache(drive: Drive) -> None:
    """What cannot be kept is not, and the file is written all the same, as long as there is room for its copy."""
    found = drive("pack cache", "full", 8)
    for outcome in found:
        check("pack cache", "full", outcome)
    assert found[1]["raised"] == "" and all("another place" in one["message"] for one in found if one["raised"])
