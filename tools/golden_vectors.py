"""Writes tests/golden/logits: what transformers computes for the tiny models of tests/tiny_models.py.

    python tools/golden_vectors.py          (needs the extra `parity`: torch, transformers)

The tests that read them need neither. A file holds the tokens, the logits of 16 columns after every token and all
logits after the last one; the weights are made again from their seed. Run it when a tiny model is added or changed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "parity")]

N_COLUMNS = 16


def main() -> None:
    import reference
    import tiny_models
    from parity_cases import CASES, GOLDEN, reference_model

    GOLDEN.mkdir(parents=True, exist_ok=True)
    for old in GOLDEN.glob("*.npz"):
        old.unlink()
    columns = np.arange(N_COLUMNS) * tiny_models.VOCABULARY // N_COLUMNS
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as directory:
            model = reference.load(tiny_models.write(reference_model(case), Path(directory)))
        logits = reference.logits(model, case.tokens)
        np.savez(
            GOLDEN / f"{name}.npz",
            tokens=np.array(case.tokens, np.int32),
            columns=columns.astype(np.int32),
            logits=logits[:, columns],
            last=logits[-1],
        )
        print(f"{name}: {len(case.tokens)} tokens, standard deviation of the logits {logits.std():.3f}")


if __name__ == "__main__":
    main()
