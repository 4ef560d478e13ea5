"""Put the held-out prompts to the demo model and write what it says.

    python -m tools.demo.evaluate rbe_edge/demo/demo.rbe --out tools/demo/transcripts
    python -m tools.demo.evaluate DIR/pebble                       # before packing, through transformers

Decoding is greedy. --out writes OUT.json and OUT.md. Ends with 1 where fewer than 50 prompts pass.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.demo.checks import Prompt, held_out

REPOSITORY = Path(__file__).resolve().parents[2]
NEEDED = 50
MAX_TOKENS = 220  # the longest story of the training dialogues is about 190 tokens
# Conversations for the reader; they are not scored.
CONVERSATIONS = (
    (
        "Hello!",
        "My name is Marlene.",
        "What are you?",
        "How many parameters do you have?",
        "Do you remember my name?",
        "Thank you, bye!",
    ),
    (
        "How do I pack a model?",
        "And how do I chat with it?",
        "What happens if I use 2 bits?",
        "Why?",
        "Is it faster, though?",
    ),
    ("My phone gets hot when I run a model.", "Why is that bad?", "Should I charge it now?", "Okay, thanks!"),
    (
        "Tell me a story about a fox.",
        "That was lovely! Now one about a robot.",
        "Do you know a joke, too?",
        "Another one!",
    ),
    (
        "How are you?",
        "I'm a bit tired.",
        "What is the capital of France?",
        "Why don't you know that?",
        "What can you do, then?",
    ),
    ("What is RBE?", "Tell me more.", "What does the trellis do?", "What is in a .rbe file?", "Does it work offline?"),
)

Message = dict[str, str]
Chat = Callable[[Sequence[Message]], str]


def open_packed(path: Path) -> Chat:
    """The packed model through rbe_edge."""
    if "RBE_LIBRARY" not in os.environ:
        # `python -m` puts the repository first on the path, where the sources would hide the installed package.
        sys.path.sort(key=lambda entry: Path(entry).resolve() == REPOSITORY)
    from rbe_edge import Model

    model: Any = Model.open(path)
    return lambda messages: model.chat(list(messages), max_tokens=MAX_TOKENS, temperature=0).strip()


def open_folder(path: Path) -> Chat:
    """The model before packing, through transformers (needs torch)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    model: Any = AutoModelForCausalLM.from_pretrained(path)

    def chat(messages: Sequence[Message]) -> str:
        ids = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=MAX_TOKENS, do_sample=False)
        return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()

    return chat


def converse(chat: Chat, turns: Sequence[str]) -> list[str]:
    """The model's answer to each user turn, each seeing all before it."""
    messages: list[Message] = []
    answers = []
    for turn in turns:
        messages.append({"role": "user", "content": turn})
        answers.append(chat(messages))
        messages.append({"role": "assistant", "content": answers[-1]})
    return answers


def score(chat: Chat, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    results = []
    for prompt in prompts:
        answers = converse(chat, prompt.turns)
        results.append(
            {
                "id": prompt.id,
                "topic": prompt.topic,
                "turns": list(prompt.turns),
                "answers": answers,
                "passed": prompt.check.passes(answers),
            }
        )
    return results


def as_markdown(results: Sequence[dict[str, Any]], conversations: Sequence[dict[str, Any]], source: str) -> str:
    passed = sum(result["passed"] for result in results)
    lines = [
        "# What the demo model says",
        "",
        f"`{source}`, greedy decoding, written by `python -m tools.demo.evaluate`.",
        "",
        f"**{passed} of {len(results)} held-out prompts passed.** The checks are in `held_out.json`.",
    ]

    def spoken(turns: Sequence[str], answers: Sequence[str]) -> None:
        for turn, answer in zip(turns, answers, strict=True):
            lines.extend(["", f"> {turn}", "", answer])

    lines += ["", "## Held-out prompts"]
    for result in results:
        lines += ["", f"### {result['id']} ({result['topic']}): {'passed' if result['passed'] else 'FAILED'}"]
        spoken(result["turns"], result["answers"])
    lines += [
        "",
        "## Conversations",
        "",
        "Not scored, and not held out: their words may be close to the training dialogues.",
    ]
    for number, conversation in enumerate(conversations, 1):
        lines += ["", f"### Conversation {number}"]
        spoken(conversation["turns"], conversation["answers"])
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a .rbe file, or a Hugging Face directory")
    parser.add_argument("--out", type=Path, help="write OUT.json and OUT.md")
    args = parser.parse_args()
    chat = open_folder(args.model) if args.model.is_dir() else open_packed(args.model)
    results = score(chat, held_out())
    passed = sum(result["passed"] for result in results)
    for result in results:
        if not result["passed"]:
            print(f"failed {result['id']}: {' / '.join(result['turns'])}\n    {result['answers'][-1]}")
    print(f"{passed} of {len(results)} passed")
    if args.out:
        conversations = [{"turns": list(turns), "answers": converse(chat, turns)} for turns in CONVERSATIONS]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        payload = {
            "model": args.model.name,
            "passed": passed,
            "of": len(results),
            "results": results,
            "conversations": conversations,
        }
        args.out.with_suffix(".json").write_text(
            json.dumps(payload, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        args.out.with_suffix(".md").write_text(as_markdown(results, conversations, args.model.name), encoding="utf-8")
    return 0 if passed >= NEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
