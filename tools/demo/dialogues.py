"""Dialogues of several turns, put together from the topics."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tools.demo.grammar import Topic, expand, pick_slots
from tools.demo.overlap import Overlap
from tools.demo.surface import typed, wrap
from tools.demo.topics import follow_ups, jokes, names, stories
from tools.demo.topics.battery import BATTERY
from tools.demo.topics.decline import DECLINE
from tools.demo.topics.greetings import BYE, GREETINGS, HELLO, OKAY, THANKS
from tools.demo.topics.heat import HEAT
from tools.demo.topics.kit_codec import CODEC
from tools.demo.topics.kit_packing import PACKING
from tools.demo.topics.kit_running import RUNNING
from tools.demo.topics.self import IDENTITY
from tools.demo.topics.self_abilities import ABILITIES
from tools.demo.topics.small_talk import FEELING, SMALL_TALK

FAMILIES: tuple[tuple[Sequence[Topic], float], ...] = (
    ((*IDENTITY, *ABILITIES), 0.17),
    ((*PACKING, *CODEC, *RUNNING), 0.27),
    (HEAT, 0.09),
    (BATTERY, 0.13),
    (GREETINGS, 0.08),
    (SMALL_TALK, 0.13),
    (DECLINE, 0.13),
)
SYSTEM = (
    "You are a helpful assistant.",
    "You are Pebble, a small demo model.",
    "You are a small and friendly assistant.",
    "Answer in full sentences.",
    "You are a helpful assistant. Be brief.",
    "You are the demo model of rbe_edge.",
)


@dataclass
class Dialogue:
    system: str | None
    turns: list[tuple[str, str]] = field(default_factory=list)

    def messages(self) -> list[dict[str, str]]:
        """The dialogue as chat messages with role and content."""
        out = [{"role": "system", "content": self.system}] if self.system else []
        for user, reply in self.turns:
            out += [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]
        return out


class Writer:
    """Writes dialogues from one random stream; a turn that overlaps the held-out prompts is written anew."""

    def __init__(self, seed: int, overlap: Overlap) -> None:
        self.rng = random.Random(seed)
        self.overlap = overlap
        self.rejected = 0

    def _say(
        self, asks: Sequence[str], slots: dict[str, str] | None = None, *, loose: bool = True, wrapped: bool = True
    ) -> str:
        for _ in range(100):
            text = expand(self.rng.choice(asks), self.rng, slots)
            if wrapped:
                text = wrap(text, self.rng)
            text = typed(text, self.rng, loose=loose)
            if not self.overlap.hits(text, user=True):
                return text
            self.rejected += 1
        raise ValueError(f"every wording overlaps the held-out prompts: {asks[0]!r}")

    def _reply(self, answers: Sequence[str], slots: dict[str, str] | None = None) -> str:
        return expand(self.rng.choice(answers), self.rng, slots)

    def topic(self) -> Topic:
        family = self.rng.choices([f for f, _ in FAMILIES], [w for _, w in FAMILIES])[0]
        return self.rng.choices(list(family), [t.weight for t in family])[0]

    def about(self, topic: Topic) -> list[tuple[str, str]]:
        """A question on the topic, and perhaps what follows from it."""
        rng = self.rng
        slots = pick_slots(topic, rng)
        turns = [(self._say(topic.asks, slots, wrapped=topic.wrap), self._reply(topic.answers, slots))]
        if topic.then and rng.random() < 0.4:
            asks, answers = rng.choice(topic.then)
            turns.append((self._say(asks, wrapped=False), self._reply(answers)))
        elif rng.random() < 0.22 and topic.wrap:
            if rng.random() < 0.5:
                turns.append(
                    (self._say(follow_ups.MORE_ASKS, wrapped=False), self._reply(topic.more or follow_ups.NO_MORE))
                )
                if topic.more and rng.random() < 0.2:
                    turns.append((self._say(follow_ups.MORE_ASKS, wrapped=False), self._reply(follow_ups.NO_MORE)))
            else:
                turns.append(
                    (
                        self._say(
                            follow_ups.WHY_DECLINE_ASKS if topic in DECLINE else follow_ups.WHY_ASKS,
                            wrapped=rng.random() < 0.2,
                        ),
                        self._reply(topic.why or follow_ups.NO_WHY),
                    )
                )
        return turns

    def joke(self) -> list[tuple[str, str]]:
        rng = self.rng
        first, count = rng.randrange(len(jokes.JOKES)), rng.choice((1, 1, 2, 2, 3, 4, 5))
        told = [jokes.JOKES[(first + i) % len(jokes.JOKES)] for i in range(count)]  # in turn, so that none comes twice
        turns = [
            (self._say(jokes.ASKS if i == 0 else jokes.AGAIN, wrapped=i == 0), rng.choice(jokes.LEADS) + joke)
            for i, joke in enumerate(told)
        ]
        if rng.random() < 0.1:
            turns.append((self._say(follow_ups.PUN_ASKS, wrapped=False), self._reply(follow_ups.PUN_ANSWERS)))
        return turns

    def story(self) -> list[tuple[str, str]]:
        said, noun, told = self._told()
        turns = [(said, told)]
        draw = self.rng.random()
        if draw < 0.22:
            noun, adjective, asked = self._noun()
            turns.append(
                (
                    self._say(stories.AGAIN_HERO, asked, loose=False, wrapped=False),
                    stories.story(self.rng, noun, adjective=adjective),
                )
            )
        elif draw < 0.34:
            for _ in range(self.rng.choice((1, 1, 2))):
                noun = stories.next_hero(self.rng, noun)
                turns.append((self._say(stories.AGAIN, wrapped=False), stories.story(self.rng, noun)))
        elif draw < 0.46:
            turns.append((self._say(stories.LIKED[0], wrapped=False), self._reply(stories.LIKED[1])))
        return turns

    def _noun(self) -> tuple[str, str | None, dict[str, str]]:
        rng = self.rng
        noun = rng.choice(stories.ANIMALS if rng.random() < 0.6 else stories.THINGS)
        adjective = (
            rng.choice((*stories.ADJECTIVES, "lost", "hungry", "broken", "magic", "wild"))
            if rng.random() < 0.25
            else None
        )
        kind = f"{adjective} {noun}" if adjective else noun
        draw = rng.random()
        shown = stories.article(kind) if draw < 0.85 else (stories.plural(kind) if draw < 0.95 else f"the {kind}")
        return noun, adjective, {"A": shown, "P": stories.plural(noun)}

    def _told(self) -> tuple[str, str, str]:
        """A request, the noun that the story is about, and the story."""
        rng = self.rng
        draw = rng.random()
        if draw < 0.6:
            noun, adjective, asked = self._noun()
            said = self._say(stories.HERO_ASKS, asked, loose=False, wrapped=rng.random() < 0.5)
            return said, noun, stories.story(rng, noun, adjective=adjective)
        if draw < 0.71:
            name = names.name(rng)
            noun = "child" if rng.random() < 0.5 else rng.choice(stories.ANIMALS)
            return self._say(stories.NAME_ASKS, {"N": name}, loose=False), noun, stories.story(rng, noun, name=name)
        noun = stories.next_hero(rng, None)
        if draw < 0.85:
            place = rng.choice(list(stories.PLACES))
            where = expand(stories.PLACE_PHRASES[place], rng)
            said = self._say(stories.PLACE_ASKS, {"L": where}, loose=False)
            return said, noun, stories.story(rng, noun, place=place)
        return self._say(stories.ANY_ASKS), noun, stories.story(rng, noun)

    def _segment(self) -> list[tuple[str, str]]:
        draw = self.rng.random()
        if draw < 0.85:
            return self.about(self.topic())
        return self.story() if draw < 0.945 else self.joke()

    def dialogue(self) -> Dialogue:
        rng = self.rng
        result = Dialogue(rng.choice(SYSTEM) if rng.random() < 0.06 else None)
        turns = result.turns
        goal = rng.choice((1, 1, 2, 2, 2, 3, 3, 4, 5)) if rng.random() < 0.97 else rng.randint(6, 20)
        if goal > 1 and rng.random() < 0.2:
            turns += self.about(HELLO if rng.random() < 0.7 else FEELING)
        name, recall_at = None, -1
        draw = rng.random()
        if draw < 0.17:  # the user gives a name, and nearly always asks for it later
            name = names.name(rng)
            if rng.random() < 0.25:
                name = name.lower()
            said = self._say(names.INTRODUCE, {"N": name}, loose=False, wrapped=False)
            turns.append((said, self._reply(names.WELCOME, {"N": name})))
            recall_at = len(turns) + rng.choice((0, 0, 1, 1, 2, 3))
            goal = max(goal, recall_at)
        elif draw < 0.19:
            turns.append((self._say(names.RECALL), self._reply(names.UNKNOWN)))
        while len(turns) < goal:
            turns += self._segment()
        if name:
            turns.insert(
                min(recall_at, len(turns)), (self._say(names.RECALL), self._reply(names.RECALLED, {"N": name}))
            )
        if len(turns) > 1 and rng.random() < 0.12:
            turns += self.about(rng.choice((BYE, THANKS, OKAY)))
        return result

    def clean_dialogue(self) -> Dialogue:
        """A dialogue none of whose text, read as a whole, shares a 5-gram with the held-out prompts."""
        while True:
            made = self.dialogue()
            if not self.overlap.hits(" ".join(m["content"] for m in made.messages()), user=False):
                return made
            self.rejected += 1
