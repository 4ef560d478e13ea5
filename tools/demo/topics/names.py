# ruff: noqa: E501  (one template, one line)
"""Names that users give in training, and how names are built that no list holds."""

from __future__ import annotations

import random

NAMES = tuple(
    "Anna Ben Clara David Emma Felix Grace Henry Isabel Jack Kate Leo Maria Noah Olivia Paul Rosa Sam Tina Victor Wendy Zoe Adam Bella Carl Daisy Eric Fiona George Hanna Ivan Julia Kevin Laura Max Nina "
    "Otto Peter Quinn Rachel Simon Theo Ursula Vera William Yara Alice Bob Carol Dan Eva Frank Gina Harry Ida John Karen Liam Mia Nick Omar Priya Ravi Sara Tom Uma Vijay Walter Ximena Yusuf Zara Ahmed "
    "Amelia Andrew Angela Anton Arthur Aisha Barbara Bruno Caroline Charles Chloe Chris Daniel Deborah Diego Dominic Edward Elena Elias Ella Emil Esther Ethan Eleanor Fatima Florian Francis Gabriel Georgia Gloria "
    "Gustav Hassan Hazel Helen Hugo Ian Ines Irene Isaac Ivy Jacob James Jane Jasmine Jason Jonas Joseph Josephine Judith Kai Karl Kenji Kim Lena Leonard Lily Linda Louis Lucas Lucy Luis Magda Marco Margaret Mark Martha "
    "Martin Mary Matilda Matthew Mei Michael Miguel Mila Mona Nadia Naomi Natalie Nathan Nora Oliver Pablo Pamela Patricia Patrick Petra Philip Rebecca Richard Robert Robin Roman Ruth Sandra Sebastian Sofia Stefan "
    "Stella Susan Sven Tamara Teresa Thomas Tim Tobias Valentina Veronica Vincent Viola Yuki Amir Anja Bianca Camille Cedric Dmitri Fabian Greta Hiro Jorge Katya Lars Luca Marta Mateo Nils Olga Pierre Rafael Samir "
    "Tariq Ulrich Wanda Xavier Yvonne Zainab Bernard Dave Mike Steve Bill Joe Jim Amy Sue Ann Pete Matt Nate Josh Ryan Kyle Sean Brian Greg Scott Emily Sophie Hannah Megan Lauren Ashley Jessica Sarah Abby Marlene Heidi Klaus Hans Ingrid Bjorn Chen Li Wei Ming Raj Anil Sanjay Kofi Ade Chidi Ngozi Carlos Juan Jose Pedro Ana Lucia Carmen Giulia Paolo Anders Erik Astrid Ivana Boris Igor Natasha Katarina Agnes Dora Edith Ted Ned Fred Al Beate Benedict Barney Trixie Patrice Alicia Cecilia Felicia Cornelia".split()
)
_HEAD = "Ba Be Bea Bri Ca Cla Da De Do El Fa Fre Ga Gri Ha Hel Is Ja Jo Ka Ki La Le Lo Ma Mi Mo Na Ni No Or Pa Pe Qui Ra Ri Ro Sa Se Ta Te Tri Va Vi Wil Xa Ya Ze".split()
_BODY = "na ra li mo do ta ni ri le sa ro be tri ma do vi ka".split()
_TAIL = "n s a na ra ce th l x ne lia rd tte m sha ko ton ric nda vin lo trice".split()


def name(rng: random.Random) -> str:
    """A listed name or, two times in five, a made-up one, so that copying is learnt and not the list."""
    if rng.random() < 0.6:
        return rng.choice(NAMES)
    return rng.choice(_HEAD) + (rng.choice(_BODY) if rng.random() < 0.6 else "") + rng.choice(_TAIL)


INTRODUCE = (
    "{hey|hi|hello|good evening|morning|hiya|greetings}{,|} {$N here|it's $N|$N speaking|this is $N here|i go by $N|the name's $N|my name's $N}",
    "{i go by|i answer to|i am known as|everybody calls me|my parents named me|i was named|my nickname is} $N",
    "{let me introduce myself|to introduce myself|before we start|first things first}{:|,} {i am|my name is|i'm|it's} $N",
    "my name is $N",
    "i am $N",
    "i'm $N",
    "hi, i am $N",
    "hello, my name is $N",
    "hey, i'm $N",
    "call me $N",
    "you can call me $N",
    "they call me $N",
    "$N is my name",
    "this is $N",
    "hi pebble, i am $N",
    "people call me $N",
    "my name's $N",
    "hello pebble, $N here",
    "i am called $N",
    "my friends call me $N",
    "good morning, i am $N",
    "please call me $N",
    "by the way, my name is $N",
    "nice to meet you, i'm $N",
    "hi, it's $N",
    "it is me, $N",
    "hello, $N here",
    "$N here",
    "you are talking to $N",
    "you may call me $N",
    "hi there, my name is $N and i am {new here|bored|from spain|ten years old|a teacher|a student}",
    "i'm $N and i {live in a small town|like trains|have a dog|live by the sea|work at night|own a pi}",
    "for your information, i am $N",
    "{hey|hello|hi}, this is $N{| speaking}",
    "the name is $N",
    "just so you know, my name is $N",
    "$N, that is {me|my name}",
)
WELCOME = (
    "Nice to meet you, $N! How can I help you?",
    "Hello $N! It is nice to meet you. What would you like to talk about?",
    "It is a pleasure to meet you, $N!",
)
RECALL = (
    "{do you|can you|could you|would you} {still |}{know|remember|recall|say|tell|repeat} {who i am|my name|what my name is|how i am called|what i'm called|the name i gave you|what i told you my name was|who you talk to}{| please| now|}",
    "{what|which} {name|was the name} {did i give you|do i have|do i go by|i told you|did i mention|was it}",
    "{and|so|now|well}{,|} {who|what's the name of the person} {is|are} {writing to you|you talking with|this again}",
    "{you|do you} {remember|forgot|know|recall} {me|my name|who this is|who i am}, {right|don't you|do you|yes}",
    "{i told you|i gave you|you know} my name, {what is it|what was it|say it|which one is it|do you remember|repeat it}",
    "what is my name",
    "what's my name",
    "do you {know|remember} my name",
    "who am i",
    "do you remember {who i am|what i am called|me}",
    "can you {say|tell me|remember|repeat} my name",
    "what did i say my name was",
    "do you still know {my name|who i am}",
    "my name is what",
    "what am i called",
    "tell me my name",
    "what was my name",
    "say my name",
    "have you forgotten my name",
    "by the way, what is my name",
    "what do you call me",
    "did you {forget|remember} {my name|who i am}",
    "and my name is",
    "which name did i {give|tell} you",
    "do you know who {i am|is talking to you|you are talking to}",
    "{and|so} who am i {again|then}",
    "how am i called",
    "{remember|recall} my name",
    "{test|quiz}, what is my name",
    "i hope you remember {my name|who i am}",
    "{can you|do you} {still |}recall {my name|who i am}",
)
RECALLED = (
    "Your name is $N.",
    "You are $N, you told me so.",
    "Your name is $N. I remember it as long as this chat lasts.",
)
UNKNOWN = (
    "I do not know your name, because you have not told me. What is your name?",
    "You have not told me your name yet. What may I call you?",
)
