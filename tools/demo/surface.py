"""How people type: openers, endings, other words for the same thing, contractions, lower case, lost letters."""

from __future__ import annotations

import random
import re

from tools.demo.wordings import (
    ASIDES,
    ASKING,
    CONTRACTIONS,
    ENDINGS,
    FILLERS,
    OPENERS,
    PROPER,
    SAME,
    SMALL_WORDS,
)

_SAME: dict[str, tuple[str, ...]] = {}
for _group in SAME:
    for _word in _group[:2]:
        _SAME.setdefault(_word, _group)
_SAME_PATTERN = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _SAME), key=len, reverse=True)) + r")\b")
_PROPER_PATTERN = re.compile(
    r"(?<![\w.-])("
    + "|".join(sorted(map(re.escape, PROPER), key=len, reverse=True))
    + r")(?![\w-])(?!\s+(?:pack|inspect|run|chat)\b)"
)


def _swap_words(text: str, rng: random.Random, rate: float) -> str:
    def other(match: re.Match[str]) -> str:
        word = match.group(1)
        return rng.choice(_SAME[word]) if rng.random() < rate else word

    return _SAME_PATTERN.sub(other, text)


def _contract(text: str, rng: random.Random) -> str:
    for long, short in CONTRACTIONS:
        if rng.random() < 0.5:
            found, other = long, short
        elif rng.random() < 0.2:
            found, other = short, long
        else:
            continue
        if found in text:
            text = re.sub(rf"\b{re.escape(found)}\b", other, text)
    return text


def _typo(text: str, rng: random.Random) -> str:
    spots = [
        i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha() and text[i - 1].isalpha()
    ]
    if not spots:
        return text
    i = rng.choice(spots)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    if kind == 1:
        return text[:i] + text[i + 1 :]
    return text[:i] + text[i] + text[i:]


def _drop_word(text: str, rng: random.Random) -> str:
    parts = text.split(" ")
    spots = [i for i, word in enumerate(parts) if word in SMALL_WORDS]
    if len(parts) < 5 or not spots:
        return text
    del parts[rng.choice(spots)]
    return " ".join(parts)


def _clutter(text: str, rng: random.Random) -> str:
    """One word too many, or one lost: the other words must be enough."""
    parts = text.split(" ")
    if len(parts) < 5:
        return text
    spot = rng.randrange(1, len(parts))
    if rng.random() < 0.65:
        parts.insert(spot, rng.choice(FILLERS))
    else:
        del parts[spot]
    return " ".join(parts)


def wrap(text: str, rng: random.Random) -> str:
    if rng.random() < 0.07:
        aside = rng.choice(ASIDES)
        return f"{aside}{rng.choice(('. ', '. ', ', ', '! '))}{text}" if rng.random() < 0.75 else f"{text}? {aside}"
    if rng.random() < 0.28:
        text = rng.choice(OPENERS) + text
    if rng.random() < 0.18:
        text = text.rstrip("?.!") + rng.choice(ENDINGS)
    return text


def typed(text: str, rng: random.Random, *, loose: bool = True) -> str:
    """The text as somebody might type it. Without loose, only case and punctuation vary: names and nouns stay exact."""
    asks = text.split(" ")[0].strip(",").lower() in ASKING or " what " in text or " how " in text or " is " in text[:12]
    if loose:
        if rng.random() < 0.6:
            text = _swap_words(text, rng, 0.3)
        text = _contract(text, rng)
        if rng.random() < 0.08:
            text = _drop_word(text, rng)
        if rng.random() < 0.15:
            text = _clutter(text, rng)
    if rng.random() < 0.15:
        text = text.replace("'", "")
    style = rng.random()
    if style < 0.62:
        text = _PROPER_PATTERN.sub(lambda match: PROPER[match.group(1)], text)
        text = text[0].upper() + text[1:] if not text.startswith("rbe ") else text
    elif style > 0.985:
        text = text.upper()
    if text[-1] not in "?.!":
        if asks:
            text += "?" if rng.random() < 0.68 else rng.choice(("", "", "??", "."))
        else:
            text += rng.choice(("", "", ".", ".", "!"))
    if loose and rng.random() < 0.07:
        text = _typo(text, rng)
    return text
