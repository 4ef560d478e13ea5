"""The checks of the held-out prompts: enough of them, and strict enough that an answer to something else fails."""

from __future__ import annotations

import random
from collections import Counter

from tools.demo.checks import Check, held_out
from tools.demo.grammar import expand, pick_slots
from tools.demo.topics.battery import BATTERY
from tools.demo.topics.decline import DECLINE
from tools.demo.topics.greetings import GREETINGS
from tools.demo.topics.heat import HEAT
from tools.demo.topics.kit_codec import CODEC
from tools.demo.topics.kit_packing import PACKING
from tools.demo.topics.kit_running import RUNNING
from tools.demo.topics.self import IDENTITY
from tools.demo.topics.self_abilities import ABILITIES
from tools.demo.topics.small_talk import SMALL_TALK

GENERIC = (
    "I do not understand.",
    "I am here to help you.",
    "That is a good question. Let me think about it.",
    "Yes.",
    "No.",
    "I am sorry, I did not understand that. Please ask me in other words.",
    "You can ask me something else.",
    "Sure! Here is the answer to your question.",
    "I am an assistant. What would you like to know?",
    "That is interesting. Tell me more.",
    "Of course I can help you with that. It depends on many things, and there is a lot to say about it.",
    "",
)


def test_sixty_prompts_over_all_topics() -> None:
    prompts = held_out()
    assert len(prompts) == len({p.id for p in prompts}) == len({p.turns for p in prompts}) == 60
    topics = Counter(p.topic for p in prompts)
    assert set(topics) == {"self", "kit", "heat", "battery", "greeting", "small talk", "story", "decline", "follow-up"}
    assert sum(len(p.turns) > 1 for p in prompts) >= 5


def test_generic_answers_fail() -> None:
    for prompt in held_out():
        earlier = ["Hello."] * (len(prompt.turns) - 1)
        for answer in GENERIC:
            assert not prompt.check.passes([*earlier, answer]), (prompt.id, answer)


def test_an_answer_to_another_question_seldom_passes() -> None:
    rng = random.Random(3)
    answers = [
        expand(answer, rng, pick_slots(topic, rng))
        for topic in (
            *IDENTITY,
            *ABILITIES,
            *PACKING,
            *CODEC,
            *RUNNING,
            *HEAT,
            *BATTERY,
            *GREETINGS,
            *SMALL_TALK,
            *DECLINE,
        )
        for answer in topic.answers
    ]
    assert len(answers) > 120
    for prompt in held_out():
        passing = sum(prompt.check.passes([*["Hello."] * (len(prompt.turns) - 1), answer]) for answer in answers)
        # A topic has two or three answers and some topics are close to one another.
        assert passing <= len(answers) * 0.12, (prompt.id, passing)


def test_how_terms_match() -> None:
    check = Check((("slow*", "throttle"), ("rbe  pack",)), none=("story",), sentences=2)
    assert check.passes(["It is SLOWER. Use rbe pack."])
    assert not check.passes(["It is slower, use rbe pack."])
    assert not check.passes(["It is slower. Use rbe packs."])
    assert not check.passes(["A throttled one. Use rbe pack."])
    assert not check.passes(["It is slow. Use rbe pack for a story."])
    assert not Check((("a",),), new=True).passes(["a", "a"])
    assert Check((("--bits",),)).passes(["rbe pack x --bits 4"])
