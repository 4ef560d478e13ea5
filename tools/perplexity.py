"""Perplexity of a packed model on a text, and of the model it was made from through transformers, on the same windows.

    python tools/perplexity.py model.rbe text.txt
    python tools/perplexity.py model.rbe text.txt --reference ./model      (needs the extra `parity`)

Prints one JSON object. --write keeps the reference's numbers (tests/golden/perplexity).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbe_edge import Model
from rbe_edge.evaluation.perplexity import DEFAULT_WINDOW, Perplexity, perplexity
from rbe_edge.runtime.text_windows import cut


def reference_perplexity(directory: Path, tokens: Sequence[int], window: int, n_windows: int | None) -> Perplexity:
    """The same measure through transformers: fp32, eager attention."""
    import torch
    import transformers

    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    nats = []
    windows = cut(tokens, window, n_windows)
    for done, part in enumerate(windows):
        ids = torch.tensor([list(part)])
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        nats.append(float(losses.double().sum()))
        print(f"\rreference: window {done + 1} of {len(windows)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return Perplexity(tuple(nats), sum(len(part) - 1 for part in windows), window)


def main() -> None:
    parser = argparse.ArgumentParser(description="Perplexity of a .rbe file on a text.")
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--reference", type=Path, help="Hugging Face directory of the same model, for transformers")
    parser.add_argument("--window", type=int, default=DEFAULT_WINDOW, help="tokens (default %(default)s)")
    parser.add_argument("--windows", type=int, help="so many windows from the beginning (default: all)")
    parser.add_argument("--kv", choices=["f16", "f32"], default="f16")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the reference's windows to this file")
    options = parser.parse_args()

    text = options.text.read_text(encoding="utf-8")
    with Model.open(options.model) as model:
        tokens = model.tokenize(text, special=False)
        ours = perplexity(
            model, tokens, window=options.window, n_windows=options.windows, kv=options.kv, threads=options.threads,
            progress=lambda done, total: print(f"\rrbe: window {done} of {total}", end="", file=sys.stderr),
        )  # fmt: skip
        print(file=sys.stderr)
    result: dict[str, Any] = {
        "model": options.model.name, "text": options.text.name, "tokens": len(tokens), "window": ours.window,
        "windows": len(ours.nats), "scored": ours.n_scored, "perplexity": ours.perplexity,
        "nats_per_token": ours.nats_per_token,
    }  # fmt: skip
    if options.reference:
        theirs = reference_perplexity(options.reference, tokens, options.window, options.windows)
        result["reference_perplexity"] = theirs.perplexity
        result["relative_difference"] = ours.perplexity / theirs.perplexity - 1
        worst = max(abs(a - b) for a, b in zip(ours.nats, theirs.nats, strict=True))
        result["largest_difference_of_a_window_in_nats"] = worst
        if options.write:
            digest = hashlib.sha256(np.array(tokens, "<u4").tobytes()).hexdigest()
            golden = {
                "text": options.text.name, "window": theirs.window, "scored": theirs.n_scored, "tokens_sha256": digest,
                "perplexity": theirs.perplexity, "nats": [round(value, 4) for value in theirs.nats],
            }  # fmt: skip
            options.write.parent.mkdir(parents=True, exist_ok=True)
            options.write.write_text(json.dumps(golden) + "\n")
    assert math.isfinite(ours.perplexity)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
