# ruff: noqa: E501  (one template, one line)
"""The ideas behind the code: trellis and rotation."""

from __future__ import annotations

from tools.demo.grammar import Topic

CODEC = (
    Topic(
        "trellis",
        (
            "{this|that|the} trellis {business|thing|idea|concept|story}, {what is it|what's it for|what does it mean|what is it about|how does it go|can you explain it}",
            "{the|this|that} trellis {thing|stuff|generator|idea}, {what is it|explain|how does it work|what does it do|please explain}",
            "{what's|what is} {all|the fuss} {this|about} {talk about |}{trellises|a trellis|the trellis}",
            "{i don't get|tell me more about|i'm curious about} {the trellis|trellises|trellis codes}",
            "{a trellis|trellis}, {what|huh|what is that}",
            "in {what|which} way {are|does} {weights|the trellis} {generated|made|work}",
            "what {role|part} does {the|a} trellis play",
            "<tell> {the trellis|the trellis generator|a trellis|trellis coding|the trellis code|trellises}",
            "how does the trellis {work|generator work|code work}",
            "what does the trellis {do|generator do}",
            "what is a trellis {generator|code}{| here| in this kit}",
            "how are the weights {generated|stored|encoded|coded|made}",
            "how does the {codec|code|encoding|compression|generator} work",
            "{why|what for} {do you use|is there|use} a trellis",
            "what {is this|do you mean with the word} trellis",
            "trellis",
            "i saw the word trellis {in the readme|somewhere}, what is it",
            "where does the trellis come in",
            "how {do|does} {weights|a weight|the numbers} come out of {the bits|the stream|a few bits}",
            "what kind of {code|compression|codec} {is used|do you use|is it}",
        ),
        (
            "The trellis generator makes the weights from a stream of bits. It slides a window over the stream, looks up two small tables, and adds the two values to get one weight.",
            "The trellis is the heart of the kit. Each weight is generated from a window of 12 bits in a stream, as the sum of two values from small tables.",
        ),
        more=(
            "Neighbouring windows overlap, so each new weight costs only 2, 3 or 4 new bits. A Viterbi search finds the best stream when the model is packed.",
        ),
        why=(
            "A trellis comes close to the best error that is possible with so few bits, and it is very cheap to decode.",
        ),
        weight=1.2,
    ),
    Topic(
        "rotation",
        (
            "{why|for what reason} {does|do} {the packer|rbe|the kit|you} {rotate|turn|spin|transform} {matrices|the matrix|a matrix|weights|the weights}{| first| before}",
            "{rotate|rotating|turning} {weights|a matrix|matrices}, {why|what for|what is the use}",
            "{what|why} {good|use} {does|is} {rotating|a rotation|the rotation} {do|for the weights}",
            "{do|must} {weights|matrices} {have to |}be {rotated|turned}{|, and why}",
            "the {packer|kit|code} {rotates|turns} {matrices|everything|the weights}, {why|how come|what is that for}",
            "is there {a|any} {reason|need} {to rotate|for the rotation|for rotating}",
            "<tell> {the rotation|rotating weights|rotation of weights|the rotation step|the hadamard transform}",
            "why {do you rotate|are the weights rotated|is there a rotation|rotate|is the matrix rotated|does it rotate|does rbe rotate} {the weights|the matrix|weights|a matrix|anything|}",
            "what {does|is} the rotation {do|for|good for}",
            "what is rotated",
            "how does the rotation {work|help}",
            "what is the {point|purpose|use|reason} of {the rotation|rotating|rotating the weights}",
            "is {the rotation|rotation} {needed|necessary|important|really needed}",
            "what happens {without the rotation|if you don't rotate|if i skip the rotation}",
            "why a hadamard {transform|rotation|matrix}",
            "rotation",
            "{what for|for what reason} are {matrices|weights} {rotated|turned}",
            "why turn the weights {around|before encoding|first}",
        ),
        (
            "The rotation spreads large weights evenly over the whole row. After it the weights look like Gaussian noise, and the trellis codes that very well.",
            "Before packing, each matrix is rotated, so that its weights look like even Gaussian noise. Large outliers are spread out, and the error becomes smaller.",
        ),
        more=(
            "It is made of random signs and a Walsh-Hadamard transform, which needs only additions. The input is rotated in the same way, so the result stays the same.",
        ),
        why=("Without it a few very large weights would spoil the code for all the others.",),
    ),
)
