"""The same GGUF file in llama.cpp and in this engine: how far their predictions are apart on a text.

    python tools/gguf_agreement.py model-Q4_K_M.gguf wiki.test.raw --tokens 400

The engine reads the dequantised weights in fp32. llama.cpp rounds activations to 8 bits where weights are quantised, so
only F32 files can agree to the last digits. Needs llama-cpp-python and the extra gguf.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np
import numpy.typing as npt

from rbe_edge import Model
from rbe_edge.packing.pack import PackOptions, pack

FloatArray = npt.NDArray[np.float32]


def engine(path: Path, text: str, n_tokens: int) -> tuple[list[int], FloatArray]:
    """The first tokens of a text and the logits after each, float[tokens][vocabulary]."""
    with tempfile.TemporaryDirectory() as directory:
        packed = pack(path, Path(directory) / "dense.rbe", PackOptions(bits=32)).path
        with Model.open(packed) as model:
            tokens = model.tokenize(text)[: min(n_tokens, model.info.context)]
            with model.session(kv="f32", context=len(tokens)) as session:
                logits = session.score(tokens, logits=True).logits
    assert logits is not None
    return tokens, logits


def reference(path: Path, text: str, n_tokens: int) -> tuple[list[int], FloatArray]:
    """The same by llama.cpp."""
    model = llama_cpp.Llama(
        str(path), n_ctx=n_tokens, n_batch=n_tokens, logits_all=True, verbose=False, type_k=0, type_v=0
    )
    tokens = model.tokenize(text.encode(), add_bos=True)[:n_tokens]
    model.eval(tokens)
    logits = np.array(model.scores[: len(tokens)])
    model.close()
    return tokens, logits


def log_softmax(logits: FloatArray) -> npt.NDArray[np.float64]:
    wide = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(axis=1, keepdims=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--tokens", type=int, default=400)
    arguments = parser.parse_args()
    text = arguments.text.read_text(encoding="utf-8")[: 16 * arguments.tokens]
    tokens, ours = engine(arguments.file, text, arguments.tokens)
    their_tokens, theirs = reference(arguments.file, text, len(tokens))
    if tokens != their_tokens:
        raise SystemExit(f"{arguments.file}: the tokens differ")
    p, q = log_softmax(theirs), log_softmax(ours)
    divergence = float((np.exp(p) * (p - q)).sum(axis=1).mean())
    agreement = float((p.argmax(axis=1) == q.argmax(axis=1)).mean())
    print(
        f"{arguments.file.name}: {len(tokens)} tokens, KL(llama.cpp || engine) {divergence:.2e}, "
        f"same best token {agreement:.1%}, largest difference of a logit {np.abs(ours - theirs).max():.1e}"
    )


if __name__ == "__main__":
    main()
