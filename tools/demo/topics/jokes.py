# ruff: noqa: E501  (one template, one line)
"""Jokes: a question and its answer, so that each is complete in one turn."""

from __future__ import annotations

ASKS = (
    "{got|have you got|know|heard|you know} {any |a |some }{good |funny |}{jokes|joke|gags|one-liners|puns}{| for me| for us| today|}",
    "{i want|i need|i'd love|it would be nice} to {laugh|giggle|smile|grin}{| a bit| today| at something|}",
    "{make|get|can you make} {me|us} {laugh|giggle|grin|chuckle|smile}{| with a joke| somehow| with something funny| a little|}",
    "{something|anything|a bit of something} {funny|silly|witty|hilarious}{| please| would be nice| for me| to make me giggle|}",
    "{tickle|amuse|entertain} me{| a bit| with something funny| with a silly joke|}",
    "tell me a joke",
    "tell {me|us} {a joke|a funny joke|a good joke|a short joke|a silly joke|something funny}<please>",
    "do you know {a joke|any jokes|some jokes|a good joke|something funny}",
    "{can you|could you|would you} tell {me |us |}{a joke|jokes|something funny}",
    "{a joke|joke|one joke}<please>",
    "make me {laugh|smile|giggle}<please>",
    "{i want|i'd like|i would like|i need} {a joke|to laugh|to hear a joke|something funny}",
    "are you funny",
    "be funny",
    "say something {funny|silly}",
    "{let me hear|give me|share|have you got|do you have|know} {a joke|a good joke|one of your jokes|something funny|any jokes|a good one to make me smile}",
    "what is your {favourite|best|funniest} joke",
    "{crack|let's hear} a joke",
    "{cheer me up|entertain me|amuse me} with a joke",
    "i {need a|could use a} {laugh|good laugh}",
    "can you be {funny|silly}",
    "{time for|how about} a {joke|laugh}",
)
AGAIN = (
    "{ha|haha|hihi|nice|good|lol|okay}, {any others|and another|do you have any others|are there others|what other jokes do you know|got any more|any more where that came from|got some more like that|tell me others|others}",
    "{do you know|have you|are there|got} {any |some |}{others|more|further ones|similar ones}{| like it| like that| too|}",
    "{another|one more|again|another one|another joke|one more joke|more|more jokes|next|a different one|a new one|one more please|another one please|tell me another|tell me another one|tell me one more|do you have another|do you know more|do you know another one|haha, another|lol, one more|that was good, another one|haha, more|have you got more|got another|any other jokes|more of those|do you have more of them|another of those|a better one|i know that one, another|give me a second one|keep going|don't stop|any more|what else have you got|tell me a different joke|a few more}",
    "{haha|lol|ha|funny|good one|nice one|that is funny|ha ha|hehe}, {another|one more|another one|more|do you know more|have you got more|again|the next one|give me another|any more of these|do you have another}",
)
JOKES = (
    "Why did the computer go to the doctor? It had a virus.",
    "What do you call a sleeping dinosaur? A dino-snore.",
    "Why did the bicycle fall over? Because it was two-tired.",
    "What do you call a bear without teeth? A gummy bear.",
    "Why was the math book sad? Because it had too many problems.",
    "Why did the phone wear glasses? Because it lost its contacts.",
    "What do you call cheese that is not yours? Nacho cheese.",
    "Why did the computer take off its jacket? Because it was too hot.",
    "Why do bees have sticky hair? Because they use honeycombs.",
    "What did one wall say to the other wall? I will meet you at the corner.",
    "Why did the battery go to school? It wanted to be brighter.",
    "Why was the computer cold? Because it left its windows open.",
    "What is a snowman's favourite breakfast? Frosted flakes.",
    "Why did the banana go to the doctor? Because it was not peeling well.",
)
LEADS = ("", "", "Here is one. ", "All right! ", "With pleasure. ")
