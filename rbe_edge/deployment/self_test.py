"""Proves on the device that the program runs there: every kernel set against the scalar one, and an answer against this
machine's, token by token. The engine gives the same bits on every processor, so that any difference is a fault."""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from rbe_edge.deployment.channel import Answer, Link
from rbe_edge.deployment.device import Device
from rbe_edge.deployment.room import Settings
from rbe_edge.errors import DeployError
from rbe_edge.progress import Progress
from rbe_edge.runtime.model import Model
from rbe_edge.runtime.options import GenerationOptions, SamplingOptions
from rbe_edge.terminal_text import one_line

PROMPTS = ("Once upon a time", "The capital of France is", "1 2 3 4 5 6")  # a model may end its text at once
_TOKENS = 32  # of the answer; the speed is taken from it too
_TOKENS_OF_A_SET = 8  # of every kernel set: the scalar one is ten times slower
_FEWER_TOKENS = 2  # of a large model, which takes a small board seconds for each
_LARGE = 256 << 20
_CONTEXT = 256
_SIGNALS = {
    132: "an instruction that its processor does not have (a fault of the program: please report it)",
    135: "a bus error: the file system does not bear mapped files, or the disk fails",
    137: "it was killed, as Linux does where memory is short; use fewer bits, -c or --max-memory",
    139: "a crash (please report it)",
    126: "it may not be run there, or is of another processor",
    127: "it is not there",
}


@dataclass(frozen=True)
class Proof:
    """kernel_sets: those that the device has; the last one is what it uses. equal_tokens: of its answer, all those that
    were compared. tokens_per_second: of generation, by the threads that it chose."""

    kernel_sets: tuple[str, ...]
    equal_tokens: int
    tokens_per_second: float


@dataclass(frozen=True)
class Expected:
    """What this machine answers to the prompt: tokens."""

    prompt: str
    tokens: list[int]


def expected(model: Path, settings: Settings) -> Expected:
    """Of PROMPTS the first one with a whole answer, or the longest one. Raises ModelError, and DeployError where the
    file holds no tokenizer."""
    options = GenerationOptions(max_tokens=_TOKENS, sampling=SamplingOptions(temperature=0.0))
    answers = []
    with Model.open(model, verify=False, max_memory=settings.max_memory) as opened:
        if not opened.tokenizer_size:
            raise DeployError(f"{model}: holds no tokenizer, and without one the program on the device cannot run it")
        for prompt in PROMPTS:
            with opened.session(context=_context(settings), kv=settings.kv) as session:
                generation = session.generate(prompt, options)
                for _ in generation:
                    pass
            answers.append(Expected(prompt, list(generation.tokens)))
            if len(generation.tokens) == _TOKENS:
                break
    return max(answers, key=lambda answer: len(answer.tokens))


def prove(link: Link, device: Device, model: Path, settings: Settings, wanted: Expected, progress: Progress) -> Proof:
    """Runs the program on the device, with the copy of `model`. progress: in runs of it. Raises DeployError, with what
    differs or what the program says, where it does not answer as this machine does."""
    trial = _Trial(link, device, model.name, settings, wanted)
    progress.tell("asking its program what the device can", 0, 1)
    sets = trial.ask(["doctor", "--quick", "--json"]).get("kernel_sets")
    if not isinstance(sets, dict) or not sets:
        raise DeployError(f"{device.name}: its program names no kernel sets; copy the one of this version")
    runnable = tuple(str(kernels) for kernels, runs in sets.items() if runs)
    n_tokens = _TOKENS_OF_A_SET if model.stat().st_size < _LARGE else _FEWER_TOKENS
    for i, kernels in enumerate(runnable):
        progress.tell(f"kernels {kernels} on the device", i, len(runnable) + 1)
        trial.answer(n_tokens, f"with kernels {kernels}", ["--kernels", kernels])
    progress.tell("an answer on the device", len(runnable), len(runnable) + 1)
    rate = trial.answer(_TOKENS, "in its answer", []).get("tokens_per_second")
    return Proof(runnable, len(wanted.tokens), float(rate) if isinstance(rate, (int, float)) else 0.0)


def _context(settings: Settings) -> int:
    return min(settings.context or _CONTEXT, _CONTEXT)


@dataclass(frozen=True)
class _Trial:
    link: Link
    device: Device
    name: str
    settings: Settings
    wanted: Expected

    def answer(self, n_tokens: int, where: str, flags: list[str]) -> dict[str, object]:
        """What `rbe run` says, compared. Raises DeployError."""
        settings = replace(self.settings, context=_context(self.settings))
        words = ["run", self.device.path(self.name), "-p", self.wanted.prompt, "-n", str(n_tokens), "--temp", "0"]
        found = self.ask([*words, "--json", *settings.flags(), *flags])
        wanted, shown = self.wanted.tokens[:n_tokens], found.get("tokens")
        if shown != wanted:
            tokens = shown if isinstance(shown, list) else []
            pairs = enumerate(zip(tokens, wanted, strict=False))
            n_equal = next((i for i, (one, other) in pairs if one != other), len(tokens))
            raise DeployError(
                f"{self.device.name}: {where} token {n_equal + 1} of {len(wanted)} differs from this machine's: the "
                "program there is of another version, or its memory fails; deploy again without --program"
            )
        return found

    def ask(self, words: list[str]) -> dict[str, object]:
        """Runs the program there; gives the JSON object that it writes."""
        answer = self.link.run(f"{shlex.join([self.device.path('rbe'), *words])} </dev/null\n")
        for line in reversed(answer.out.splitlines()):
            if answer.code == 0 and line.startswith("{"):
                with contextlib.suppress(ValueError):
                    found = json.loads(line)
                    if isinstance(found, dict):
                        return found
        raise _failure(self.device, words[0], answer)


def _failure(device: Device, command: str, answer: Answer) -> DeployError:
    lines = [line for line in answer.err.splitlines() if line.strip()]
    said = one_line(lines[-1], 200) if lines else "it says nothing"
    reason = _SIGNALS.get(answer.code)
    return DeployError(
        f"{device.name}: `rbe {command}` fails on the device: {reason or said} (exit code {answer.code})"
    )
