"""What a model's file takes, for choosing one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rbe_edge.errors import RbeError
from rbe_edge.runtime import fit
from rbe_edge.runtime.encoder_kinds import kind_of, what_it_is
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import SessionOptions


@dataclass(frozen=True)
class Details:
    """bits: per weight. memory: bytes at full speed, with the session. wrong: why there can be no chat with it; memory
    is 0 then."""

    bits: float = 0.0
    memory: int = 0
    wrong: str = ""


def details_of(path: Path, session: SessionOptions) -> Details:
    """Opens the file for a moment. Any thread; takes milliseconds."""
    try:
        with Model.open(path, verify=False) as model:
            bits, kind, is_encoder = model.info.bits_per_weight, kind_of(model), model.encoder_info.is_encoder
        if kind is not None and is_encoder:
            return Details(bits, wrong=f"{what_it_is(kind)}; it cannot chat")
        return Details(bits, fit.estimate(path, fit.Wish(session)).total)
    except RbeError as error:
        return Details(wrong=str(error).removeprefix(f"{path}: "))
