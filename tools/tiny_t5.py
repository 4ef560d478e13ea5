"""Trains a tiny T5 that reads a word and writes it backwards, packs it, and counts what is right: a proof, on a task
with one right answer, that an encoder-decoder works from its training to its packed file (docs/encoder_decoders.md).
Needs torch and transformers. Some minutes on two cores.

    python tools/tiny_t5.py out/            trains into out/t5, packs at several sizes, prints a table
    python tools/tiny_t5.py out/ --steps 40 for a look
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import tiny_encoder_decoders  # noqa: E402

from rbe_edge import Model  # noqa: E402
from rbe_edge.packing.pack import PackOptions, pack  # noqa: E402
from rbe_edge.runtime.options import GenerationOptions  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LEAST, MOST = 2, 5
BATCH = 48
WIDTH, LAYERS, HEADS, FEED_FORWARD = 64, 2, 4, 192
RATE = 4e-3
N_TESTED = 200
ENOUGH = 0.002
BITS = (32.0, 6.0, 4.0, 3.0)


def word(source: random.Random) -> str:
    return "".join(source.choice(LETTERS) for _ in range(source.randint(LEAST, MOST)))


def byte_ids(text: str) -> list[int]:
    """As ByT5's: the bytes behind three special tokens, and the end."""
    return [byte + 3 for byte in text.encode()] + [tiny_encoder_decoders.END]


def _config() -> Any:
    import transformers

    return transformers.T5Config(
        vocab_size=384, d_model=WIDTH, d_kv=WIDTH // HEADS, d_ff=FEED_FORWARD, num_layers=LAYERS, num_heads=HEADS,
        num_decoder_layers=LAYERS, feed_forward_proj="relu", tie_word_embeddings=True, dropout_rate=0.0,
        decoder_start_token_id=0, architectures=["T5ForConditionalGeneration"],
    )  # fmt: skip


def train(directory: Path, steps: int) -> None:
    """Words are drawn anew for each step; those of the test are left out."""
    import torch
    import transformers

    torch.manual_seed(1)
    source, tested = random.Random(1), set(tested_words())
    model = transformers.T5ForConditionalGeneration(_config())
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    began = time.monotonic()
    for step in range(steps):
        words = [one for one in (word(source) for _ in range(BATCH)) if one not in tested]
        texts, answers = [byte_ids(one) for one in words], [byte_ids(one[::-1]) for one in words]
        longest = MOST + 1
        read = torch.tensor([ids + [0] * (longest - len(ids)) for ids in texts])
        wanted = torch.tensor([ids + [-100] * (longest - len(ids)) for ids in answers])
        loss = model(input_ids=read, attention_mask=(read != 0).long(), labels=wanted).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        learned = step > steps // 2 and loss.item() < ENOUGH
        if step % 100 == 0 or learned or step == steps - 1:
            print(f"step {step}: loss {loss.item():.4f}, {time.monotonic() - began:.0f} s", flush=True)
        if learned:
            break
    model.save_pretrained(directory)
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer", "extra_ids": 125}')


def tested_words() -> list[str]:
    source = random.Random(2)
    return [word(source) for _ in range(N_TESTED)]


def right(path: Path) -> int:
    """Of the words of the test, how many a packed file writes backwards."""
    count = 0
    with Model.open(path) as model, model.session(context=32) as session:
        for one in tested_words():
            count += "".join(session.generate(one, GenerationOptions(max_tokens=16))) == one[::-1]
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "t5" / "config.json").exists():
        train(out / "t5", arguments.steps)
    pairs = out / "pairs.tsv"
    source = random.Random(3)
    words = [word(source) for _ in range(400)]
    pairs.write_text("".join(f"{one}\t{one[::-1]}\n" for one in words))
    print("| bits per weight | file, KiB | KL, nats per token | right of 200 |\n|---|---|---|---|")
    for bits in BITS:
        options = PackOptions(bits=bits, force=True, calibrate=pairs)
        report = pack(out / "t5", out / f"t5-{bits:g}.rbe", options)
        kl = f"{report.held_out.kl:.4f}" if report.held_out is not None and hasattr(report.held_out, "kl") else ""
        size = report.file_bytes / 1024
        print(f"| {report.bits_per_weight:.2f} | {size:.0f} | {kl} | {right(report.path)} |", flush=True)


if __name__ == "__main__":
    main()
