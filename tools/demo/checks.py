"""The mechanical check of an answer to a held-out prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.demo.overlap import HELD_OUT


@dataclass(frozen=True)
class Check:
    """What the last answer must hold: a term of every group, no term of none, enough sentences, and with new no repeat.

    A term matches whole words anywhere in the answer, without regard to case; a final * lets the word go on.
    """

    groups: tuple[tuple[str, ...], ...]
    none: tuple[str, ...] = ()
    sentences: int = 1
    new: bool = False

    def passes(self, answers: Sequence[str]) -> bool:
        """answers: the model's turns in order; the last one is judged."""
        last = answers[-1]
        if self.new and last.strip() in {earlier.strip() for earlier in answers[:-1]}:
            return False
        if self.sentences > 1 and len(re.findall(r"[.!?](?=\s|\"|$)", last)) < self.sentences:
            return False
        if any(_holds(last, term) for term in self.none):
            return False
        return all(any(_holds(last, term) for term in group) for group in self.groups)


@dataclass(frozen=True)
class Prompt:
    id: str
    topic: str
    turns: tuple[str, ...]
    check: Check


def _holds(text: str, term: str) -> bool:
    body = r"\s+".join(re.escape(word) for word in term.rstrip("*").split())
    return re.search(rf"(?<!\w){body}" + ("" if term.endswith("*") else r"(?!\w)"), text, re.IGNORECASE) is not None


def held_out(path: Path = HELD_OUT) -> list[Prompt]:
    prompts = []
    for item in json.loads(path.read_text(encoding="utf-8"))["prompts"]:
        check = item["check"]
        prompts.append(
            Prompt(
                item["id"],
                item["topic"],
                tuple(item["turns"]),
                Check(
                    tuple(map(tuple, check["all"])),
                    tuple(check.get("none", ())),
                    check.get("sentences", 1),
                    check.get("new", False),
                ),
            )
        )
    return prompts
