"""A sentence encoder as `.rbe` files beside llama.cpp's types and ONNX Runtime's int8: size, quality, sentences/s.

    python tools/encoder_peers.py all-MiniLM-L6-v2 sts-b/dev.tsv --keep files

The model is a directory of sentence-transformers with a BERT whose vectors are means of length 1, such as
all-MiniLM-L6-v2; the pairs are those of STS-B (`rbe eval --glue sts-b`). Every file is made from the directory:

* rbe: `rbe pack --bits B`; vectors by Model.embed's way.
* llama.cpp (needs llama-cpp-python and gguf): a GGUF file in fp32, and what its quantiser makes of that. Of sizes of
  a batch from 64 to 512 tokens, with and without flash attention, the quickest on 100 sentences counts.
* onnx (needs onnxruntime, onnx, torch, transformers and tokenizers): exported by torch, then quantize_dynamic: int8,
  a scale for each channel. Batches of 32 texts.

Every side gets the same sentences, sorted by length where that helps it, and the time to tokenise them counts. Each
measurement is a process of its own; sides take turns, --rounds times, and the table has medians. bits: of the file, for
each weight of the model. Spearman: the correlation of cosines with what people said, times 100. A side that is not
installed, or fails, is left out with a line on stderr. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbe_edge import Model
from rbe_edge.errors import RbeError
from rbe_edge.evaluation.glue_file import GlueExample, read_glue, task_named
from rbe_edge.evaluation.sentence_pairs import scores
from rbe_edge.packing.pack import PackOptions, pack

FloatArray = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], FloatArray]

TYPES = ("F16", "Q8_0", "Q5_0", "Q4_0")
_WARM = 64  # sentences before the clock starts
_TRIAL = 100
_BATCH = 32


@dataclass(frozen=True)
class Side:
    """One row of the table. kind: a key of OPENERS."""

    kind: str
    name: str
    path: Path


@dataclass(frozen=True)
class Run:
    """What one process measured. vectors: of the texts, in their order, of length 1."""

    seconds: float
    vectors: FloatArray


# Opening: each gives a function that makes vectors of length 1.


def open_rbe(side: Side, threads: int, model: Path, texts: Sequence[str]) -> Embed:
    opened = Model.open(side.path)
    encoder = opened.encoder(threads=threads)
    return lambda given: encoder.pooled(encoder.read(given, cut=True))


def open_llama(side: Side, threads: int, model: Path, texts: Sequence[str]) -> Embed:
    import llama_cpp

    from rbe_edge.llama_cpp import quantiser

    quantiser.binding()  # which is silent

    def opened(tokens: int, flash: bool) -> Embed:
        llama = llama_cpp.Llama(
            str(side.path), embedding=True, n_ctx=512, n_batch=tokens, n_ubatch=tokens, n_threads=threads,
            n_threads_batch=threads, flash_attn=flash, verbose=False,
        )  # fmt: skip

        def embed(given: Sequence[str]) -> FloatArray:
            order = sorted(range(len(given)), key=lambda index: len(given[index]))
            found = np.empty((len(given), llama.n_embd()), np.float32)
            found[order] = llama.embed([given[index] for index in order])
            return found / np.linalg.norm(found, axis=1, keepdims=True)

        return embed

    words = llama_cpp.Llama(str(side.path), vocab_only=True, verbose=False)
    longest = max(len(words.tokenize(text.encode())) for text in texts)
    sizes = [size for size in (64, 128, 256, 512) if size >= longest] or [512]
    few = texts[:: max(len(texts) // _TRIAL, 1)]
    tried = [opened(size, flash) for size in sizes for flash in (False, True)]
    return min(tried, key=lambda embed: min(_seconds(embed, few) for _ in range(2)))


def open_onnx(side: Side, threads: int, model: Path, texts: Sequence[str]) -> Embed:
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(side.path), options, providers=["CPUExecutionProvider"])

    def embed(given: Sequence[str]) -> FloatArray:
        tokens = [encoding.ids for encoding in tokenizer.encode_batch(list(given))]
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))
        found: list[tuple[list[int], FloatArray]] = []
        for first in range(0, len(order), _BATCH):
            batch = order[first : first + _BATCH]
            ids = np.zeros((len(batch), len(tokens[batch[-1]])), np.int64)
            mask = np.zeros_like(ids)
            for row, index in enumerate(batch):
                ids[row, : len(tokens[index])] = tokens[index]
                mask[row, : len(tokens[index])] = 1
            found.append((batch, session.run(None, {"ids": ids, "mask": mask, "kinds": np.zeros_like(ids)})[0]))
        out = np.empty((len(tokens), found[0][1].shape[1]), np.float32)
        for batch, vectors in found:
            out[batch] = vectors
        return out

    return embed


OPENERS: dict[str, Callable[[Side, int, Path, Sequence[str]], Embed]] = {
    "rbe": open_rbe, "llama.cpp": open_llama, "onnx": open_onnx,
}  # fmt: skip


def _seconds(embed: Embed, texts: Sequence[str]) -> float:
    began = time.perf_counter()
    embed(texts)
    return time.perf_counter() - began


def measure(side: Side, threads: int, model: Path, texts: Sequence[str]) -> Run:
    """In a process that does nothing else."""
    embed = OPENERS[side.kind](side, threads, model, texts)
    embed(texts[:_WARM])
    began = time.perf_counter()
    vectors = embed(texts)
    return Run(time.perf_counter() - began, vectors)


def apart(function: Callable[..., Any], *given: Any) -> Any:
    """The function's result, from a process of its own. Raises what it raises, and RbeError where it dies."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *given).result()
        except BrokenProcessPool:
            raise RbeError("its process died") from None


# Making the files.


def rbe_sides(model: Path, bits: Sequence[float], into: Path) -> Iterator[Side]:
    for number in bits:
        path = into / f"{number:g}-bits.rbe"
        if not path.exists():
            pack(model, path, PackOptions(bits=number))
        yield Side("rbe", f"rbe {number:g} bits", path)


def write_types(model: Path, dense: Path, into: Path, types: Sequence[str]) -> None:
    """Those that are not there yet. dense: the model as a `.rbe` file of 32 bits."""
    from rbe_edge.llama_cpp import export, quantiser
    from rbe_edge.sources.open import open_source
    from rbe_edge.sources.tokenizers.of_source import source_tokenizer

    full = into / "F32.gguf"
    with Model.open(dense) as opened:
        if not full.exists():
            tokenizer = source_tokenizer(open_source(model), opened.info.vocabulary)
            export.write_gguf(opened, tokenizer, full, opened.info.context)
    for name in types:
        if not (into / f"{name}.gguf").exists():
            quantiser.quantize(full, into / f"{name}.gguf", name, {})


def llama_sides(model: Path, dense: Path, into: Path, types: Sequence[str]) -> list[Side]:
    import gguf  # noqa: F401
    import llama_cpp  # noqa: F401

    write_types(model, dense, into, types)
    return [Side("llama.cpp", f"llama.cpp {name}", into / f"{name}.gguf") for name in types]


def write_onnx(model: Path, out: Path) -> None:
    """int8, by way of fp32 beside it."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel

    class Vectors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(model, attn_implementation="eager").eval()

        def forward(self, ids: Any, mask: Any, kinds: Any) -> Any:
            states = self.model(input_ids=ids, attention_mask=mask, token_type_ids=kinds).last_hidden_state
            counted = mask.unsqueeze(-1).to(states.dtype)
            mean = (states * counted).sum(1) / counted.sum(1)
            return torch.nn.functional.normalize(mean, dim=1)

    names = ["ids", "mask", "kinds"]
    some = torch.ones(2, 7, dtype=torch.long)
    axes = {name: {0: "texts", 1: "tokens"} for name in names}
    dense = out.with_name("fp32.onnx")
    torch.onnx.export(
        Vectors(), (some, some, some * 0), str(dense), input_names=names, output_names=["vectors"],
        dynamic_axes={**axes, "vectors": {0: "texts"}}, opset_version=17, dynamo=False,
    )  # fmt: skip
    quantize_dynamic(str(dense), str(out), weight_type=QuantType.QInt8, per_channel=True)


def onnx_sides(model: Path, into: Path) -> list[Side]:
    import onnxruntime  # noqa: F401
    import tokenizers  # noqa: F401

    path = into / "int8.onnx"
    if not path.exists():
        apart(write_onnx, model, path)
    return [Side("onnx", "ONNX Runtime int8", path)]


def left_out(what: str, error: Exception) -> None:
    reason = f"{error.name} is not installed" if isinstance(error, ModuleNotFoundError) else str(error)
    print(f"encoder_peers: {what} is left out: {reason}", file=sys.stderr)


def all_sides(model: Path, bits: Sequence[float], into: Path, types: Sequence[str], peers: Sequence[str]) -> list[Side]:
    sides = list(rbe_sides(model, bits, into))
    dense = next(rbe_sides(model, [32], into)).path
    making: dict[str, Callable[[], list[Side]]] = {
        "llama.cpp": lambda: llama_sides(model, dense, into, types),
        "onnx": lambda: onnx_sides(model, into),
    }
    for what in peers:
        make = making[what]
        try:
            sides += make()
        except Exception as error:  # whatever is wrong with it, the others are measured
            left_out(what, error)
    return sides


# The table.


def weights_of(path: Path) -> int:
    with Model.open(path) as model:
        return sum(info.rows * info.cols for info in model.tensors.values())


def table(
    sides: Sequence[Side], runs: dict[tuple[Side, int], list[Run]], pairs: Sequence[GlueExample], n_weights: int
) -> Iterator[str]:
    threads = sorted({count for _, count in runs})
    heads = [f"sentences/s, {count} thread{'s' * (count > 1)}" for count in threads]
    yield f"| file | bytes | bits | Spearman | {' | '.join(heads)} |"
    yield f"|---{'|---:' * (3 + len(heads))}|"
    for side in sides:
        size = side.path.stat().st_size
        found = scores(runs[side, threads[0]][0].vectors, pairs).spearman
        speeds = [2 * len(pairs) / statistics.median(run.seconds for run in runs[side, count]) for count in threads]
        cells = [side.name, f"{size:,}", f"{8 * size / n_weights:.2f}", f"{found:.2f}", *(f"{s:.0f}" for s in speeds)]
        yield f"| {' | '.join(cells)} |"


def measure_all(
    sides: Sequence[Side], threads: Sequence[int], rounds: int, model: Path, texts: Sequence[str]
) -> dict[tuple[Side, int], list[Run]]:
    """Sides that fail are missing."""
    runs: dict[tuple[Side, int], list[Run]] = {(side, count): [] for side in sides for count in threads}
    for _ in range(rounds):
        for side, count in list(runs):
            if (side, count) not in runs:
                continue
            try:
                runs[side, count].append(apart(measure, side, count, model, texts))
            except Exception as error:  # as above
                left_out(side.name, error)
                for each in threads:
                    runs.pop((side, each), None)
    return runs


def numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the directory")
    parser.add_argument("pairs", type=Path, help="a file of STS-B")
    parser.add_argument(
        "--bits", type=numbers, default=[32, 4.25, 3.25, 2.25], help="of .rbe files (32,4.25,3.25,2.25)"
    )
    parser.add_argument(
        "--peers", nargs="*", default=["llama.cpp", "onnx"], choices=["llama.cpp", "onnx"], help="(both)"
    )
    parser.add_argument("--types", default=",".join(TYPES), help=f"of llama.cpp ({','.join(TYPES)})")
    parser.add_argument("--threads", type=numbers, default=[1, 2], help="(1,2)")
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--limit", type=int, help="take so many pairs, from the first on")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where files stay, and are taken from if there")
    options = parser.parse_args(arguments)
    try:
        pairs = read_glue(options.pairs, task_named("sts-b"), options.limit)
        with tempfile.TemporaryDirectory() as temporary:
            into = options.keep or Path(temporary)
            into.mkdir(parents=True, exist_ok=True)
            sides = all_sides(options.model, options.bits, into, options.types.split(","), options.peers)
            texts = [pair.texts[place] for place in (0, 1) for pair in pairs]
            threads = [int(count) for count in options.threads]
            runs = measure_all(sides, threads, options.rounds, options.model, texts)
            measured = [side for side in sides if (side, threads[0]) in runs]
            n_weights = weights_of(next(rbe_sides(options.model, [32], into)).path)
            print("\n".join(table(measured, runs, pairs, n_weights)))
    except RbeError as error:
        print(f"encoder_peers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
