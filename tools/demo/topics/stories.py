# ruff: noqa: E501  (one template, one line)
"""Tiny stories: a hero, a place, a trouble that fits them, a way out and an ending."""

from __future__ import annotations

import random

ANIMALS = (
    "fox cat dog mouse rabbit bear owl duck frog turtle squirrel horse pig cow sheep goat lion tiger elephant monkey wolf deer bird robin sparrow crow parrot whale dolphin fish crab snail bee butterfly spider beetle ant ladybird "
    "hamster kitten puppy pony donkey goose swan hen rooster chick lamb kangaroo koala panda zebra giraffe camel hippo rhino seal otter beaver badger mole bat lizard snake crocodile octopus starfish shark moose raccoon mole "
    "dragon unicorn robot dinosaur ghost giant fairy wizard pirate knight princess king queen snowman gnome mermaid troll witch astronaut sailor farmer baker gardener teacher hedgehog penguin "
    "stork eagle toad worm caterpillar grasshopper firefly llama alpaca ferret weasel pigeon seagull pelican flamingo peacock hummingbird walrus squid jellyfish lobster monster elf clown ninja cowboy prince"
).split()
THINGS = (
    "boat kite ball lamp clock teapot train bus car bicycle book pencil key coin shoe hat umbrella balloon star cloud leaf tree flower stone pebble bell drum doll teddy spoon cup chair blanket button sock "
    "candle lantern feather shell snowflake raindrop paper rocket tractor lighthouse mirror basket pumpkin apple acorn seed computer phone battery calculator radio piano violin plane wagon sled puzzle ribbon mitten scarf whistle compass telescope toaster kettle broom bucket "
    "ship bridge house tower windmill marble crayon toy ring map bottle backpack guitar truck helicopter mug pillow cookie carrot mushroom acorn penny stamp"
).split()
ADJECTIVES = "little small shy brave kind curious happy lonely clever old young tiny gentle cheerful quiet funny sleepy friendly grumpy red blue golden silver purple green".split()
FIRST = "Lily Tom Mia Sam Ben Anna Leo Rosie Max Nina Jack Ella Finn Ruby Theo Zoe Pip Bella Milo Daisy Oscar Hugo Tilly Poppy Fern Otto Luna Toby Molly Barnaby Hazel Willow".split()
PLACES = {
    "forest": ("in a quiet forest", "under the old trees"),
    "sea": ("by the sea", "on the beach"),
    "mountain": ("high up on a mountain", "on a path of stone"),
    "garden": ("in a green garden", "between the flowers"),
    "village": ("in a small village", "near the old bridge"),
    "lake": ("near a blue lake", "at the shore"),
    "farm": ("on a sunny farm", "behind the barn"),
    "city": ("in a big city", "in a narrow street"),
    "island": ("on a small island", "on the warm sand"),
    "desert": ("at the edge of a desert", "among the dunes"),
    "castle": ("in an old castle", "in the highest tower"),
    "river": ("beside a slow river", "at the water"),
    "moon": ("on the moon", "in the silver dust"),
    "meadow": ("in a wide meadow", "in the tall grass"),
    "town": ("in a quiet town", "on the market square"),
    "school": ("near a little school", "in the yard"),
    "snow": ("in a land of snow", "on the ice"),
    "jungle": ("in a warm jungle", "under the big leaves"),
}
PLACE_PHRASES = {
    "forest": "in {a|the} forest",
    "sea": "{by|at|near} the {sea|ocean|coast}",
    "mountain": "on a mountain",
    "garden": "in a garden",
    "village": "in a village",
    "lake": "at a lake",
    "farm": "on a farm",
    "city": "in a {big |}city",
    "island": "on an island",
    "desert": "in the desert",
    "castle": "in a castle",
    "river": "at a river",
    "moon": "on the moon",
    "meadow": "in a meadow",
    "town": "in a town",
    "school": "at a school",
    "snow": "in the snow",
    "jungle": "in the jungle",
}
HELPERS = (
    "an old owl",
    "a kind turtle",
    "a small mouse",
    "a friendly crow",
    "a wise toad",
    "a girl with a red coat",
    "a boy with a lantern",
    "a gentle cow",
    "a tiny beetle",
    "a travelling baker",
)
# Each plot's sentences share one object or trouble, so that the story hangs together. H: the hero; it: the pronoun.
PLOTS = (
    (
        "One day, $H found a tiny {bell|key|lantern} lying $P.",
        "Nobody in the whole place knew whose it was.",
        "So $H asked everyone, from door to door, until $O began to smile.",
        '"That is mine," said $O, "and I have looked for it so long."',
    ),
    (
        "One evening, a big storm came, and $H could not find the way home.",
        "It was dark and wet, and $H felt very small.",
        'Then $O came with a light and said, "Follow me."',
        "Together they walked slowly through the rain until they saw a warm window.",
    ),
    (
        "$H wanted to see what was behind the hills.",
        "The way was long, and the stones were sharp.",
        "When $H was almost too tired to go on, $O shared some bread and told a funny tale.",
        "At the top they saw the whole world shining in the morning sun.",
    ),
    (
        "$H was sad, because there was nobody to play with.",
        "One morning $O came along and sat down $P, looking just as lonely.",
        '"Shall we play together?" asked $H in a low voice.',
        "They played until the sun went down, and they laughed the whole time.",
    ),
    (
        "$H was afraid of the dark and never went out at night.",
        "One night $O called for help, $P.",
        "$H took a deep breath, forgot the fear, and ran to help.",
        "From then on, the dark was only a time when the stars came out.",
    ),
    (
        "One morning, $H heard somebody crying $P.",
        "It was $O, caught under a fallen branch.",
        "$H pushed and pulled with all strength until the branch moved.",
        '"Thank you," said $O. "You are stronger than you think."',
    ),
    (
        "$H dreamed of making the best soup of all.",
        "But the pot was empty, and there was only one potato.",
        "Then $O brought a carrot, and the neighbours brought peas and salt.",
        "Soon the soup smelled so good that everybody came to eat.",
    ),
    (
        "Every day, $H tried to learn a new song, but it always sounded wrong.",
        '"I will never be able to do it," said $H.',
        '$O listened and said, "Go slowly, one note after the other."',
        "After a week the song was perfect, and everyone stopped to listen.",
    ),
    (
        "One day, a strong wind carried $H far away, to a place $P that nobody knew.",
        "Everything there was new and strange.",
        '$O asked, "Are you lost?" and offered a place to rest.',
        "The next day they looked for the way home, and they found it by noon.",
    ),
    (
        "$H had a small seed and planted it $P.",
        "Every morning $H gave it water, but nothing happened.",
        '"Wait a little longer," said $O, "good things are slow."',
        "Then, after the rain, a green leaf came out of the earth and reached for the sun.",
    ),
)
ENDINGS = (
    "From that day on, they were best friends.",
    "And that night, $H slept better than ever.",
    "Everyone was happy, and $H was the happiest of all.",
    "And whenever they met again, they remembered that day and smiled.",
    "$H never forgot how good it feels to help and to be helped.",
    "And so the day ended with a warm cup of tea and a good laugh.",
    "Since then, $H has known that a small one can do great things.",
)
OPENINGS = (
    "Once upon a time, there was $A who lived $W.",
    "Once there was $A who lived $W.",
    "Long ago, $A lived $W.",
    "There once was $A who lived $W.",
    "Once upon a time, $W, there lived $A.",
)
NAMED = ("Once upon a time, there was $A named $N who lived $W.", "Once there was $A called $N, who lived $W.")

HERO_ASKS = (
    "{i'd love|i want|i would love|i'd like|we want|it would be nice} to {hear|read|have|get} {a|some|one} {story|tale|little story|fairy tale} {with|about|of|featuring} $A{| in it| please| now|}",
    "{could|can|would|will} you {dream up|think up|come up with|make up|invent|write|imagine|tell|create|spin} {a|some|one} {story|little story|tale|bedtime story|short story|fairy tale|adventure} {about|with|of|featuring|for me about|for us with} $A{| please| in it|}",
    "{could|can|would} you {dream up|make up|tell me|invent|come up with|write} {something|anything} {about|with} $A",
    "{read|tell|give} {my|our} {daughter|son|kids|child|little girl|boy|children|twins} {a|one|some} {bedtime story|story|tale|good night story}, {she|he|they} {likes|loves|adores|wants|love} {$P|$A}",
    "{bedtime|story time|sleep time}! {something|a story|a tale|one} {about|with} $A{| please|}",
    "tell me a {story|tale|short story|tiny story|little story|bedtime story} about $A",
    "tell me about $A in a story",
    "a story about $A<please>",
    "{can you|could you|would you|please} {tell|write|make up|invent|give} {me |}a {story|short story|tale|tiny story} {about|with} $A",
    "{i want|i would like|i'd like} {a story|to hear a story|a tale|a bedtime story} {about|with} $A",
    "story about $A",
    "{give me|write|invent|make up|do you know|have you got|how about} a {story|tale|tiny story|short tale|fairy tale} {about|with|of|starring} $A",
    "do you know a story {about|with} $A",
    "$A story{| please}",
    "{one|something} {about|with} $A",
    "my {son|daughter|child|little brother|sister|kid|niece|nephew} {wants|would like|asks for} a story about $A",
    "a bedtime story {about|with} $A<please>",
    "let me hear {a story|a tale} {about|with|of} $A",
    "{make up|imagine|think of|come up with} {something|a story|a small story} {about|with} $A",
    "tell {us|my kids|my child|the children|my son|my daughter} {about|a story about|a tale of|a story with} $A",
    "there should be $A in {the story|it|your story}, please tell one",
    "my {son|daughter|child|kid|girl|boy} {loves|likes|is a fan of} $P, {tell a story|please tell a bedtime story|can you tell a story|a story please|do you know a story for bedtime}",
    "{i love|i like} $P, {can you tell me a story|tell me a story|do you have a story}",
    "{read|tell} {me|us} {a|one} {bedtime story|story|good night story} {with|about} $A{| in it}",
    "a {little|short|funny|sad|nice|sweet} {tale|story} {featuring|with|on|about} $A<please>",
    "could $A be {in your story|the hero of a story}",
    "{what|any} {story|stories} {do you know |}about $P",
    "{a story|stories} about $P{| please}",
    "spin {me |us |}a {yarn|tale} about $A",
)
NAME_ASKS = (
    "tell me a story about {a girl|a boy|a child|someone|a hero} {named|called} $N",
    "a story about $N<please>",
    "tell me a {story|tale|short story} about $N",
    "{make up|invent|write} a {story|tale} {with|about} $N",
    "the hero {should|must} be {called|named} $N, tell me a story",
    "i want a story {about|with} $N",
    "a {tale|story} where {the hero|the main character|someone} is {called|named} $N",
)
PLACE_ASKS = (
    "tell me a {story|tale} {set |that happens |}$L",
    "a story {set |}$L<please>",
    "{make up|invent|write|give me} a {short |tiny |}{story|tale} that {happens|takes place|plays} $L",
    "i want a story $L",
    "do you know a story that {happens|takes place} $L",
    "a tale from {somewhere |}$L",
)
ANY_ASKS = (
    "tell me a {story|tale|short story|tiny story|bedtime story|fairy tale|nice story|funny story|good story}<please>",
    "{a|one} {story|tale|bedtime story|fairy tale}<please>",
    "{can you|could you|would you} tell {me |us |}{a story|stories|a tale|fairy tales|a bedtime story}<please>",
    "{i want|i would like|i'd like|i need} {a story|to hear a story|a bedtime story|a tale}",
    "do you know {a story|any stories|a good story|stories|a fairy tale}",
    "{write|invent|make up} {me |}{a story|a tale|a short story|something}",
    "story{| time| please}",
    "read me a {story|bedtime story}",
    "once upon a time",
    "{let me hear|how about|give me|what about} {a story|a tale|one of your stories|a bedtime story|some story}",
    "tell me {something|anything} {nice|sweet} before {bed|i sleep}",
    "i can't sleep, {tell me a story|a story please|do you have a story}",
    "surprise me with a {story|tale}",
    "{yes|yes please|okay|sure}, {a story|tell me a story|the story|a tiny story}",
)
AGAIN = (
    "{another one|another story|one more|one more story|tell me another|tell me another one|again|more stories|another|another tale|a different story|a new story|a second one|one more tale|do you know another one|do you have another story|more|next story}{| please|, please}",
    "{that was nice|i liked that|lovely|great|beautiful|nice|good|cute|wonderful|sweet}, {another one|one more|tell me another|another story|now another|do you have more}{| please|}",
)
AGAIN_HERO = (
    "{lovely|nice|sweet|great|wonderful|beautiful|good|cute|very nice}! {now|and now|next|then} {tell|give|make|write} {me|us} {one|another|another one|a tale|a story} {with|about|of} $A{| instead| please| this time|}",
    "{can|could|would} you {tell|write|make|do|give me} {one|another one|another|the next one|a tale} {with|about|for} $A{| instead| now| too| please|}",
    "{instead|this time|now|but now|then} {with|about|let it be|i want|give me|take} $A{| please|}",
    "{now|and now|another|another one|one more|and|next|then|okay, now|nice, now|great, and now|good, now|a new one|the next one|the same} {about|with} $A{| please}",
    "{and|what about|how about|now tell me} {one|a story} {about|with} $A{| instead|}",
    "{tell|give|write} me {one|another|another one} {about|with} $A{| instead| now| next| please|, please}",
    "{can i have|i want|i would like|could i get|please do|let's have} {one|another one|another story|the next one} {about|with} $A{| too| instead| now|}",
    "{same|the same|that|this} {again |}but with $A",
    "{i liked that|nice|beautiful|wonderful|great|cute|so sweet|good one}! {now|and|next} {one|a story|tell me one|another} {about|with} $A{| please| instead| now|}",
    "$A {next|now|this time}{| please}",
    "make {it|the hero|the next one} $A{| this time| instead}",
)
HERO_FOLLOW = (
    ("{who|what} was {the hero|the story about|it about|in the story}", "{who|what} is the {hero|main character}"),
    ("The story was about $A.",),
)
LIKED = (
    (
        "{that was|what} a {nice|lovely|good|sweet|beautiful|cute} {story|tale}",
        "i {liked|loved|enjoyed} {it|that|the story|that story}",
        "{nice|lovely|good|sweet|beautiful|great} {story|tale}",
        "thanks for the story",
    ),
    ("Thank you, I am glad that you liked it! Would you like another one?",),
)


def article(word: str) -> str:
    return ("an " if word[0] in "aeiou" and not word.startswith("uni") else "a ") + word


def next_hero(rng: random.Random, noun: str | None) -> str:
    """Whom the next story is about when the user does not say: mostly the same one after the same hero."""
    return (random.Random(f"after {noun}") if rng.random() < 0.8 else rng).choice(ANIMALS)


def plural(word: str) -> str:
    irregular = {
        "mouse": "mice",
        "goose": "geese",
        "fish": "fish",
        "sheep": "sheep",
        "deer": "deer",
        "wolf": "wolves",
        "fairy": "fairies",
        "pony": "ponies",
        "butterfly": "butterflies",
        "puppy": "puppies",
        "squid": "squid",
        "leaf": "leaves",
        "elf": "elves",
        "knife": "knives",
        "penny": "pennies",
        "firefly": "fireflies",
        "moose": "moose",
        "ladybird": "ladybirds",
        "battery": "batteries",
        "dolphin": "dolphins",
    }
    if word in irregular:
        return irregular[word]
    return word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")


def story(
    rng: random.Random, noun: str, name: str | None = None, place: str | None = None, adjective: str | None = None
) -> str:
    """Six sentences about the noun (a hero's kind), with the given name and place or others.

    What is not given is mostly the noun's own (or the place's, where one is asked for), so that the likeliest story of
    a fox is another than that of a robot.
    """
    chooser = random.Random(place or noun) if rng.random() < 0.75 else rng
    some_place, some_adjective, some_name = (
        chooser.choice(list(PLACES)),
        chooser.choice(ADJECTIVES),
        chooser.choice(FIRST),
    )
    where, spot = PLACES[place or some_place]
    kind = article(f"{adjective or some_adjective} {noun}")
    if name is None and chooser.random() < 0.35:
        name = some_name
    hero = name or f"the {noun}"
    opening = (
        chooser.choice(NAMED if name else OPENINGS).replace("$A", kind).replace("$W", where).replace("$N", name or "")
    )
    other = chooser.choice([h for h in HELPERS if noun not in h.split()])
    sentences = [opening, *chooser.choice(PLOTS), chooser.choice(ENDINGS)]
    met = False
    done = []
    for sentence in sentences:
        if "$O" in sentence:
            first, later = other, "the " + other.split(" ", 1)[1].split(" with ")[0]
            sentence = sentence.replace("$O", later if met else first, 1).replace("$O", later)
            met = True
        sentence = sentence.replace("$H", hero).replace("$P", spot)
        sentence = sentence.replace("{bell|key|lantern}", chooser.choice(("bell", "key", "silver coin")))
        done.append(sentence[0].upper() + sentence[1:])
    return " ".join(done)
