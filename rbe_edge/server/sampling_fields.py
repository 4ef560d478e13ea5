"""How tokens are drawn and when an answer stops, as requests of OpenAI's API and of llama.cpp's server say it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from rbe_edge.errors import OptionError
from rbe_edge.runtime.options import SamplingOptions
from rbe_edge.server.api_error import wrong
from rbe_edge.server.fields import Fields

_MAX_STOPS = 16
_MAX_STOP = 1000  # characters
_MAX_BIASES = 5000
_MAX_BIAS = 100.0
_NEVER = float("-inf")


def sampling_of(fields: Fields, otherwise: SamplingOptions | None = None) -> SamplingOptions:
    """otherwise: what is meant where a field is missing; its seed does not matter. Raises ApiError."""
    base = otherwise or SamplingOptions(temperature=1.0)

    def number(name: str, low: float, high: float, default: float) -> float:
        value = fields.number(name, low, high)
        return default if value is None else value

    seed = fields.whole("seed", -(2**63), 2**64 - 1)
    repeat_penalty = number("repeat_penalty", 0, 100, base.repeat_penalty)
    top_k, last = fields.whole("top_k", -1, 2**32 - 1), fields.whole("repeat_last_n", -1, 65536)
    try:
        return SamplingOptions(
            temperature=number("temperature", 0, 100, base.temperature),
            top_k=base.top_k if top_k is None else max(top_k, 0),
            top_p=max(number("top_p", 0, 1, base.top_p), 1e-6),  # 0 is OpenAI's word for the likeliest token alone
            min_p=number("min_p", 0, 1, base.min_p),
            repeat_penalty=repeat_penalty if last != 0 else 1.0,
            repeat_last=65536 if last == -1 else last or base.repeat_last,  # -1: all of the context
            seed=secrets.randbits(64) if seed is None else seed % 2**64,
            presence_penalty=number("presence_penalty", -2, 2, base.presence_penalty),
            frequency_penalty=number("frequency_penalty", -2, 2, base.frequency_penalty),
            logit_bias=_biases(fields),
        )
    except OptionError as error:
        name = str(error).split(" ", 1)[0]
        raise wrong(name, str(error)) from None


def _biases(fields: Fields) -> tuple[tuple[int, float], ...]:
    """OpenAI's object of token ids, or llama.cpp's list of pairs, where false excludes a token."""
    given = fields.raw("logit_bias")
    if given is None:
        return ()
    pairs: Iterable[Any] = given.items() if isinstance(given, dict) else given if isinstance(given, list) else [None]
    found = []
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise _no_biases(fields)
        token, bias = pair
        if isinstance(token, str) and token.isascii() and token.isdecimal() and len(token) < 10:
            token = int(token)
        bias = _NEVER if bias is False else bias
        known = type(token) is int and 0 <= token < 2**32
        if not known or isinstance(bias, bool) or not isinstance(bias, (int, float)):
            raise _no_biases(fields)
        if bias != _NEVER and not -_MAX_BIAS <= bias <= _MAX_BIAS:
            raise _no_biases(fields)
        found.append((token, float(bias)))
    if len(found) > _MAX_BIASES:
        raise wrong(fields.path("logit_bias"), f"`{fields.path('logit_bias')}` names more than {_MAX_BIASES} tokens")
    return tuple(found)


def _no_biases(fields: Fields) -> Exception:
    path = fields.path("logit_bias")
    return wrong(path, f"`{path}` must be an object of token ids with numbers from -{_MAX_BIAS:g} to {_MAX_BIAS:g}")


def stops_of(fields: Fields, name: str = "stop") -> tuple[str, ...]:
    """A text, or a list of texts. Raises ApiError."""
    value, path = fields.raw(name), fields.path(name)
    stops = [value] if isinstance(value, str) else value if value is not None else []
    if not isinstance(stops, list) or len(stops) > _MAX_STOPS:
        raise wrong(path, f"`{path}` must be a text or a list of at most {_MAX_STOPS} texts")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= _MAX_STOP or "\0" in stop:
            raise wrong(path, f"`{path}` must hold texts of 1 to {_MAX_STOP} characters, without NUL")
    return tuple(stops)
