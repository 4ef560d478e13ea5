"""Published tokenizers: our tokens beside the reference's on random texts, one line of a table for each.

    python tools/published_tokenizers.py --clones CLONES --files FILES

tools/published_tokenizers.json lists them: where a copy is published, and what is expected, `agrees` or `refused`. The
files are taken from CLONES/OWNER/NAME, a git repository, at the listed commit. Where there is none, any file under
FILES with the listed SHA-256 serves. Entries without files are skipped and counted. The program ends with 1 where
something else comes out than is expected. The texts are the same in every run (--seed).

| files | reference |
|---|---|
| tokenizer.json, or vocab.json and merges.txt | AutoTokenizer of transformers; special tokens are found |
| tokenizer.model | sentencepiece; special tokens are not found |
| vocabulary.gguf, with its .inp and .out | llama.cpp's own test vectors |
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbe_edge.errors import TokenizerError
from rbe_edge.sources.tokenizers import Tokenizer, TokenType, read_gguf, read_sentencepiece, read_tokenizer, write_blob

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/tokenizer"))
from native_tokenizer import NativeTokenizer

LIST = Path(__file__).with_suffix(".json")
SEPARATOR = "\n__ggml_vocab_test__\n"
PARTS = [
    *("  |   |\t|\n|\n\n|\r\n| \n|\u00a0|\u3000|\u2581|\u200b".split("|")),
    *("Hello| world|the| the|ing| 2024|123|4567| 7|'s|'LL|n't|.|...|,|!?|-->|(x)|{}|;//|$1|@|#".split("|")),
    *(
        "\u0418\u0432\u0430\u043d| caf\u00e9|e\u0301|\u00df|\u4f60\u597d|\u4e16\u754c|\u0e01\u0e33|\u0939\u093f".split(
            "|"
        )
    ),
    *("\u2167|\u00bd|\u00b2|\u0661|\U0001f600|\U0001f468\u200d\U0001f469|\u2014|\u00ab|def f(x):|<br>|</p>".split("|")),
]


@dataclass(frozen=True)
class Outcome:
    """What came of a tokenizer: `agrees`, `differs`, `refused` or `missing`; of how many texts; what to show."""

    what: str
    texts: int = 0
    detail: str = ""


def content(
    entry: Mapping[str, Any], path: str, digest: str, clones: Path | None, known: Mapping[str, Path]
) -> bytes | None:
    """A file of an entry, or None. SystemExit where a clone has another file there."""
    owner_and_name = clones / entry["repository"] if clones is not None else None
    if owner_and_name is not None and owner_and_name.exists() and entry["commit"]:
        shown = subprocess.run(
            ["git", "-C", str(owner_and_name), "show", f"{entry['commit']}:{path}"], capture_output=True, check=False
        )
        if shown.returncode == 0:
            found = hashlib.sha256(shown.stdout).hexdigest()
            if found != digest:
                raise SystemExit(f"{entry['repository']} {path}: SHA-256 {found}, listed is {digest}")
            return shown.stdout
    return known[digest].read_bytes() if digest in known else None


def digests(directory: Path | None) -> dict[str, Path]:
    """The files of a directory by their SHA-256; those of more than 32 MiB are no tokenizers."""
    paths = [] if directory is None else [path for path in directory.rglob("*") if path.is_file()]
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in paths if path.stat().st_size <= 1 << 25}


def random_texts(count: int, seed: int, names: Sequence[str], last: int) -> list[str]:
    """Texts of words, white space, names of special tokens, and any characters up to `last`.

    None is newer than Unicode 3.2, or of another category there: package tokenizers normalizes by old tables.
    """
    source = random.Random(seed)
    texts = []
    while len(texts) < count:
        parts = []
        for _ in range(source.randrange(1, 14)):
            kind = source.random()
            if names and kind < 0.2:
                parts.append(source.choice(names))
            elif kind < 0.85:
                parts.append(source.choice(PARTS))
            else:
                parts.append(chr(source.randrange(source.choice([0x80, 0x300, 0x3000, 0x10000, last]))))
        text = "".join(parts)
        if all(map(is_old, text)):
            texts.append(text)
    return texts


def is_old(character: str) -> bool:
    """Whether all versions of Unicode from 3.2 on have a character, in one category."""
    category = unicodedata.ucd_3_2_0.category(character)
    return category not in ("Cn", "Cs") and category == unicodedata.category(character)


def by_transformers(directory: Path) -> Callable[[str], list[int]]:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    reference = AutoTokenizer.from_pretrained(str(directory))
    return lambda text: list(reference(text, add_special_tokens=False).input_ids)


def by_sentencepiece(path: Path) -> Callable[[str], list[int]]:
    import sentencepiece

    reference = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return lambda text: list(reference.encode(text))


def vectors(path: Path) -> tuple[list[str], list[list[int]]]:
    """llama.cpp's texts and their tokens."""
    texts = Path(f"{path}.inp").read_bytes().decode("utf-8").split(SEPARATOR)
    expected = [[int(token) for token in line.split()] for line in Path(f"{path}.out").read_text().splitlines()]
    return texts[: len(expected)], expected


def special_names(tokenizer: Tokenizer) -> list[str]:
    kinds = (TokenType.CONTROL, TokenType.USER_DEFINED)
    names = [
        token.decode("utf-8", "replace")
        for token, kind in zip(tokenizer.tokens, tokenizer.types, strict=True)
        if kind in kinds
    ]
    return names[:40]


def compare(directory: Path, entry: Mapping[str, Any], count: int, seed: int) -> Outcome:
    """One tokenizer, whose files lie in a directory."""
    special = False
    last = int(entry.get("last", 0x110000))
    try:
        if (directory / "vocabulary.gguf").is_file():
            tokenizer = read_gguf(directory / "vocabulary.gguf")
            texts, expected = vectors(directory / "vocabulary.gguf")
        elif (directory / "tokenizer.model").is_file():
            tokenizer = read_sentencepiece(directory / "tokenizer.model")
            texts = random_texts(count, seed, [], last)
            encode = by_sentencepiece(directory / "tokenizer.model")
            expected = [encode(text) for text in texts]
        else:
            special = True
            tokenizer = read_tokenizer(directory)
            texts = random_texts(count, seed, special_names(tokenizer), last)
            encode = by_transformers(directory)
            expected = [encode(text) for text in texts]
    except TokenizerError as error:
        return Outcome("refused", detail=str(error).removeprefix(str(directory)).lstrip("/")[:110])
    with NativeTokenizer(write_blob(tokenizer)) as native:
        found = [native.encode(text, parse_special=special) for text in texts]
    wrong = [i for i, tokens in enumerate(expected) if tokens != found[i]]
    if wrong:
        first = min(wrong, key=lambda i: len(texts[i]))
        shown = f"{len(wrong)} texts, such as {texts[first]!a}: {expected[first]}, here {found[first]}"
        return Outcome("differs", len(texts), shown)
    return Outcome("agrees", len(texts))


def outcome(entry: Mapping[str, Any], clones: Path | None, known: Mapping[str, Path], count: int, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        for name, (path, digest) in entry["files"].items():
            data = content(entry, path, digest, clones, known)
            if data is None:
                return Outcome("missing", detail=path)
            (directory / name).write_bytes(data)
        if "model_type" in entry:
            (directory / "config.json").write_text(json.dumps({"model_type": entry["model_type"]}), encoding="utf-8")
        return compare(directory, entry, count, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", type=Path, help="git repositories, as OWNER/NAME below it")
    parser.add_argument("--files", type=Path, help="files under any names")
    parser.add_argument("--texts", type=int, default=1000, help="random texts for each tokenizer")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    known = digests(arguments.files)
    entries = json.loads(LIST.read_text(encoding="utf-8"))
    unexpected = 0
    counts: dict[str, int] = {}
    print("| tokenizer | copy in | texts | result |\n|---|---|---|---|")
    for entry in entries:
        result = outcome(entry, arguments.clones, known, arguments.texts, arguments.seed)
        counts[result.what] = counts.get(result.what, 0) + 1
        unexpected += result.what not in (entry["expected"], "missing")
        detail = f" ({result.detail})" if result.detail else ""
        print(f"| {entry['name']} | {entry['repository']} | {result.texts or ''} | {result.what}{detail} |", flush=True)
    print("\n" + ", ".join(f"{number} {what}" for what, number in sorted(counts.items())), file=sys.stderr)
    if counts.keys() <= {"missing"}:
        print("no file was found; see --help", file=sys.stderr)
        return 1
    return int(unexpected > 0)


if __name__ == "__main__":
    raise SystemExit(main())
