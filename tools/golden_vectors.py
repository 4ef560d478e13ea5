"""Writes tests/golden/logits: what transformers computes for the tiny models of tests/tiny_models.py.

    python tools/golden_vectors.py [NAME ...]      (needs the extra `parity`: torch, transformers)

NAME: a case of tests/parity/parity_cases.py, mostly the name of a tiny model; without names all are written anew. Run
it with the name of a tiny model that was added or changed: another torch changes the last bits of the others.

The tests that read these files need neither torch nor transformers. A file holds the tokens, the logits of 16 columns
after every token and all logits after the last one; the weights are made again from their seed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "parity")]

N_COLUMNS = 16


def cleared(directory: Path, names: list[str], known: Collection[str], what: str) -> bool:
    """Makes room for golden files in a directory: without names all that lie there go. False, and a line on stderr,
    where a name is not known. what: they are called."""
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no such {what}: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return False
    directory.mkdir(parents=True, exist_ok=True)
    if not names:
        for old in directory.glob("*.npz"):
            old.unlink()
    return True


def main(names: list[str]) -> int:
    import reference
    import tiny_models
    from parity_cases import CASES, GOLDEN, reference_model

    if not cleared(GOLDEN, names, CASES, "case"):
        return 2
    columns = np.arange(N_COLUMNS) * tiny_models.VOCABULARY // N_COLUMNS
    for name in names or CASES:
        case = CASES[name]
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
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
