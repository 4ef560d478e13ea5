"""The codecs alone: only the matrices of the layers are quantised, and all of them in the same code.

Embedding, lm_head, norms and activations stay fp32, and both sides run in this project's engine, from copies of the
fp32 model in which the decoded matrices replace the originals. So only the loss of the codec differs. ggml's types are
encoded by llama.cpp's quantiser with the importance matrix and decoded by the gguf package; ours by the packer's
encoder, calibrated block by block as in a pack.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from rbe_edge.codes import trellis
from rbe_edge.comparison.compare import (
    GGML,
    RBE,
    CompareOptions,
    Comparison,
    Prepared,
    Row,
    Scorer,
    export_model,
    measure,
    prepare,
    rbe_scorer,
)
from rbe_edge.errors import OptionError, PackError
from rbe_edge.evaluation.divergence import summary
from rbe_edge.llama_cpp import export, quantiser
from rbe_edge.packing import storage
from rbe_edge.packing.calibration import Calibration
from rbe_edge.packing.dense_copy import DenseCopy
from rbe_edge.progress import Listener, Progress
from rbe_edge.runtime.model import Model
from rbe_edge.sources.gguf.names import gguf_name
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source

DEFAULT_BITS = (2.0, 3.0, 4.0)
DEFAULT_TYPES = ("IQ2_XS", "Q2_K", "IQ3_XXS", "IQ3_S", "Q3_K", "IQ4_XS", "Q4_0", "Q4_K", "Q5_0", "Q5_K")
DEFAULT_NARROW_TYPES = ("Q4_0", "IQ4_NL", "Q5_0", "Q8_0")

#: ggml's types, and the mixture of llama.cpp in which a matrix has that type where nothing says otherwise.
TYPES = {
    "IQ2_XXS": "IQ2_XXS", "IQ2_XS": "IQ2_XS", "IQ2_S": "IQ2_M", "Q2_K": "Q2_K", "IQ3_XXS": "IQ3_XXS", "IQ3_S": "IQ3_S",
    "Q3_K": "Q3_K_S", "IQ4_XS": "IQ4_XS", "IQ4_NL": "IQ4_NL", "Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q4_K": "Q4_K_S",
    "Q5_0": "Q5_0", "Q5_1": "Q5_1", "Q5_K": "Q5_K_S", "Q6_K": "Q6_K", "Q8_0": "Q8_0",
}  # fmt: skip

#: The sum of planes for a whole number of bits per weight.
PLANES = {1: (1,), 2: (2,), 3: (3,), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 3), 8: (4, 4)}


def compare_projections(
    source: str, text: str, options: CompareOptions, directory: Path, progress: Listener | None = None
) -> Comparison:
    """As compare(), for the matrices of the layers alone; the bits are whole numbers, 1 to 8. Takes four bytes per
    weight in `directory` for every row."""
    steps = Progress(progress)
    for bits in options.bits:
        if bits not in PLANES:
            raise OptionError(f"--bits {bits:g} is not possible with --projections; give whole numbers from 1 to 8")
    if options.files:
        raise OptionError("--rbe names whole files; leave it out with --projections")
    version = quantiser.version()
    export.require_gguf()
    prepared = prepare(source, text, options, directory, steps)
    own = next((grid for grid in prepared.own.grids if grid in TYPES), None) if prepared.own is not None else None
    types = _types(prepared, options.types, own)
    full, columns = export_model(source, prepared, options, directory, steps)
    sizes: dict[Path, tuple[str, str, int]] = {}
    for done, name in enumerate(types):
        steps.tell(f"quantising {name}", done, len(types))
        quantised = directory / "quantised.gguf"
        quantiser.quantize(full, quantised, TYPES[name], columns, projections_only=True, threads=options.threads)
        copy = _copied(prepared, directory / f"{name}.rbe")
        sizes[copy.path] = (GGML, name, _decode_gguf(quantised, copy))
        quantised.unlink()
    for bits in options.bits:
        copy = _copied(prepared, directory / f"{bits:g}.rbe")
        sizes[copy.path] = (RBE, f"{bits:g}", _encode(source, prepared, copy, PLANES[int(bits)], options, steps))
    longest = prepared.longest
    with ExitStack() as stack:

        def opened(path: Path) -> Scorer:
            return stack.enter_context(rbe_scorer(path, longest, options.threads))

        families = [(opened(prepared.dense), {path: opened(path) for path in sizes})]
        references, found = measure(prepared, families, steps)
    weights = sum(t.rows * t.cols for t in prepared.packed.tensors if export.is_projection(t.name))
    rows = []
    for path, (engine, name, size) in sizes.items():
        own_grid = engine == GGML and _is_own(prepared, name)
        rows.append(Row(engine, name, size, 8 * size / weights, summary(found[path], longest), own_grid))
    rows.sort(key=lambda row: (row.engine, row.bytes))
    return Comparison(
        prepared.packed.name,
        weights,
        summary(references, longest).perplexity,
        None,
        sum(map(len, prepared.calibration)),
        len(prepared.windows),
        longest,
        version,
        tuple(rows),
        own,
    )


def _is_own(prepared: Prepared, name: str) -> bool:
    return prepared.own is not None and prepared.own.on_grid(name)


def _types(prepared: Prepared, types: tuple[str, ...] | None, own: str | None) -> tuple[str, ...]:
    """Those to measure, the source's own among them."""
    if types is None:
        narrow = any(tensor.cols % 256 for tensor in prepared.packed.tensors if export.is_projection(tensor.name))
        types = DEFAULT_NARROW_TYPES if narrow else DEFAULT_TYPES
    unknown = [name for name in types if name not in TYPES]
    if unknown:
        raise quantiser.unknown_type(unknown[0], TYPES)
    return types if own is None or own in types else (own, *types)


def _copied(prepared: Prepared, path: Path) -> DenseCopy:
    shutil.copyfile(prepared.dense, path)
    return DenseCopy(path, prepared.packed.areas)


def _decode_gguf(quantised: Path, copy: DenseCopy) -> int:
    """Writes the matrices of a GGUF file over those of the copy; gives their bytes in the GGUF file."""
    gguf = export.require_gguf()
    size = 0
    with Model.open(copy.path, verify=False) as model:
        names = {gguf_name(name): name for name in model.tensors if export.is_projection(name)}
        turned, head_dim = export.turns_neighbours(model), int(str(model.metadata["head_dim"]))
    for tensor in gguf.GGUFReader(quantised).tensors:
        name = names.pop(tensor.name, None)
        if name is None:
            continue
        size += int(tensor.n_bytes)
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if turned and name.endswith((".q", ".k")):
            values = export.pairs_apart(values, head_dim)
        copy.write(name, values)
    if names:
        raise PackError(f"llama.cpp keeps {min(names)} in another form; this architecture has no --projections")
    return size


def _encode(
    source: str,
    prepared: Prepared,
    copy: DenseCopy,
    planes: tuple[int, ...],
    options: CompareOptions,
    progress: Progress,
) -> int:
    """Encodes the matrices of the copy in place, each block on what the encoded ones before it give. Gives the bytes
    that their code takes."""
    opened = open_source(source, options.tokenizer)
    sha256 = opened.sha256()
    plans = [plan for plan in plan_model(opened).tensors if export.is_projection(plan.name)]
    size = 0
    label = "+".join(map(str, planes)) + " bits"
    with Calibration(copy, prepared.calibration, options.threads or None) as calibration:
        for done, plan in enumerate(plans):
            progress.tell(f"{label}: {plan.name}", done, len(plans))
            n_bytes = trellis.encoded_bytes(plan.rows, plan.cols, planes)
            if n_bytes is None:
                raise PackError(f"{plan.name}: {plan.rows} x {plan.cols} is too small for {label}; leave them out")
            size += n_bytes
            seed = storage.rotation_seed(sha256, plan.reads)
            factor = calibration.factor(plan.name, trellis.rotation_block(plan.cols), seed)
            encoded = trellis.encode(plan.read(), planes, seed, options.threads or None, None, factor)
            assert encoded.decoded is not None
            calibration.replace(plan.name, encoded.decoded)
    return size
