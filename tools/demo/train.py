"""Train the demo model on one CPU core.

    python -m tools.demo.train corpus.jsonl --work DIR --tokens 8.5e6

Writes DIR/pebble, a Hugging Face directory (Llama layout), at every checkpoint and at the end, and DIR/state.pt to
go on from. Needs torch, transformers and tokenizers; they are imported here alone, never by the package.
The same corpus, options and torch version on the same machine give the same model: one thread, fixed seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY = 2048
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END, TURN, STOP = 0, 1, 2
CONTEXT = 1024
USER_WEIGHT = 0.2  # guessing the user's words as well teaches which words belong together
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONFIG: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 512,  # a power of two, so that the rotation covers whole rows
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": END,
    "eos_token_id": STOP,
    "pad_token_id": END,
}


def read_dialogues(path: Path) -> list[list[dict[str, str]]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def make_tokenizer(dialogues: list[list[dict[str, str]]], path: Path) -> Tokenizer:
    """Byte-level BPE (GPT-2's pre-tokenizer) learnt from the dialogues and saved as path."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((message["content"] for dialogue in dialogues for message in dialogue), trainer)
    tokenizer.save(str(path))
    return tokenizer


def encode(dialogues: list[list[dict[str, str]]], tokenizer: Tokenizer) -> list[tuple[list[int], list[float]]]:
    """Per dialogue: the ids of the chat template, and for each id how much it weighs in the loss."""
    newline = tokenizer.encode("\n").ids
    heads = {role: [TURN, *tokenizer.encode(role + "\n").ids] for role in ("system", "user", "assistant")}
    contents = [message["content"] for dialogue in dialogues for message in dialogue]
    encoded = iter(tokenizer.encode_batch(contents))
    out = []
    for dialogue in dialogues:
        ids: list[int] = []
        learn: list[float] = []
        for message in dialogue:
            body = [*next(encoded).ids, STOP]
            own = message["role"] == "assistant"
            head = heads[message["role"]]
            ids += head + body + newline
            learn += [0.0] * len(head) + [1.0 if own else USER_WEIGHT] * len(body) + [0.0] * len(newline)
        out.append((ids[:CONTEXT], learn[:CONTEXT]))
    return out


def batches(
    items: list[tuple[list[int], list[float]]], size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of about size tokens; each holds dialogues of like length, one per row, padded at the right."""
    rng = random.Random(seed)
    while True:
        order = list(range(len(items)))
        rng.shuffle(order)
        made = []
        for start in range(0, len(order), 4096):
            chunk = sorted(order[start : start + 4096], key=lambda i: len(items[i][0]))
            row: list[int] = []
            for i in chunk:
                if row and (len(row) + 1) * len(items[i][0]) > size:
                    made.append(row)
                    row = []
                row.append(i)
            made.append(row)
        rng.shuffle(made)
        for row in made:
            width = max(len(items[i][0]) for i in row)
            ids = torch.full((len(row), width), END)
            learn = torch.zeros((len(row), width))
            for r, i in enumerate(row):
                n = len(items[i][0])
                ids[r, :n] = torch.tensor(items[i][0])
                learn[r, :n] = torch.tensor(items[i][1])
            yield ids, learn


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """The model and everything a packer needs beside it, in Hugging Face layout."""
    model.save_pretrained(folder, safe_serialization=True)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "bos_token": None,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "eos_token": SPECIALS[STOP],
        "pad_token": SPECIALS[END],
        "unk_token": None,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    (folder / "generation_config.json").write_text(
        json.dumps({"bos_token_id": END, "eos_token_id": STOP, "pad_token_id": END, "do_sample": False}, indent=1)
        + "\n"
    )


def keep(model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], path: Path) -> None:
    """What --resume starts from."""
    torch.save({"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}, path)


def rate_at(progress: float, step: int, peak: float) -> float:
    """Warm-up over 100 steps, level, then a linear way to zero over the last 45 % of the tokens."""
    return peak * min(1.0, (step + 1) / 100) * min(1.0, (1.0 - progress) / 0.45)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tokens", type=float, default=8.5e6, help="tokens to train on")
    parser.add_argument("--batch", type=int, default=3072, help="tokens in a batch")
    parser.add_argument("--rate", type=float, default=2.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast, where the processor has it")
    parser.add_argument(
        "--resume", action="store_true", help="start from WORK/state.pt and its tokenizer, with a schedule of its own"
    )
    parser.add_argument("--save-every", type=float, default=240, help="seconds between checkpoints")
    return parser.parse_args()


def prepare(args: argparse.Namespace) -> tuple[LlamaForCausalLM, list[torch.optim.Optimizer]]:
    """The model and its optimizers as training begins: random, or as WORK/state.pt holds them."""
    # Plain attention is 20 % faster here than the fused one, whose backward pass is slow on short rows.
    config = LlamaConfig(**{**CONFIG, "attn_implementation": "eager"})
    config.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
    model = LlamaForCausalLM(config)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    body = [p for p in model.model.layers.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if all(p is not q for q in body)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(body, lr=args.rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=args.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    if args.resume:
        state = torch.load(args.work / "state.pt")
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
    return model, optimizers


def train_step(
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    ids: torch.Tensor,
    learn: torch.Tensor,
    bf16: bool,
) -> float:
    """One step on a batch [rows][tokens]; gives the mean loss of the tokens whose weight is one."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        wanted = learn[:, 1:] > 0
        logits = model.lm_head(hidden[wanted])
    weight = learn[:, 1:][wanted]
    losses = cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
    ((losses * weight).sum() / weight.sum()).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return losses[weight == 1].mean().item()


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    hf = args.work / "pebble"
    hf.mkdir(parents=True, exist_ok=True)
    dialogues = read_dialogues(args.corpus)
    tokenizer = (
        Tokenizer.from_file(str(hf / "tokenizer.json"))
        if args.resume
        else make_tokenizer(dialogues, hf / "tokenizer.json")
    )
    items = encode(dialogues, tokenizer)
    print(
        f"{len(items)} dialogues, {sum(len(ids) for ids, _ in items)} tokens, vocabulary {tokenizer.get_vocab_size()}",
        flush=True,
    )
    model, optimizers = prepare(args)
    seen = step = 0
    total = 0.0
    begun = saved = time.time()
    for ids, learn in batches(items, args.batch, args.seed):
        progress = seen / args.tokens
        if progress >= 1.0:
            break
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(progress, step, args.rate)
        total += train_step(model, optimizers, ids, learn, args.bf16)
        step += 1
        seen += ids.numel()
        now = time.time()
        if step % 50 == 0:
            speed = seen / (now - begun)
            print(f"step {step}, {progress:.3f} done, loss {total / 50:.4f}, {speed:.0f} tokens/s", flush=True)
            total = 0.0
        if now - saved > args.save_every:
            saved = now
            save(model, hf)
            keep(model, optimizers, args.work / "state.pt")
    save(model, hf)
    keep(model, optimizers, args.work / "state.pt")
    print(f"done: {step} steps, {seen} tokens, {time.time() - begun:.0f} s on one core", flush=True)


if __name__ == "__main__":
    main()
