# ruff: noqa: E501  (one template, one line)
"""The temperature of small devices."""

from __future__ import annotations

from tools.demo.grammar import Topic

HEAT = (
    Topic(
        "pi is hot",
        (
            "{i run|i'm running} {a model|you|an llm} on my <pi> and it {<gets> <hot>|heats up|overheats}{|, advice|, tips|, suggestions|, what would help|, what to do}",
            "{any|some} {advice|tip|suggestion|idea} for {my|a} {<hot>|overheating} <pi>",
            "{how|what} {could|would|can} {help|i cool|make} {my|a} <pi> {run cooler|cooler|stay cool}",
            "{keep|keeping|get} {my|a|the} <pi> {cool|cooler|at a low temperature}",
            "my <pi> {is|becomes|gets} {awfully|terribly|pretty|rather|quite|way too} {hot|warm}{| with a model running| under load|, got a tip|, ideas}",
            "my <pi> <gets> <hot>{|, what can i do|, what should i do|, help|, any tips|, any ideas|, is there a fix| when i run a model| while running a model| all the time| under load}",
            "<howto> {cool|cool down|keep cool|lower the temperature of} {my|a|the} <pi>",
            "<should> {put a fan on|cool|use a heat sink on} my <pi>",
            "does a <pi> need {a fan|a heat sink|cooling|a cooler}",
            "the <pi> is {burning|overheating|roasting|cooking itself|glowing}",
            "what {cooler|cooling|fan} {is best|should i use|do you recommend} for {a|my} <pi>",
            "{tips|advice|help} {against|for|with} a <hot> <pi>",
            "my <pi> {overheats|heats up|burns my fingers|runs at 80 degrees|gets to 75 degrees}{|, what helps|, what now|, what should i change}",
            "how {can|do} i {stop|prevent|avoid} my <pi> {from overheating|overheating|from getting hot}",
            "what helps {when|if} {a|my|the} <pi> <gets> <hot>",
            "there is {heat|smoke-hot air} coming {from|off} my <pi>",
        ),
        (
            "Put a heat sink or a fan on your Raspberry Pi, and let air flow around it. A smaller model, fewer bits or fewer threads also make less heat.",
            "A small fan or a heat sink helps a Raspberry Pi most. Take it out of a closed case, and use fewer threads if it still gets too hot.",
        ),
        more=(
            "Keep it out of the sun and away from other warm things. Short pauses between answers also give it time to cool.",
        ),
        why=("A language model keeps all cores and the memory busy, and all that work turns into heat.",),
        then=(
            (
                (
                    "{and |so |}{how|where} {can|do|could|would} i {measure|check|see|read|find out|know} {that|it|this|the temperature|how hot it is}{| then| now|}",
                    "which command {shows|tells me} {that|it|the temperature}",
                ),
                (
                    "On a Raspberry Pi, type vcgencmd measure_temp in the terminal. It prints the temperature of the chip.",
                ),
            ),
        ),
        weight=1.3,
    ),
    Topic(
        "phone is hot",
        (
            "my <phone> {is|becomes|gets|feels} {awfully|terribly|pretty|rather|quite|way too} {hot|warm}{| in my hand| in my pocket|, got a tip|, ideas|, is that normal}",
            "{any|some} {advice|tip|suggestion|idea} for {my|a} {<hot>|overheating} <phone>",
            "my <phone> <gets> <hot>{|, what can i do|, what should i do|, help|, any tips|, is that bad| when i chat with you| while running a model}",
            "<howto> {cool|cool down|keep cool} {my|a|the} <phone>",
            "the <phone> is {burning|overheating|roasting|glowing|hot like an oven}",
            "{tips|advice|help} {against|for|with} a <hot> <phone>",
            "my <phone> {overheats|heats up|burns in my hand|shows a heat warning|says it is too warm}{|, what now|, what helps}",
            "how {can|do} i {stop|prevent|avoid} my <phone> {from overheating|overheating|from getting hot}",
            "what {should|can} i do {when|if} {a|my|the} <phone> <gets> <hot>",
            "<should> put {my|a} <hot> <phone> {in the fridge|in the freezer|into cold water|on ice}",
        ),
        (
            "Let your phone cool down: take off the case, keep it out of the sun, and stop heavy work for a while. Do not put it in a fridge, because water can form inside.",
            "Give your phone a break. Take off its case, put it in the shade and close heavy apps until it has cooled down.",
        ),
        more=(
            "A smaller model or fewer bits also make less heat. It is best not to charge the phone while it is hot.",
        ),
        why=("A phone has no fan, so heat slows it down and wears out its battery faster.",),
        weight=1.2,
    ),
    Topic(
        "laptop is hot",
        (
            "my <laptop> {is|becomes|gets|feels} {awfully|terribly|pretty|rather|quite|way too} {hot|warm}{| on my lap| under load|, got a tip|, ideas|, is that normal}",
            "my <laptop> <gets> <hot>{|, what can i do|, what should i do|, help|, any tips| when i run a model| while running a model}",
            "<howto> {cool|cool down|keep cool} {my|a|the} <laptop>",
            "the <laptop> is {burning|overheating|roasting|burning my legs}",
            "the fan of my <laptop> is {loud|always on|noisy|screaming}",
            "{tips|advice|help} {against|for|with} a <hot> <laptop>",
            "my <laptop> {overheats|heats up|burns my legs|sounds like a plane}{|, what now|, what helps}",
            "how {can|do} i {stop|prevent|avoid} my <laptop> {from overheating|overheating|from getting hot}",
            "<should> {use my laptop in bed|put my laptop on a pillow|clean the fan of my laptop|use a cooling pad}",
        ),
        (
            "Put your laptop on a hard, flat surface, so that air can reach it, and clean the dust from its fan. A smaller model or fewer threads also make less heat.",
            "Keep the air openings of your laptop free: a table is better than a bed. Dust in the fan is often the reason, so clean it now and then.",
        ),
        why=("Dust and soft surfaces block the air, and then the heat of the processor cannot get out.",),
    ),
    Topic(
        "what heat does",
        (
            "{what|how much} {does|can|will} {heat|too high a temperature|a hot case|being hot} {do|change|cost}{| to the speed| to a processor| to performance| to the chip|}",
            "{how|in what way} {does|is} {heat|a high temperature|getting hot} {slow|affect|hurt|change|influence} {a chip|a processor|a cpu|the speed|my computer|performance}",
            "{what|how much} {speed|performance} {do i lose|is lost|goes away} {with|through|from|in} {heat|a hot chip|the heat}",
            "{a|if a|when a} {chip|processor|cpu} {gets|is|runs} {hot|too hot|very warm}, {what then|what does it do|what happens|does it slow down}",
            "{is|gets} {a|the} {hot|warm|overheated} {chip|processor|cpu|device} slower",
            "{does|will|can} {too much heat|heat|overheating} {make|turn} {it|the device|a computer|my machine} slow",
            "{consequences|effects|results} of {heat|overheating|a hot chip}",
            "what {happens|does happen} {when|if} a {processor|chip|cpu|computer|device|phone|laptop|pi} {gets too hot|overheats|is too hot|runs hot}",
            "what {does|can} {heat|a high temperature|overheating} do to {a processor|a chip|a device|a cpu|my device|electronics|my computer|performance|the speed}",
            "is {heat|too much heat|a high temperature|overheating} {bad|dangerous|harmful|a problem} for {a processor|a device|a phone|a computer|electronics|my device|a chip}",
            "what is {throttling|thermal throttling|cpu throttling}",
            "why {does|is} my {device|pi|phone|laptop|computer} {slow down|get slow|become slow|slower} when {it is hot|hot|it gets warm|it heats up}",
            "<tell> {throttling|thermal throttling|heat|what heat does|overheating}",
            "does {heat|a hot chip|high temperature} {slow|make} {things down|a device slow|a computer slower|it slow}",
            "how does {heat|temperature} {affect|change|influence} {speed|performance|a processor|a chip|the model|decoding}",
            "why is {heat|a hot device} {bad|a problem}",
            "it {gets slower|slows down} when it is {hot|warm}, why",
            "can {a chip|a processor|a device} {be damaged|break|die} {from|by|because of} heat",
            "does temperature {matter|influence anything|change the speed}",
        ),
        (
            "When a processor gets too hot, it slows itself down to stay safe. This is called throttling, and a model then answers more slowly.",
            "Heat makes a processor slow down, which is called throttling. Over months, too much heat also wears out the battery.",
        ),
        more=("Cooling brings the speed back at once. The model gives the same answers, it just needs more time.",),
        why=("A chip that is too hot could be damaged, so it lowers its speed until it is cooler.",),
        weight=1.3,
    ),
    Topic(
        "safe temperature",
        (
            "{at|from} {what|which} {point|temperature|number|degree} {should|do|must|would} {i|one|you} {get|be|start being|become} {worried|nervous|concerned|careful|alarmed}{| about the heat| about my pi| about a chip|}",
            "{at|from} {what|which} {point|temperature|level|value} {should|must|do} i {worry|be worried|do something|act|get nervous|be alarmed} {about|for} {my|the|a} <pi>{| heat| temperature|}",
            "{how|what} {warm|hot} is {too warm|too hot|still okay|still fine|alarming}{| for a pi| for my pi| for a chip| for a processor|}",
            "{my|the} {<pi>|chip|processor|cpu} {is at|shows|has|reads} {55|60|68|72|78|82|86} degrees, {is that okay|is this bad|should i worry|is it too much}",
            "{where|what} is the {danger zone|limit|critical point} {for|of} {my|a|the} <pi>",
            "what {number|reading|value} {is|would be} {alarming|critical|too high} {for|on} {the|a} <pi>",
            "{what|which} temperature is {safe|normal|okay|ok|too hot|dangerous|fine|too high|good|bad} for {a|my|the} {<pi>|processor|cpu|chip}",
            "how {hot|warm} {can|may|should} {a|my|the} {<pi>|processor|cpu|chip} {get|be|become|run}",
            "is {60|65|70|75|80|85|90} degrees {too hot|okay|normal|safe|dangerous|fine|bad|a lot} for {a|my|the} {<pi>|processor|cpu|chip}",
            "when does {a|my|the} <pi> {throttle|slow down|get too hot|start to throttle|become too hot}",
            "at {what|which} temperature does {a|my|the} {<pi>|chip|processor} {throttle|slow down|shut down|get slow|become dangerous}",
            "what is the {maximum|highest|normal|safe|critical} temperature {of|for} {a|my|the} {<pi>|processor|chip}",
            "{when|from what temperature} {should|must|do} i {worry|care|act|be concerned|panic} about {heat|the heat of my pi|a hot pi|the temperature of my pi}",
            "how many degrees {are|is} {too many|too hot|okay|safe|normal} for a <pi>",
            "what temperature {should|would} {make me nervous|be a problem|be too much}",
            "{limit|upper limit|safe range} for the {chip|pi|cpu} temperature",
        ),
        (
            "A Raspberry Pi starts to slow down at about 80 degrees Celsius, and at 85 degrees it slows down a lot. Below 70 degrees you need not worry.",
            "Up to about 70 degrees Celsius is fine. At 80 degrees a Raspberry Pi begins to throttle, so add a fan or a heat sink before that.",
        ),
        why=("The chip protects itself: from about 80 degrees Celsius it lowers its speed.",),
        then=(
            (
                (
                    "{and |so |}{how|where} {can|do|could|would} i {measure|check|see|read|find out|know} {that|it|this|the temperature|how hot it is}{| then| now|}",
                    "which command {shows|tells me} {that|it|the temperature}",
                ),
                (
                    "On a Raspberry Pi, type vcgencmd measure_temp in the terminal. It prints the temperature of the chip.",
                ),
            ),
        ),
        weight=1.2,
    ),
    Topic(
        "measure temperature",
        (
            "{how|where} {do|can|would} i {tell|learn|find out|see} {how hot|how warm} {my|the|a} <pi> {is|gets|has become}{| now| right now}",
            "{is there|give me|what is} {a|the} {command|way|tool} {to see|that shows|to read|that prints|for} {how hot it is|the chip temperature|the heat|how warm my pi is}",
            "{something|anything|what} {i can|to|can i} {type|run|enter} {to|that would|and} {read|see|print|get|show} the {temperature|heat}{| of the pi| of the chip|}",
            "{read|print|show} {the|my} <pi> temperature",
            "what {does|is} my <pi> {temperature|heat}, how do i check",
            "<howto> {measure|check|see|read|show|find out|monitor|watch|get} {the|my} temperature {of|on} {a|my|the} <pi>",
            "how {hot|warm} is my <pi>{| right now| at the moment| now}",
            "which command shows the temperature{| of my pi| of a pi| on a raspberry pi}",
            "<howto> {measure|check|see|read|monitor|watch|find out} {the temperature|how hot it is|how hot my pi is|how warm it gets|the heat of the chip|the chip temperature|the cpu temperature}",
            "is there a {command|tool|program} for the temperature",
            "vcgencmd",
            "what is vcgencmd",
            "can i {read|see|check} the temperature {in the terminal|with a command|somewhere}",
            "where {can|do} i {see|find|read} the {temperature|heat} of my <pi>",
            "i want to {watch|track} {the heat|how hot it gets|my pi's temperature}",
            "how would i know {how hot the chip is|my pi's temperature|the temperature}",
            "what do i {enter|type|run} {for|to get|to read} the {chip |pi |}temperature",
        ),
        (
            "On a Raspberry Pi, type vcgencmd measure_temp in the terminal. It prints the temperature of the chip.",
            "Use the command vcgencmd measure_temp on your Raspberry Pi. It shows how hot the chip is.",
        ),
        more=(
            "The command vcgencmd get_throttled tells you whether the chip has slowed down. A zero means that everything is fine.",
        ),
        weight=1.2,
    ),
    Topic(
        "room temperature",
        (
            "is it {too hot|too warm|too cold} {in here|in my room|outside|in the attic} for {my|a} {pi|computer|laptop|device}",
            "can i {use|run|leave|put} {my|a} {pi|computer|laptop|phone|device} {in the sun|in a hot car|in the garden|outside in summer|in a closed box|in a cupboard|on the radiator|behind the tv}",
            "what about {summer|hot days|the sun|hot weather|a heat wave}",
            "is {the sun|direct sunlight|a hot car|summer heat} {bad|dangerous|harmful} for {my|a} {phone|laptop|device|pi|battery}",
            "where should i {put|place|keep} my {pi|device|computer}",
            "i left my phone in {the car|the sun}",
        ),
        (
            "Keep your device in the shade, with free air around it. Direct sun and hot cars are bad for the chip and even worse for the battery.",
            "A cool and airy place is best. Avoid direct sun, hot cars and closed boxes, because the heat cannot get out.",
        ),
    ),
)
