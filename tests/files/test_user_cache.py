"""The place of the cache is the one that platformdirs names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rbe_edge.files.user_cache import cache_directory


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x/cache"}, "/x/cache/rbe_edge"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/me/.cache/rbe_edge"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/rbe_edge"),  # to be ignored, by the XDG rule
        ("darwin", {}, "/home/me/Library/Caches/rbe_edge"),
        ("win32", {"LOCALAPPDATA": "/c/local"}, "/c/local/rbe_edge/Cache"),
        ("win32", {"LOCALAPPDATA": ""}, "/home/me/AppData/Local/rbe_edge/Cache"),
    ],
)
def test_places(platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_directory() == Path(expected)


def test_as_platformdirs_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_directory() == platformdirs.user_cache_path("rbe_edge", appauthor=False)
