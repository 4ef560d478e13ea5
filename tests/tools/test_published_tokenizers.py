"""The comparison of published tokenizers: its list, where it finds files, and that it sees a difference."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools import published_tokenizers
from tools.published_tokenizers import compare, content, digests, outcome, random_texts


def entries() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(published_tokenizers.LIST.read_text(encoding="utf-8"))
    return listed


def test_the_list() -> None:
    assert len([entry for entry in entries() if entry["expected"] == "agrees"]) >= 20
    for entry in entries():
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry["repository"]) and re.fullmatch(r"[0-9a-f]{40}|", entry["commit"])
        assert entry["expected"] in ("agrees", "refused") and entry["files"]
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for _, digest in entry["files"].values())
    assert len({entry["name"] for entry in entries()}) == len(entries())


def test_files_of_a_clone_or_by_their_digest(tmp_path: Path) -> None:
    data = b"{}"
    clone = tmp_path / "clones/some/one"
    clone.mkdir(parents=True)
    (clone / "tokenizer.json").write_bytes(data)
    git = ["git", "-C", str(clone), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    entry = {"repository": "some/one", "commit": commit}
    digest = hashlib.sha256(data).hexdigest()
    assert content(entry, "tokenizer.json", digest, tmp_path / "clones", {}) == data
    assert content(entry, "elsewhere.json", digest, tmp_path / "clones", digests(clone)) == data
    assert content(entry, "elsewhere.json", digest, None, {}) is None
    with pytest.raises(SystemExit, match="SHA-256"):
        content(entry, "tokenizer.json", "0" * 64, tmp_path / "clones", {})


def test_random_texts() -> None:
    texts = random_texts(200, 1, ["<|x|>"], 0x110000)
    assert texts == random_texts(200, 1, ["<|x|>"], 0x110000) != random_texts(200, 2, ["<|x|>"], 0x110000)
    assert sum("<|x|>" in text for text in texts) > 50


def test_agreement_and_difference(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = digests(data_dir / "tokenizers/ggml-vocab")
    entry = next(entry for entry in entries() if entry["name"] == "gpt-2, GGUF")
    assert outcome(entry, None, known, 1, 1).what == "agrees"
    words = next(entry for entry in entries() if entry["name"] == "BERT (bge), GGUF")
    assert outcome(words, None, known, 1, 1).what == "agrees"
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordLevel", "vocab": {"a": 0}}}', encoding="utf-8")
    of_words = digests(tmp_path)
    refused = {"files": {"tokenizer.json": ["x", next(iter(of_words))]}, "repository": "x/y", "commit": ""}
    assert outcome(refused, None, of_words, 1, 1).what == "refused"
    assert outcome(entry, None, {}, 1, 1).what == "missing"
    monkeypatch.setattr(published_tokenizers, "vectors", lambda path: (["Hello"], [[1]]))
    different = outcome(entry, None, known, 1, 1)
    assert different.what == "differs" and "'Hello': [1], here [15496]" in different.detail


def test_a_directory_without_a_tokenizer(tmp_path: Path) -> None:
    assert compare(tmp_path, {}, 1, 1).what == "refused"
