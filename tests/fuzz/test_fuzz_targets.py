"""The Python targets of the fuzzer: all that they begin with, which holds earlier findings, and some changes of it, the
same in every run. Fuzzing itself is tools/fuzz.py."""

from __future__ import annotations

import byte_changes
import json_changes
import pytest
import run_target

_CHANGES = 40  # of each input


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # of jinja2
@pytest.mark.parametrize("name", run_target.target_names())
def test_nothing_but_its_own_errors(name: str) -> None:
    if name in ("request", "schema"):
        pytest.importorskip("llguidance")
    if name == "request":
        pytest.importorskip("starlette")
    if name == "gguf":
        pytest.importorskip("gguf")
    target = run_target.load(name)
    inputs = run_target.beginnings(target)
    assert inputs
    for data in inputs.values():
        assert len(data) <= target.MOST_BYTES
        target.run(data)
        for seed in range(_CHANGES):
            found = json_changes.changed(data, seed) if target.IS_JSON and seed % 2 else None
            target.run((byte_changes.changed(data, seed) if found is None else found)[: target.MOST_BYTES])


def test_changes_are_the_same_in_every_run() -> None:
    data = b'{"a": [1, {"b": "c"}]}\n[2]'
    for change in (byte_changes.changed, json_changes.changed):
        found = [change(data, seed) for seed in range(50)]
        assert found == [change(data, seed) for seed in range(50)] and len(set(found)) > 25 and data not in found[:1]
    assert json_changes.changed(b"no JSON", 1) is None
