"""Writes tests/golden/encoders: what transformers computes for the tiny models of tests/tiny_encoders.py.

    python tools/golden_encoders.py [NAME ...]      (needs the extra `parity`: torch, transformers)

Without names all are written anew. The tests that read these files need neither torch nor transformers. A file holds
the tokens, 16 columns of the hidden states of every token, logits of masked places, and pooled vectors or scores; the
weights are made again from their seed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "parity")]


def main(names: list[str]) -> int:
    import encoder_reference
    import tiny_encoders
    from encoder_cases import GOLDEN, texts
    from golden_vectors import N_COLUMNS, cleared

    encoders = tiny_encoders.ENCODERS
    if not cleared(GOLDEN, names, encoders, "encoder"):
        return 2
    columns = np.arange(N_COLUMNS) * tiny_encoders.WIDTH // N_COLUMNS
    for name in names or encoders:
        encoder = encoders[name]
        with tempfile.TemporaryDirectory() as directory:
            found = encoder_reference.outputs(encoder, tiny_encoders.write(encoder, Path(directory)))
        tokens = np.array([token for text in texts(encoder) for token in text.tokens], np.int32)
        np.savez_compressed(
            GOLDEN / f"{name}.npz",
            tokens=tokens,
            columns=columns.astype(np.int32),
            hidden=found.hidden[:, columns],
            words=found.words,
            pooled=found.pooled,
        )
        print(f"{name}: {len(tokens)} tokens, standard deviation of the hidden states {found.hidden.std():.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
