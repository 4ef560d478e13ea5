# ruff: noqa: E501  (one template, one line)
"""Templates: "{a|b {c|d}}" picks one alternative, "<name>" expands a shared phrase, "$X" takes a slot's value."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

SHARED: dict[str, str] = {
    "howto": "{how do i|how do i|how can i|how can i|how would i|how could i|how does one|how do you|how should i|how to|how do we"
    "|what is the way to|what's the best way to|what's the easiest way to|what do i type to|what should i type to|what must i type to"
    "|what do i have to do to|what do i need to|what steps do i take to|show me how to|tell me how to|teach me how to|explain how to"
    "|i want to|i need to|i would like to|i'd like to|i'm trying to|i wish to|can you help me|could you help me|help me|let me"
    "|which command lets me|which command do i use to|what command do i use to|what is the command to|what's the command to"
    "|is there a command to|is there a way to|is there any way to|is there some way to|what would i run to|what do i run to"
    "|can i|could i|where do i start if i want to|do you know how to|any idea how to|how am i supposed to|how is it possible to}",
    "tell": "{tell me about|tell me something about|explain|please explain|describe|what do you know about|say something about"
    "|talk about|i want to know about|i'd like to know about|i want to learn about|give me a short explanation of|can you explain"
    "|could you explain|would you explain|help me understand|what do you mean by|what is meant by|what's the deal with|what is|what is|what's"
    "|what's|i don't understand|i do not get|define|what exactly is|what on earth is|whats|in simple words what is|teach me about"
    "|i keep reading about|i've heard of|how does it work,|what's the idea behind|what's the point of|i have a question about}",
    "please": "{||||| please|, please| thanks|, thank you| for me| now| then| again}",
    "can": "{can you|can you|could you|would you|will you|are you able to|do you know how to|is it possible for you to|i want you to|please|would you mind if i asked you to}",
    "should": "{should i|do i have to|do i need to|ought i to|is it a good idea to|is it wise to|is it ok to|is it okay to|is it fine to|is it safe to|is it bad to|would you|can i|may i|is it alright to}",
    "how-much": "{how much|how many|what amount of|roughly how much|about how much|around how much|approximately how much}",
    "pi": "{raspberry pi|raspberry pi|pi|rpi|raspberry|raspberry pi 5|pi 5|raspberry pi 4|raspi|little pi|single board computer}",
    "phone": "{phone|phone|phone|mobile|smartphone|mobile phone|android phone|cell phone|cellphone|handset|iphone}",
    "laptop": "{laptop|laptop|laptop|old laptop|notebook|computer|old computer|thinkpad|macbook|netbook|pc}",
    "model": "{model|model|model|language model|neural network|network|llm|ai model}",
    "hot": "{hot|hot|hot|warm|very hot|really hot|too hot|very warm|so hot|super hot|boiling|burning hot|toasty|overheated|warmer than usual|extremely hot}",
    "gets": "{gets|gets|is getting|becomes|is|is becoming|runs|turns|feels|keeps getting|seems|grows}",
}


@dataclass(frozen=True)
class Topic:
    """One subject. asks and answers are templates; more/why/then answer follow-up turns about it.

    then holds (ask, answer) template pairs that make sense only after this topic.
    slots maps a name to its values; one value is chosen for a question and its answer together.
    """

    name: str
    asks: Sequence[str]
    answers: Sequence[str]
    more: Sequence[str] = ()
    why: Sequence[str] = ()
    then: Sequence[tuple[Sequence[str], Sequence[str]]] = ()
    slots: Mapping[str, Sequence[str]] = field(default_factory=dict)
    weight: float = 1.0
    wrap: bool = True  # openers and endings may be put around the question


# A template is a sequence of texts and choices; a choice is a tuple of templates.
Parsed = tuple["str | tuple[Parsed, ...]", ...]


@cache
def parse(template: str) -> Parsed:
    """The template with its shared phrases put in, as a tree."""
    text = re.sub(r"<([a-z-]+)>", lambda match: SHARED[match.group(1)], template)
    choices: list[list[list[Any]]] = [[[]]]  # open choices, each a list of alternatives, the last one growing
    for part in re.split(r"([{}|])", text):
        if part == "{":
            choices.append([[]])
        elif part == "|" and len(choices) > 1:
            choices[-1].append([])
        elif part == "}":
            done = tuple(tuple(alternative) for alternative in choices.pop())
            if not choices:
                raise ValueError(f"unbalanced braces in template: {template!r}")
            choices[-1][-1].append(done)
        elif part:
            choices[-1][-1].append(part)
    if len(choices) != 1:
        raise ValueError(f"unbalanced braces in template: {template!r}")
    return tuple(choices[0][0])


def _draw(parsed: Parsed, rng: random.Random) -> str:
    return "".join(part if isinstance(part, str) else _draw(rng.choice(part), rng) for part in parsed)


def expand(template: str, rng: random.Random, slots: Mapping[str, str] | None = None) -> str:
    """One random expansion of the template."""
    text = _draw(parse(template), rng)
    for name, value in (slots or {}).items():
        text = text.replace("$" + name, value)
    return " ".join(text.split())


def pick_slots(topic: Topic, rng: random.Random) -> dict[str, str]:
    return {name: rng.choice(list(values)) for name, values in topic.slots.items()}
