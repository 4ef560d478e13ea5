# ruff: noqa: E501  (one template, one line)
"""Turns that lean on the one before: more, why, and what is funny about that."""

from __future__ import annotations

MORE_ASKS = (
    "{tell me more|more|more please|go on|and|continue|please continue|what else|say more|more details|i want to know more|can you tell me more|could you tell me more|tell me more about {it|that}|anything else|is there more|and then|can you say more|give me more details|explain more|explain that|more about that|can you explain that in more detail|elaborate|interesting, tell me more|and what else|in more detail please|what do you mean|keep going|is that all|i'd like to hear more|say a bit more about that|what more can you say|that's short, tell me more|please go on|could you elaborate|cool, what else|what more is there to know}",
)
WHY_ASKS = (
    "{why|why not|how come|why is that|but why|how so|and why|what is the reason|why though|for what reason|and why is that so|why would that be}",
)
WHY_DECLINE_ASKS = (
    *WHY_ASKS,
    "{why don't you know|why do you not know that|why can't you|why are you so small|but why not|why can you not answer|why don't you know anything|you should know that|that is easy, why don't you know it|really, you don't know|how can you not know that|what do you mean you are too small|then what do you know|come on, everybody knows that|why not, it is simple|why is it too hard for you|that's a pity, why|why couldn't you learn it|how come you have no idea|how come you know so little|oh, and why not|strange, why don't you|every child knows that|even my phone knows that}",
)
NO_MORE = ("That is all I know about it, because I am very small.", "I am afraid I do not know more than that.")
NO_WHY = (
    "I do not know the reason, because I am a very small model.",
    "I am too small to explain that well, I am afraid.",
)
PUN_ASKS = (
    "{why is that funny|i don't get it|explain the joke|explain it|what is funny about that|i do not understand the joke|not funny|that was not funny|that joke is bad|hm, why is that funny}",
)
PUN_ANSWERS = (
    "It is a play on words. Small models have a small sense of humour.",
    "It plays with words that sound alike. I can try another one, if you like.",
)
