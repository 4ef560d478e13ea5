"""Any value under any key of what a model consists of gives a model or one line of error: configurations, tokenizers,
headers of safetensors and GGUF files."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf_models
import pytest
import tiny_models
from tiny_models import MODELS

from rbe_edge import Model
from rbe_edge.cli.main import main
from rbe_edge.errors import PackError, TokenizerError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.tokenizers import read_tokenizer, write_blob
from rbe_edge.sources.tokenizers.of_source import source_tokenizer


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 2**63, 10**400, 1e308, 1e-320, float("inf"), float("nan"), "", "12", "x" * 20_000,
    "\ud800", "\x1b[31m\nb", [], {}, [10**400], {"a": {"b": 1}}, nested(400),
)  # fmt: skip
# What is no JSON, or none that Python reads.
TEXTS = (
    b"", b"{", b"[1]", b"null", b"\xff\xfe{}", b"[" * 5000, b'{"a":' * 3000, b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": 1e400}', b'"\\ud800"', b"\xef\xbb\xbf{}",
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a document has values; of long parts the first and the last ones."""
    yield at
    if isinstance(value, (dict, list)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys if len(keys) <= 40 else [keys[0], keys[-1]]:
            yield from places(value[key], (*at, key))


def changed(document: Any, at: Sequence[Any], value: Any) -> Any:
    if not at:
        return value
    document = copy.deepcopy(document)
    part = document
    for key in at[:-1]:
        part = part[key]
    part[at[-1]] = value
    return document


def attempt(source: Path, read: Callable[[Path], tuple[str, ...]]) -> bool:
    """Whether it is read. What is refused is said on one line of bounded length, and no warning is shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            notes = read(source)
    except (PackError, TokenizerError) as error:
        assert "\n" not in str(error) and len(str(error).replace(str(source), "")) < 800  # it names all families
        return False
    assert all("\n" not in note and len(note) < 300 for note in notes)
    return True


def look(source: Path) -> tuple[str, ...]:
    """All that packing reads of a source but the weights."""
    opened = open_source(source)
    plan = plan_model(opened)
    tokenizer = source_tokenizer(opened, plan.metadata["vocabulary"])
    write_blob(tokenizer)
    return plan.notes + tokenizer.notes


def tokens(directory: Path) -> tuple[str, ...]:
    """The tokenizer of a directory alone, which takes less time."""
    tokenizer = read_tokenizer(directory, 272)
    write_blob(tokenizer)
    return tokenizer.notes


def whole(source: Path) -> tuple[str, ...]:
    """The same, and the file is written and opened: what the packer takes, the engine takes too."""
    report = pack(source, source.parent / "out.rbe", PackOptions(bits=16, force=True))
    Model.open(report.path).close()
    return report.notes


def counts(path: Path, source: Path, read: Callable[[Path], tuple[str, ...]]) -> list[int]:
    """Changes a JSON file in every way; how many were refused, and how many read."""
    document = json.loads(path.read_text(encoding="utf-8"))
    found = [0, 0]
    for at in places(document):
        for value in VALUES:
            path.write_text(json.dumps(changed(document, at, value)), encoding="utf-8")
            found[attempt(source, read)] += 1
    for text in TEXTS:
        path.write_bytes(text)
        found[attempt(source, read)] += 1
    path.write_text(json.dumps(document), encoding="utf-8")
    assert attempt(source, read)
    return found


LLAMA_LIKE = (
    "smollm3", "ministral3", "granite", "exaone4_window", "hunyuan_v1_dense", "stablelm_12b", "minicpm", "lfm2_moe",
    "spark", "lfm2", "lfm2_new", "qwen3_5", "granite4", "qwen3_next", "granite4_moe",
)  # fmt: skip
OTHERS = ("llama_yarn_new", "llama_llama3", "phi3_longrope", "gemma3_new", "gemma4", "gpt2")


@pytest.mark.parametrize("name", [*OTHERS, *LLAMA_LIKE])
def test_configurations(tmp_path: Path, name: str) -> None:
    source = tiny_models.write(MODELS[name], tmp_path / "m")
    refused, read = counts(
        source / "config.json", source, whole if name in ("llama_yarn_new", "ministral3", "granite") else look
    )
    assert refused > 100 and read > 100


def test_files_beside_the_tokenizer(tmp_path: Path) -> None:
    source = tiny_models.write(MODELS["llama"], tmp_path / "m")
    added = {"271": {"content": "<|pad|>", "special": True, "lstrip": False}}
    files: dict[str, Any] = {
        "generation_config": {"eos_token_id": [268, 270], "bos_token_id": 268, "pad_token_id": 271},
        "special_tokens_map": {"eos_token": {"content": "<|im_end|>"}, "additional_special_tokens": ["<|im_start|>"]},
        "tokenizer_config": {
            "bos_token": "<|endoftext|>", "add_bos_token": True, "tokenizer_class": "GPT2Tokenizer",
            "chat_template": [{"name": "default", "template": "x"}], "added_tokens_decoder": added,
        },
        "added_tokens": {"<|pad|>": 271},
    }  # fmt: skip
    document = tiny_models.tokenizer_json()["model"]
    for name, content in files.items():
        (source / f"{name}.json").write_text(json.dumps(content))
    for kind in ("tokenizer.json", "vocab.json"):
        if kind == "vocab.json":
            (source / "tokenizer.json").unlink()
            (source / "vocab.json").write_text(json.dumps(document["vocab"]))
            (source / "merges.txt").write_text("\n".join(document["merges"]), encoding="utf-8")
        for name in files:
            if name == "added_tokens":  # the older file counts where the newer says nothing
                (source / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
            counts(source / f"{name}.json", source, whole if name == "tokenizer_config" else tokens)


def test_tokenizers(tmp_path: Path) -> None:
    source = tiny_models.write(MODELS["llama"], tmp_path / "m")
    document = tiny_models.tokenizer_json()
    text = {"SpecialToken": {"id": "S", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    special = {"S": {"id": "S", "ids": [268], "tokens": ["S"]}}
    document["post_processor"] = {"type": "TemplateProcessing", "single": [*text], "special_tokens": special}
    document["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}
    (source / "tokenizer.json").write_text(json.dumps(document))
    refused, read = counts(source / "tokenizer.json", source, tokens)
    assert refused > 300 and read > 200


def test_sequences_in_sequences(tmp_path: Path) -> None:
    source = tiny_models.write(MODELS["llama"], tmp_path / "m")
    for key, parts in (
        ("normalizer", "normalizers"),
        ("pre_tokenizer", "pretokenizers"),
        ("post_processor", "processors"),
    ):
        text = f'{{"type": "Sequence", "{parts}": [' * 450 + "]}" * 450
        document = tiny_models.tokenizer_json() | {key: None}
        (source / "tokenizer.json").write_text(json.dumps(document).replace(f'"{key}": null', f'"{key}": {text}'))
        attempt(source, look)


def test_headers_of_safetensors(tmp_path: Path) -> None:
    source = tiny_models.write(MODELS["llama"], tmp_path / "m")
    path = source / "model.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = "model.norm.weight"
    part = {key: header[key] for key in ("__metadata__", name)}
    again = json.dumps({name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}})[1:]
    texts = [f"{json.dumps(header)[:-1]},{again}", "[" * 100_000, json.dumps(header).replace(name, "a\\u001b[31m\\nb")]
    texts += [json.dumps(header | changed(part, at, value)) for at in places(part) if at for value in VALUES]
    for text in texts:
        encoded = text.encode()
        path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data[8 + size :])
        attempt(source, look)


@pytest.mark.parametrize(
    "name",
    [
        "llama_yarn", "gemma3_new", "ministral3", "granite", "exaone4_window", "minicpm", "qwen3_moe_normalized",
        "qwen2_moe", "lfm2", "qwen3_5", "granite4", "qwen3_5_moe", "granite4_moe",
    ],
)  # fmt: skip
def test_metadata_of_gguf_files(tmp_path: Path, name: str) -> None:
    model, path = MODELS[name], tmp_path / "model.gguf"
    keys = [f"{gguf_models.architecture(model)}.{key}" for key in gguf_models.metadata(model)]
    values = (True, -1, 2**32 - 1, 3e38, float("nan"), "x" * 20_000, "\x1b[31m\n", [1], ["a", "b"])
    for key in (*keys, *gguf_models.vocabulary(0), "general.alignment", "split.count"):
        for value in values:
            gguf_models.write_gguf(model, path, changes={key: value})
            attempt(path, look)


def test_a_number_beyond_the_largest_float(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tiny_models.write(MODELS["llama"], tmp_path / "m")
    (source / "config.json").write_text(json.dumps({**MODELS["llama"].config, "rope_theta": 10**400}))
    assert main(["pack", str(source), "-o", str(tmp_path / "out.rbe")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rbe: config.json: rope_theta is 1000") and said.count("\n") == 1 and len(said) < 200
