"""The options of a session and of generation, as values; ranges are checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict, cast, get_args

from rbe_edge.errors import OptionError

Speculation = Literal["off", "lookup", "planes"]
CacheType = Literal["f16", "f32", "q8", "q8q4"]  # of a session that there is, in the order of rbe_kv_type
KvType = Literal[CacheType, "auto"]  # what may be asked for
CACHE_TYPES: tuple[CacheType, ...] = get_args(CacheType)
KV_TYPES: tuple[KvType, ...] = get_args(KvType)
PlanesKind = Literal["attention", "feed_forward", "embedding", "lm_head"]
MAX_PASS_TOKENS = 512  # tokens of a prefill pass, of the library
DEFAULT_CONTEXT = 4096  # where the model's own is larger, of the library


def require(condition: bool, message: str) -> None:
    """Raises OptionError with the message unless the condition holds."""
    if not condition:
        raise OptionError(message)


def encoded(text: str) -> bytes:
    """UTF-8; bytes that the terminal gave us and that are none (surrogateescape) stay the bytes they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise OptionError("the text holds half of a surrogate pair, which is no character; remove it") from None


def check_stops(stops: Sequence[str]) -> None:
    """Raises OptionError where they are no texts that can end another."""
    require(not isinstance(stops, str), "stop must be a sequence of texts, not one text")
    require(all(stops), "a stop sequence must not be empty")
    require(not any("\0" in stop for stop in stops), "a stop sequence must not hold the character NUL")


def chat_temperature(*, demo: bool) -> float:
    """Of a chat in which none was chosen. The demo model is small: its likeliest words are its best."""
    return 0.0 if demo else 0.7


@dataclass(frozen=True)
class CachePolicy:
    """Which rows of matrices that are slow to generate are kept once they were needed, and in how many bytes.

    These are tensors of the kinds seed64 and basis (docs/smooth_codes.md); others are read faster than a cache of them
    could be. embeddings: embedding, positions and lm_head. max_bytes: 1 or more; the rows that are used first are kept.
    Results do not depend on it.
    """

    embeddings: bool = True
    attention: bool = True
    feed_forward: bool = True
    max_bytes: int = 16 << 20

    def __post_init__(self) -> None:
        require(1 <= self.max_bytes < 2**63, f"max_bytes must be 1 or more, not {self.max_bytes}")


@dataclass(frozen=True)
class SessionOptions:
    """What a session is made with. 0 asks for the library's default.

    context: tokens, 0 is the model's own, at most 4096. threads: 1 to 64, 0 is one per fast core. pass_tokens: tokens
    per prefill pass, 1 to 512, 0 is 64 or 128, by the cache. kv: the type of the cache: "f16"; "f32" (twice the memory,
    for comparisons); "q8", int8 with a scale per head and position (53 % of the memory); "q8q4", 4-bit values (41 %);
    "auto", "q8" where the model's heads have at most 256 dimensions, else, and for encoder-decoders, "f16".
    planes: how many planes are read of each tensor, 1 to 4, 0 is all it has: of a file with nested bits ({2,2}, {4,2}),
    1 reads the base alone, faster and less exact. sinks: 0 makes a full context an error; else it slides, keeping that
    many first tokens (4 are enough) and the latest. At most half the context; not for models with learned positions.
    profile: measure where the time goes, for Session.profile. check_memory: False goes ahead where too little memory is
    free, instead of raising DoesNotFit.
    """

    context: int = 0
    threads: int = 0
    pass_tokens: int = 0
    kv: KvType = "f16"
    planes: int = 0
    sinks: int = 0
    profile: bool = False
    check_memory: bool = True

    def __post_init__(self) -> None:
        require(0 <= self.context < 2**31, f"context must be 0 (the model's own) or more tokens, not {self.context}")
        require(0 <= self.threads <= 64, f"threads must be from 1 to 64, or 0 for all cores, not {self.threads}")
        require(
            0 <= self.pass_tokens <= MAX_PASS_TOKENS,
            f"pass_tokens must be from 1 to {MAX_PASS_TOKENS}, or 0 for the default, not {self.pass_tokens}",
        )
        require(0 <= self.sinks < 2**31, f"sinks must be 0 (a full context is an error) or more, not {self.sinks}")
        require(0 <= self.planes <= 4, f"planes must be from 1 to 4, or 0 for all, not {self.planes}")
        require(self.kv in KV_TYPES, f"kv must be one of {', '.join(KV_TYPES)}, not {self.kv}")


@dataclass(frozen=True)
class SamplingOptions:
    """How a token is drawn: biases, penalties, temperature, top-k, top-p, min-p, then one draw.

    temperature 0 takes the most likely token always. top_k 0, top_p 1, min_p 0 and repeat_penalty 1 are off.
    repeat_last: tokens that the penalty looks back on. seed: the same one draws the same tokens from the same prompt.
    presence_penalty, frequency_penalty: subtracted from the logits of tokens that the answer has already, once and for
    each time; -100 to 100, 0 is off. logit_bias: tokens, and what is added to their logits; -inf excludes one.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last: int = 64
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.temperature) and self.temperature >= 0,
            f"temperature must be 0 (always the most likely token) or more, not {self.temperature}",
        )
        require(0 <= self.top_k < 2**32, f"top_k must be 0 (off) or more, not {self.top_k}")
        require(0 < self.top_p <= 1, f"top_p must be above 0 and at most 1 (off), not {self.top_p}")
        require(0 <= self.min_p < 1, f"min_p must be from 0 (off) to below 1, not {self.min_p}")
        require(
            math.isfinite(self.repeat_penalty) and self.repeat_penalty > 0,
            f"repeat_penalty must be above 0 (1 is off), not {self.repeat_penalty}",
        )
        require(1 <= self.repeat_last < 2**32, f"repeat_last must be 1 or more, not {self.repeat_last}")
        require(0 <= self.seed < 2**64, f"seed must be from 0 to 2^64 - 1, not {self.seed}")
        for name, value in (("presence", self.presence_penalty), ("frequency", self.frequency_penalty)):
            require(-100 <= value <= 100, f"{name}_penalty must be from -100 to 100 (0 is off), not {value}")
        known = all(0 <= token < 2**32 and value < math.inf for token, value in self.logit_bias)
        require(known, "logit_bias must hold tokens from 0 on, with numbers or -inf")


@dataclass(frozen=True)
class GenerationOptions:
    """When generation ends. max_tokens None: at the end of the text or of the context. stop: texts that end it; the
    output ends before them. ignore_end: go on where the model would end its text. speculate: how tokens are guessed
    ahead (runtime/speculation.py), which changes the speed and not the text; draft_tokens: at most so many, 1 to 32."""

    max_tokens: int | None = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    stop: tuple[str, ...] = ()
    ignore_end: bool = False
    speculate: Speculation = "off"
    draft_tokens: int = 6

    def __post_init__(self) -> None:
        require(self.max_tokens is None or self.max_tokens > 0, f"max_tokens must be 1 or more, not {self.max_tokens}")
        known = get_args(Speculation)
        require(self.speculate in known, f"speculate must be one of {', '.join(known)}, not {self.speculate}")
        require(1 <= self.draft_tokens <= 32, f"draft_tokens must be from 1 to 32, not {self.draft_tokens}")
        check_stops(self.stop)


class ChatOptions(TypedDict, total=False):
    """Keywords of Model.chat and Model.stream: those of GenerationOptions, SamplingOptions and a session."""

    max_tokens: int | None
    stop: tuple[str, ...]
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    repeat_last: int
    seed: int
    presence_penalty: float
    frequency_penalty: float
    logit_bias: tuple[tuple[int, float], ...]
    context: int
    threads: int
    kv: KvType
    planes: int


class SessionKeywords(TypedDict, total=False):
    """Those of ChatOptions that make the session."""

    context: int
    threads: int
    kv: KvType
    planes: int


def split_options(options: ChatOptions, defaults: GenerationOptions) -> tuple[SessionKeywords, GenerationOptions]:
    """What a session is made with, and the rest, where `defaults` stand for what is not given. Raises TypeError for a
    keyword that there is not."""
    values: dict[str, Any] = dict(options)
    session = {name: values.pop(name) for name in SessionKeywords.__annotations__ if name in values}
    sampling = {field.name: values.pop(field.name) for field in fields(SamplingOptions) if field.name in values}
    unknown = values.keys() - {"max_tokens", "stop"}
    if unknown:
        import difflib

        wrong = min(unknown)
        near = difflib.get_close_matches(wrong, ChatOptions.__annotations__, 1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(ChatOptions.__annotations__)}"
        raise TypeError(f"there is no option {wrong}; {meant}")
    return cast(SessionKeywords, session), replace(defaults, sampling=replace(defaults.sampling, **sampling), **values)
