# ruff: noqa: E501  (one template, one line)
"""How people type: openers, endings, other words for the same thing, contractions, lower case, lost letters."""

from __future__ import annotations

import random
import re

OPENERS = (
    "hey, ",
    "so ",
    "so, ",
    "ok, ",
    "okay, ",
    "well, ",
    "hi, ",
    "hello, ",
    "hi pebble, ",
    "pebble, ",
    "hey pebble, ",
    "quick question: ",
    "just wondering, ",
    "one more thing: ",
    "another question: ",
    "i was wondering, ",
    "and ",
    "but ",
    "now ",
    "um, ",
    "hmm, ",
    "by the way, ",
    "say, ",
    "oh, ",
    "tell me, ",
    "please tell me, ",
    "i have a question, ",
    "question: ",
    "excuse me, ",
    "sorry, but ",
    "maybe a silly question, but ",
    "first of all, ",
    "actually, ",
    "good morning, ",
    "honestly, ",
    "a friend asked me: ",
    "my kid wants to know: ",
    "do you know, ",
    "listen, ",
    "right, ",
    "uh, ",
    "can i ask something, ",
    "just curious: ",
    "let me ask you, ",
    "not sure who to ask, ",
    "this may sound odd, but ",
    "look, ",
    "out of curiosity, ",
    "for my own interest, ",
    "between us, ",
    "serious question: ",
    "please help: ",
    "i'm curious, ",
    "random question, ",
    "cheers, ",
    "thanks! ",
    "great! ",
    "nice, ",
    "cool, ",
    "alright, ",
)
ENDINGS = (
    " please",
    ", please",
    " then",
    " exactly",
    " pebble",
    ", pebble",
    " again",
    " now",
    " today",
    " anyway",
    " really",
    ", thanks",
    " thanks",
    ", do you know",
    ", any idea",
    " in short",
    " briefly",
    " in simple words",
    ", i wonder",
    " by the way",
    ", can you tell me",
    ", my friend",
    " actually",
    " for a beginner",
    ", if i may ask",
    ", roughly",
    ", in your opinion",
    ", be honest",
    ", if you know",
    " here",
    " at all",
    ", just curious",
    ", if that makes sense",
    ", or not",
    ", right",
    " for once",
    ", dear model",
    ", little one",
    " on the whole",
    ", in a few words",
)
# Sentences beside the question; they change nothing about the answer.
ASIDES = (
    "i am new to this",
    "i just bought a raspberry pi",
    "i have read the readme",
    "my wife asked me this",
    "i have no idea about computers",
    "it is late and i am curious",
    "i don't want to read the manual",
    "i am in a hurry",
    "my friend told me about this",
    "i could not find it",
    "i tried it and failed",
    "i am on a train",
    "the children are asleep",
    "i have some time now",
    "i installed it this morning",
    "i am learning",
    "let me think",
    "here is another one",
    "change of topic",
    "something else",
    "i forgot it",
    "i've always wanted to know this",
    "one thing is not clear to me",
    "this is for my work",
    "i am a student",
    "be patient with me",
    "i am sitting in the garden",
    "forget about that",
    "let's talk about something else",
    "i was thinking about it at lunch",
    "we argued about it at home",
    "my colleague says you know this",
)
# Words that mean about the same here; a user turn swaps some of them.
SAME = tuple(
    tuple(group.split("|"))
    for group in (
        "tell me|let me know|say|inform me",
        "explain|clarify|describe|clear up|spell out|lay out",
        "want to|wish to|would love to|plan to|intend to|mean to|have to",
        "need|require|want",
        "show me|let me see|point me to|walk me through",
        "use|employ|make use of|work with",
        "fast|quick|speedy|swift",
        "slow|sluggish|lazy",
        "big|large|huge|giant|massive",
        "small|tiny|little|compact",
        "get|obtain|receive|have",
        "make|create|produce|build",
        "start|begin|launch|kick off",
        "file|package|container",
        "folder|directory|dir",
        "command|tool|instruction|subcommand",
        "option|flag|switch|setting|knob|argument",
        "terminal|console|shell|command line",
        "best|ideal|right|optimal",
        "bad|harmful|poor|unhealthy|damaging|awful",
        "good|fine|okay|decent|alright",
        "hot|warm|heated|toasty|overheated",
        "cool|chill|cooler",
        "device|gadget|machine|box",
        "computer|machine|box|pc",
        "battery|battery pack|accu|charge",
        "save|spare|conserve|preserve",
        "energy|power|juice|electricity|charge",
        "happens|goes on|occurs|takes place",
        "really|truly|actually|honestly",
        "why|how come|for what reason|what for",
        "like|enjoy|love|prefer",
        "favourite|favorite|preferred|best loved",
        "funny|amusing|silly|hilarious",
        "story|tale|little story|yarn",
        "know|have any idea|remember",
        "talk|chat|speak|converse",
        "talking|chatting|speaking",
        "answer|reply|response",
        "answers|replies|responses",
        "question|query",
        "words|terms",
        "work|function|operate",
        "weights|parameters|numbers",
        "pack|compress|shrink|convert",
        "inspect|examine|look inside|peek into|check",
        "inside|within|in",
        "contain|hold|carry|include",
        "quality|accuracy|precision",
        "fewer|less|a lower number of",
        "worse|poorer|lower in quality",
        "smaller|tinier|more compact",
        "about|regarding|on|concerning",
        "what is|what's|whats|what might be",
        "how much|what amount of",
        "happy|glad|cheerful",
        "sad|down|unhappy|gloomy|blue",
        "help|assist|support|aid",
        "tips|advice|hints|suggestions|tricks",
        "safe|fine|okay|harmless",
        "dangerous|risky|harmful",
        "too hot|far too warm|overly hot",
        "measure|read|check|see",
        "temperature|heat level|warmth",
        "colour|color|shade",
        "remember|recall|still know|keep in mind",
        "yesterday|last time|the other day|before",
        "trust|believe|rely on",
        "true|correct|right|accurate",
        "trained|taught|built|made",
        "model|network|language model",
        "internet|network|web",
        "online|connected",
        "charge|plug in|top up",
        "charger|adapter|power supply",
        "plugged in|on the charger|connected to power",
        "all day|the whole day|day and night|permanently",
        "last longer|live longer|hold out longer|keep going",
        "cold|freezing|chilly|icy",
        "winter|cold weather|frost",
        "hurt|harm|damage|affect",
        "tonight|last night|today",
        "doctor|physician",
        "script|program|piece of code",
        "who are you|what are you",
        "should i|ought i to|must i|am i supposed to",
        "can i|could i|may i|am i able to",
        "is there|have you got|do you have|does there exist",
        "which|what",
        "now|right now|at the moment|currently",
        "also|too|as well",
        "many|lots of|plenty of",
        "wrong|mistaken|incorrect",
        "kind of|sort of|type of",
        "a lot|much|plenty",
        "laptop|notebook|computer",
        "phone|handset|mobile|smartphone",
        "same|identical|very same",
        "text|output|wording",
        "every time|each time|on every run|always",
        "mean|signify|refer to",
        "stand for|mean|represent",
        "choose|pick|select|take|go for",
        "topics|subjects|themes",
        "things|stuff|matters",
        "joke|gag|funny line",
        "laugh|smile|giggle",
        "another|one more|a further",
        "bye|goodbye|see you",
        "thanks|thank you|cheers|much appreciated",
        "great|brilliant|lovely|excellent|superb|fantastic",
        "leave|head off|be off|get going|head out",
        "helpful|useful|handy",
        "lonely|alone|on your own",
        "feelings|emotions|moods",
        "weather|sky",
        "sunny|bright|nice",
        "raining|pouring|wet",
        "pain|ache",
        "pill|tablet|medicine|drug",
    )
)
_SAME: dict[str, tuple[str, ...]] = {}
for _group in SAME:
    for _word in _group[:2]:
        _SAME.setdefault(_word, _group)
_SAME_PATTERN = re.compile(r"\b(" + "|".join(sorted(map(re.escape, _SAME), key=len, reverse=True)) + r")\b")
CONTRACTIONS = (
    ("what is", "what's"),
    ("i am", "i'm"),
    ("do not", "don't"),
    ("does not", "doesn't"),
    ("can not", "can't"),
    ("cannot", "can't"),
    ("it is", "it's"),
    ("i would", "i'd"),
    ("i have", "i've"),
    ("that is", "that's"),
    ("how is", "how's"),
    ("where is", "where's"),
    ("you are", "you're"),
    ("is not", "isn't"),
    ("who is", "who's"),
    ("let us", "let's"),
    ("there is", "there's"),
)
PROPER = {
    "raspberry pi": "Raspberry Pi",
    "pi": "Pi",
    "python": "Python",
    "android": "Android",
    "rbe_edge": "rbe_edge",
    "hugging face": "Hugging Face",
    "llama": "Llama",
    "english": "English",
    "german": "German",
    "french": "French",
    "spanish": "Spanish",
    "rbe": "RBE",
    "pebble": "Pebble",
    "i": "I",
    "i'm": "I'm",
    "i'd": "I'd",
    "i've": "I've",
    "paris": "Paris",
    "france": "France",
    "london": "London",
    "ai": "AI",
    "monday": "Monday",
}
_PROPER_PATTERN = re.compile(
    r"(?<![\w.-])("
    + "|".join(sorted(map(re.escape, PROPER), key=len, reverse=True))
    + r")(?![\w-])(?!\s+(?:pack|inspect|run|chat)\b)"
)
FILLERS = (
    "actually just really ever maybe somehow own little old here then also even simply exactly possibly still perhaps "
    "usually quickly again now always only at all more or less in fact for example"
).split()
SMALL_WORDS = frozenset("a an the is are do does to of my your me please it for in on that this i you with can".split())
ASKING = frozenset(
    "what what's whats who who's where when why how which is are do does did can could would will should may am was were have has whom whose must isn't any got".split()
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
