"""What the types of the KV cache cost: mean KL divergence, in nats per token, to the same file with an fp32 cache.

python tools/kv_divergence.py FILE.rbe TEXT [--windows N] [--window TOKENS]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rbe_edge import Model
from rbe_edge.evaluation import divergence
from rbe_edge.runtime.text_windows import text_windows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--window", type=int, default=1024)
    arguments = parser.parse_args()
    with Model.open(arguments.file) as model:
        window = min(arguments.window, model.info.context)
        windows = text_windows(model, arguments.text.read_text(), window, arguments.windows)
        for kv in ("f16", "q8", "q8q4"):
            with model.session(context=window, kv="f32") as exact, model.session(context=window, kv=kv) as session:
                sums = [divergence.compare_window(exact, session, part) for part in windows]
                result = divergence.summary(sums, window)
                size = session.info.kv_bytes / exact.info.kv_bytes
            agreement = f"top-1 {result.top1_agreement:.4f}, {size:.3f} of fp32's memory"
            print(f"{kv:5} KL {result.kl:.3g} +- {result.kl_error:.1g}, {agreement}")


if __name__ == "__main__":
    main()
