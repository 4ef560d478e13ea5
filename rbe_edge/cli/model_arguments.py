"""Flags that `rbe run` and `rbe chat` share, named as llama.cpp's users know them, and what they become."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.chosen_model import WHAT
from rbe_edge.cli.output import note
from rbe_edge.errors import OptionError
from rbe_edge.runtime.generation import Statistics
from rbe_edge.runtime.options import (
    KV_TYPES,
    MAX_PASS_TOKENS,
    GenerationOptions,
    SamplingOptions,
    SessionOptions,
    require,
)

_MOST_LAST = 65536  # tokens that the library's repetition penalty looks back on

if TYPE_CHECKING:
    from rbe_edge.runtime.engine_model import EngineModel
    from rbe_edge.runtime.engine_session import EngineSession
    from rbe_edge.runtime.fit import Wish
    from rbe_edge.runtime.model import Model


def add_model_arguments(parser: argparse.ArgumentParser, *, max_tokens: int, temperature: str) -> None:
    """max_tokens: the default of -n. temperature: what its help says of the default, which is None here."""
    parser.add_argument("file", nargs="?", metavar="MODEL", type=Path, help=WHAT)
    parser.add_argument("-m", "--model", metavar="MODEL", type=Path, help="the same as MODEL")
    parser.add_argument(
        "-n",
        "--predict",
        metavar="N",
        type=int,
        default=max_tokens,
        help="tokens to generate at most (%(default)s; -1: until the text or the context ends)",
    )
    _add_engine_arguments(parser.add_argument_group("engine"))
    _add_sampling_arguments(parser.add_argument_group("sampling"), temperature)


def _add_engine_arguments(engine: argparse._ArgumentGroup) -> None:
    engine.add_argument(
        "-c", "--ctx-size", metavar="N", type=int, default=0, help="context in tokens (the model's own, at most 4096)"
    )
    engine.add_argument(
        "-t",
        "--threads",
        metavar="N",
        type=int,
        default=0,
        help="threads (the first answer finds the fastest)",
    )
    engine.add_argument("-b", "--batch-size", metavar="N", type=int, default=0, help="tokens per pass (64 or 128)")
    add_kv_argument(engine)
    engine.add_argument(
        "--sinks",
        metavar="N",
        type=int,
        default=0,
        help="a full context slides, keeping its first N tokens (4 are enough) and the latest (0: it ends the text)",
    )
    engine.add_argument(
        "--read-planes", metavar="N", type=int, default=0, help="read the first N planes of every tensor (0: all)"
    )
    engine.add_argument(
        "--speculate",
        choices=("off", "lookup", "planes"),
        default="off",
        help="guess tokens ahead: by lookup in the text so far, which pays where an answer repeats it, or by the base "
        "planes of a nested file; the text is the same",
    )
    engine.add_argument("--draft", metavar="N", type=int, default=6, help="guess so many at most (%(default)s)")
    add_memory_argument(engine)
    add_force_argument(engine)
    engine.add_argument("--no-verify", action="store_true", help="skip the checksums of the tensors")


def _add_sampling_arguments(sampling: argparse._ArgumentGroup, temperature: str) -> None:
    sampling.add_argument(
        "--temp", metavar="T", type=float, help=f"temperature; 0: the likeliest token always ({temperature})"
    )
    sampling.add_argument(
        "-s",
        "--seed",
        metavar="N",
        type=int,
        default=-1,
        help="the same seed gives the same text (-1: a new one each time, shown with -v)",
    )
    sampling.add_argument("--top-k", metavar="N", type=int, help="the N likeliest tokens (40; 0: all)")
    sampling.add_argument(
        "--top-p",
        metavar="P",
        type=float,
        help="the likeliest tokens of probability P together (0.95; 1: all)",
    )
    sampling.add_argument(
        "--min-p",
        metavar="P",
        type=float,
        help="tokens of at least P times the likeliest one's probability (0.05; 0: all)",
    )
    _add_penalty_arguments(sampling)
    sampling.add_argument(
        "--stop", metavar="TEXT", action="append", default=[], help="end before this text; may be given several times"
    )


def _add_penalty_arguments(sampling: argparse._ArgumentGroup) -> None:
    """Those that change logits before anything is drawn."""
    sampling.add_argument(
        "--repeat-penalty",
        metavar="X",
        type=float,
        help="above 1 makes words that were just said less likely (1: off)",
    )
    sampling.add_argument(
        "--repeat-last-n",
        metavar="N",
        type=int,
        help="tokens that --repeat-penalty looks back on (64; -1: the whole context)",
    )
    sampling.add_argument(
        "--presence-penalty",
        metavar="X",
        type=float,
        help="taken off the logits of tokens that the answer has already (0: off)",
    )
    sampling.add_argument(
        "--frequency-penalty",
        metavar="X",
        type=float,
        help="the same, once for each time that it has them (0: off)",
    )
    sampling.add_argument(
        "-l",
        "--logit-bias",
        metavar="TOKEN+X",
        action="append",
        default=[],
        help="add X to a token's logit, such as 15043+1 or 15043-inf, which excludes it; may be given several times",
    )


def add_kv_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--kv",
        choices=KV_TYPES,
        default="auto",
        help="type of the KV cache; auto: q8, or f16 where the model has heads above 256 (%(default)s)",
    )


def add_memory_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--max-memory",
        metavar="SIZE",
        type=memory_size,
        default=0,
        help="bytes of the file in memory at a time, such as 200M or 1.5G; slower (all of it)",
    )


def add_force_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--force-memory", action="store_true", help="go ahead where too little memory is free")


def check_memory(arguments: argparse.Namespace, path: Path | None, wish: Wish) -> None:
    """Before a model is opened; path None: the demo. Raises DoesNotFit unless --force-memory was given."""
    from rbe_edge.runtime import fit
    from rbe_edge.runtime.model import demo_path

    if not arguments.force_memory:
        fit.check(path or demo_path(), wish)


def opened_model(arguments: argparse.Namespace, path: Path, check: Callable[[EngineModel], object]) -> Model:
    """As the flags say. check: of runtime/encoder_kinds.py, which raises ModelError for a model of the wrong kind."""
    from rbe_edge.runtime.model import Model

    model = Model.open(path, verify=not arguments.no_verify, max_memory=arguments.max_memory)
    try:
        check(model)
    except BaseException:
        model.close()
        raise
    return model


def choose_threads(session: EngineSession, arguments: argparse.Namespace) -> None:
    """Without -t the first answer finds out how many threads are fastest, and it is kept for the next time, unless the
    machine is busy with other work."""
    if arguments.threads == 0:
        from rbe_edge.machine.process import is_busy
        from rbe_edge.store.places import make_threads_file_directory

        session.try_threads(make_threads_file_directory(), keep=not is_busy())


def memory_size(text: str) -> int:
    """'200M' -> 200 x 2^20: K, M and G are powers of 1024, a number alone is bytes. For argparse."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    size = int(float(match[1]) * 1024 ** " KMG".index(match[2].upper() or " ")) if match else 0
    if not 0 < size < 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of memory; give such as 200M or 1.5G")
    return size


def model_wanted(arguments: argparse.Namespace) -> Path | None:
    """MODEL or -m, as it was written (chosen_model.py finds the file); None where neither was given."""
    if arguments.file is not None and arguments.model is not None:
        raise OptionError(f"the model is given twice, {arguments.file} and -m {arguments.model}; give it once")
    path: Path | None = arguments.file if arguments.file is not None else arguments.model
    return path


def pass_tokens(arguments: argparse.Namespace) -> int:
    """--batch-size: tokens of a prefill pass. Raises OptionError in the command line's words."""
    size: int = arguments.batch_size
    require(
        0 <= size <= MAX_PASS_TOKENS, f"batch must be from 1 to {MAX_PASS_TOKENS}, or 0 for the default, not {size}"
    )
    return size


def session_options(arguments: argparse.Namespace) -> SessionOptions:
    return SessionOptions(
        context=arguments.ctx_size,
        threads=arguments.threads,
        pass_tokens=pass_tokens(arguments),
        kv=arguments.kv,
        planes=arguments.read_planes,
        sinks=arguments.sinks,
        check_memory=not arguments.force_memory,
    )


def generation_options(arguments: argparse.Namespace, defaults: SamplingOptions) -> GenerationOptions:
    """defaults: of sampling, where flags say nothing. A seed is chosen where none was."""

    def given(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    return GenerationOptions(
        max_tokens=None if arguments.predict < 0 else arguments.predict,
        stop=tuple(arguments.stop),
        speculate=arguments.speculate,
        draft_tokens=arguments.draft,
        sampling=SamplingOptions(
            temperature=given(arguments.temp, defaults.temperature),
            top_k=defaults.top_k if arguments.top_k is None else arguments.top_k,
            top_p=given(arguments.top_p, defaults.top_p),
            min_p=given(arguments.min_p, defaults.min_p),
            repeat_penalty=given(arguments.repeat_penalty, defaults.repeat_penalty),
            repeat_last=_repeat_last(arguments.repeat_last_n, defaults.repeat_last),
            presence_penalty=given(arguments.presence_penalty, defaults.presence_penalty),
            frequency_penalty=given(arguments.frequency_penalty, defaults.frequency_penalty),
            logit_bias=tuple(map(_bias, arguments.logit_bias)) or defaults.logit_bias,
            seed=int.from_bytes(os.urandom(4), "big") if arguments.seed < 0 else arguments.seed,
        ),
    )


def _repeat_last(given: int | None, otherwise: int) -> int:
    """-1 is as far as the library looks."""
    if given is None:
        return otherwise
    require(given == -1 or 1 <= given <= _MOST_LAST, f"repeat_last must be from 1 to {_MOST_LAST}, or -1, not {given}")
    return _MOST_LAST if given == -1 else given


def _bias(text: str) -> tuple[int, float]:
    """'15043-1.5' -> (15043, -1.5), as llama.cpp writes it."""
    match = re.fullmatch(r"([0-9]{1,9})([+-](?:inf|[0-9]+(?:\.[0-9]*)?|\.[0-9]+))", text)
    value = float(match[2]) if match else math.inf
    if match is None or value == math.inf:
        raise OptionError(f"a logit bias must be a token's number and what is added, such as 5+1 or 5-inf, not {text}")
    return int(match[1]), value


def note_statistics(statistics: Statistics) -> None:
    """The -v line."""
    prompt_rate = statistics.prompt_tokens / statistics.prompt_seconds if statistics.prompt_seconds else 0.0
    guessed = (
        f"; {statistics.accepted_tokens} of {statistics.drafted_tokens} guesses were right"
        if statistics.drafted_tokens
        else ""
    )
    note(
        f"prompt {statistics.prompt_tokens} tokens in {statistics.prompt_seconds:.2f} s ({prompt_rate:.1f} tokens/s), "
        f"generated {statistics.generated_tokens} tokens at {statistics.tokens_per_second:.1f} tokens/s, "
        f"ended by {statistics.finish}{guessed}"
    )


def statistics_json(statistics: Statistics) -> dict[str, int | float | str]:
    return {
        "prompt_tokens": statistics.prompt_tokens,
        "generated_tokens": statistics.generated_tokens,
        "prompt_seconds": round(statistics.prompt_seconds, 6),
        "generation_seconds": round(statistics.generation_seconds, 6),
        "tokens_per_second": round(statistics.tokens_per_second, 2),
        "finish": statistics.finish,
        "drafted_tokens": statistics.drafted_tokens,
        "accepted_tokens": statistics.accepted_tokens,
    }
