"""GGUF files that are damaged, hostile or unsupported: one line of PackError or TokenizerError, soon, in little
memory."""

from __future__ import annotations

import dataclasses
import os
import random
import resource
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_models import gguf_tensors, write_gguf
from tiny_models import MODELS

from rbe_edge.errors import PackError, RbeError, TokenizerError
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.sources.mapping import plan_model
from rbe_edge.sources.open import open_source
from rbe_edge.sources.tokenizers.blob import write_blob
from rbe_edge.sources.tokenizers.of_source import source_tokenizer

pytest.importorskip("gguf")

LLAMA = MODELS["llama"]


def everything(path: Path) -> None:
    """All that packing reads of a source."""
    source = open_source(path)
    plan = plan_model(source)
    write_blob(source_tokenizer(source, plan.metadata["vocabulary"]))
    for tensor in plan.tensors:
        tensor.read()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small model with quantised matrices."""
    return write_gguf(LLAMA, tmp_path_factory.mktemp("gguf") / "model.gguf", "Q4_0").read_bytes()


def header_bytes(data: bytes) -> int:
    """Where the weights begin."""
    return len(data) - sum(
        -(-((values.size // 32 * 18) if values.ndim > 1 else values.nbytes) // 32) * 32
        for values in gguf_tensors(LLAMA).values()
    )


def test_truncated(tmp_path: Path, file: bytes) -> None:
    start = header_bytes(file)
    places = {*range(0, 64), *range(64, start, 211), *range(start - 40, start + 40), *range(start, len(file), 9973)}
    for keep in sorted(places | {len(file) - 1}):
        path = tmp_path / "cut.gguf"
        path.write_bytes(file[:keep])
        with pytest.raises(PackError) as found:
            everything(path)
        assert "\n" not in str(found.value) and len(str(found.value)) < 400


NUMBERS = [0, 1, 2, 0x7F, 0xFF, 2**16, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1]


def mutations(data: bytes, count: int) -> list[bytes]:
    """Damaged copies, the same on every run: bits, bytes, numbers, pieces lost or doubled; mostly in the header."""
    generator = random.Random(5)
    start, found = header_bytes(data), []
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(generator.choice([1, 1, 1, 2, 8])):
            at = generator.randrange(start if generator.random() < 0.9 else len(copy) - 8)
            if generator.random() < 0.4:
                at = generator.choice([4, 8, 16, start - 60, start - 90, start - 140]) + generator.randrange(-4, 4)
            match generator.randrange(5):
                case 0:
                    copy[at] ^= 1 << generator.randrange(8)
                case 1:
                    copy[at] = generator.randrange(256)
                case 2:
                    copy[at : at + 8] = struct.pack("<Q", generator.choice(NUMBERS))
                case 3:
                    copy[at : at + 4] = struct.pack("<I", generator.choice(NUMBERS) & 0xFFFFFFFF)
                case 4:
                    length = generator.randrange(1, 64)
                    copy[at : at + length] = copy[at : at + length] * generator.choice([0, 2])
        found.append(bytes(copy))
    return found


def test_mutated(tmp_path: Path, file: bytes) -> None:
    """Nothing but the two errors comes out; some changes hurt nothing that is read."""
    refused = 0
    path = tmp_path / "model.gguf"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number, data in enumerate(mutations(file, 600)):
        path.write_bytes(data)
        started = time.process_time()
        try:
            everything(path)
        except (PackError, TokenizerError) as error:
            refused += 1
            assert "\n" not in str(error), number
        assert time.process_time() - started < 5, number
    assert 150 < refused < 600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize("place", [8, 16])
@pytest.mark.parametrize("count", [2**23 + 1, 2**40, 2**63, 2**64 - 1])
def test_absurd_counts(tmp_path: Path, file: bytes, place: int, count: int) -> None:
    """Of tensors (8) and of keys (16)."""
    path = tmp_path / "model.gguf"
    path.write_bytes(file[:place] + struct.pack("<Q", count) + file[place + 8 :])
    with pytest.raises(PackError, match="cannot be read as GGUF"):
        open_source(path)


Listed = list[tuple[str, list[int], int, int]]


def raw(entries: Mapping[str, tuple[int, bytes]], tensors: Listed, more: int = 0) -> bytes:
    """A GGUF file field by field: keys with value type and bytes; tensors with dimensions, type and offset."""
    data = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries))
    for key, (kind, value) in entries.items():
        data += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + value
    for name, shape, kind, offset in tensors:
        data += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(shape))
        data += b"".join(struct.pack("<Q", size) for size in shape) + struct.pack("<IQ", kind, offset)
    return data + bytes(-len(data) % 32) + bytes(more)


ONE = ("t", [32, 2], 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGUF", "truncated"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 0, 0), "version 1"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 0, 0), "big-endian"),
        (raw({"a": (9, struct.pack("<IQ", 9, 1) * 3)}, []), "value type 9"),
        (raw({"a": (9, struct.pack("<IQ", 4, 2**62))}, []), "more than 8388608 entries"),
        (raw({"a": (8, struct.pack("<Q", 2**62))}, []), "truncated"),
        (raw({"a": (13, b"")}, []), "value type 13"),
        (raw({"general.alignment": (4, struct.pack("<I", 0))}, [ONE]), "alignment 0"),
        (raw({"general.alignment": (4, struct.pack("<I", 48))}, [ONE]), "alignment 48"),
        (raw({"general.alignment": (8, struct.pack("<Q", 1) + b"x")}, [ONE]), "alignment 'x'"),
        (raw({}, [ONE, ONE], 256), "the tensor 't' stands twice"),
        (raw({}, [("t\n", [32], 0, 0)]), r"the name 't\\n'"),
        (raw({}, [("t" * 64, [32], 0, 0)]), "the name 't"),
        (raw({}, [("t", [], 0, 0)]), "0 dimensions"),
        (raw({}, [("t", [1] * 5, 0, 0)]), "5 dimensions"),
        (raw({}, [("t", [2**32, 2**32], 0, 0)]), "has the shape"),
        (raw({}, [("t", [2**63, 2, 2**63], 0, 0)]), "has the shape"),
        (raw({}, [("t", [0, 4], 0, 0)]), "has the shape"),
        (raw({}, [("t", [32, 2], 0, 8)], 256), "not aligned"),
        (raw({}, [ONE], 256), "the architecture None is not supported"),
    ],
)
def test_damaged_headers(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(PackError, match=message):
        open_source(path)


def test_keys_that_stand_twice(tmp_path: Path) -> None:
    entry = struct.pack("<Q", 1) + b"a" + struct.pack("<II", 4, 1)
    path = tmp_path / "model.gguf"
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 2) + 2 * entry)
    with pytest.raises(PackError, match="the key 'a' stands twice"):
        open_source(path)


@pytest.mark.parametrize(("kind", "offset"), [(0, 2**63), (0, 2**64 - 32), (2, 96), (30, 1 << 40), (250, 0)])
def test_tensors_outside_the_file(tmp_path: Path, kind: int, offset: int) -> None:
    text = b"llama"
    heads = {"llama.attention.head_count": (4, struct.pack("<I", 1))}
    entries = {"general.architecture": (8, struct.pack("<Q", len(text)) + text), **heads}
    path = tmp_path / "model.gguf"
    path.write_bytes(raw(entries, [("token_embd.weight", [64, 2], kind, offset)], 128))
    with pytest.raises(PackError, match=r"beyond the end of the file|type 250, which is not read"):
        open_source(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"general.architecture": "mamba"}, "'mamba' is not supported in GGUF files; supported are llama, qwen2"),
        ({"llama.block_count": None}, "llama.block_count is missing"),
        ({"llama.block_count": 0}, "llama.block_count is 0"),
        ({"llama.block_count": 2**28}, "only 21 tensors for 268435456 layers"),
        ({"llama.block_count": 1}, "have no place in Llama"),
        ({"llama.block_count": 3}, r"the tensor blk\.2\.attn_norm\.weight is missing"),
        ({"llama.embedding_length": 128}, "rope.dimension_count = 16 is not supported, only 32"),
        ({"llama.attention.head_count": 8}, "rope.dimension_count = 16 is not supported, only 8"),
        ({"llama.attention.head_count": 5}, "5 heads do not share"),
        ({"llama.attention.head_count": 2**27}, "heads do not share"),
        ({"llama.attention.head_count": -4}, "head_count is -4"),
        ({"llama.attention.head_count": "4"}, "head_count is '4'"),
        ({"llama.attention.head_count": [4, 2]}, "head_count differs between layers"),
        ({"llama.attention.head_count_kv": 3}, "3 heads do not share"),
        ({"llama.attention.key_length": 24}, "keys and values of different size"),
        ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "layer_norm_rms_epsilon is nan"),
        ({"llama.attention.layer_norm_rms_epsilon": -1.0}, "expected a number above 0"),
        ({"llama.feed_forward_length": 32}, "the configuration asks for"),
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.attention.causal": False}, "attention.causal = False is not supported"),
        ({"llama.logit_scale": 0.5}, "logit_scale = 0.5 is not supported"),
        ({"llama.rope.dimension_count": 8}, "rope.dimension_count = 8 is not supported, only 16"),
        ({"llama.rope.scaling.type": "mrope"}, "rope scaling of type 'mrope'"),
        ({"llama.rope.scaling.type": "longrope"}, "not supported without rope_factors_long"),
        ({"llama.rope.freq_base": float("inf")}, "freq_base is inf"),
        ({"llama.rope.freq_base_swa": 5.0}, "freq_base_swa is not supported for llama"),
        ({"split.count": 2}, "is part 1 of 2, but not named so"),
        ({"split.count": "two"}, "split.count is 'two'"),
    ],
)
def test_metadata_that_makes_no_sense(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PackError, match=message):
        plan_model(open_source(write_gguf(LLAMA, tmp_path / "model.gguf", changes=changes)))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("olmo2", {"olmo2.attention.sliding_window": 8}, "a sliding window of olmo2 is not supported"),
        ("smollm3", {"smollm3.attention.sliding_window": 8}, "a sliding window of smollm3 is not supported"),
        ("granite", {"granite.rope.scaling.finetuned": False}, "granite without rotary positions"),
        ("granite", {"granite.residual_scale": -1.0}, "residual_scale is -1"),
        ("minicpm", {"minicpm.residual_scale": None}, "minicpm.residual_scale is missing"),
        ("minicpm", {"minicpm.logit_scale": 1e30}, "are not between 1e-6 and 1e6"),
        ("ministral3", {"mistral3.attention.temperature_length": 4}, "temperature_length is not the original context"),
        ("ministral3", {"mistral3.attention.temperature_scale": -1.0}, "llama_4_scaling_beta is -1"),
        ("ministral3", {"mistral3.rope.scaling.yarn_log_multiplier": "x"}, "yarn_log_multiplier is 'x'"),
        ("ministral3", {"mistral3.rope.scaling.yarn_log_multiplier": -10.0}, "yarn_log_multiplier is -10, below 0"),
        ("olmo2", {"olmo2.attention.temperature_scale": 0.1}, "temperature_scale = 0.1.* is not supported"),
        ("exaone4_window", {"exaone4.attention.sliding_window_pattern": [True]}, "pattern has 1 layers"),
        ("stablelm", {"stablelm.attention.layer_norm_epsilon": None}, "layer_norm_epsilon is missing"),
    ],
)
def test_metadata_of_others_that_makes_no_sense(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PackError, match=message):
        plan_model(open_source(write_gguf(MODELS[name], tmp_path / "model.gguf", changes=changes)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ggml.model": None}, "holds no tokenizer"),
        ({"ggml.model": "rwkv"}, "type rwkv is not supported"),
        ({"ggml.model": "t5"}, "tokenizer.ggml.scores is missing"),
        ({"ggml.model": "t5", "ggml.scores": [float("nan")] * 272}, "a score is not a number"),
        ({"ggml.model": "t5", "ggml.scores": [float("inf")] * 272}, "a score is too large"),
        ({"ggml.model": "bert", "ggml.unknown_token_id": "x"}, "unknown_token_id is 'x'"),
        ({"ggml.model": 7}, "tokenizer.ggml.model is 7"),
        ({"ggml.pre": "viking"}, "the pre-tokenizer viking is not supported"),
        ({"ggml.pre": None}, "the pre-tokenizer default is not supported"),
        ({"ggml.tokens": None}, "tokenizer.ggml.tokens is missing"),
        ({"ggml.tokens": [1, 2]}, "tokenizer.ggml.tokens is no list"),
        ({"ggml.tokens": ["a"]}, "token_type is no list of 1 entries"),
        ({"ggml.token_type": ["1"] * 272}, "token_type is no list of 272 entries"),
        ({"ggml.merges": ["a b c"]}, "not two tokens"),
        ({"ggml.merges": [3]}, "tokenizer.ggml.merges is no list"),
        ({"ggml.eos_token_id": "x"}, "eos_token_id is 'x'"),
        ({"ggml.add_bos_token": "yes"}, "add_bos_token is 'yes'"),
        ({"chat_template": 5}, "chat_template is 5"),
    ],
)
def test_tokenizers_that_make_no_sense(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    changes = {f"tokenizer.{key}": value for key, value in changes.items()}
    path = write_gguf(LLAMA, tmp_path / "model.gguf", changes=changes)
    with pytest.raises(TokenizerError, match=message):
        pack(path, tmp_path / "out.rbe", PackOptions(bits=32))
    assert not (tmp_path / "out.rbe").exists()


def test_a_vocabulary_larger_than_the_model(tmp_path: Path) -> None:
    weights = gguf_tensors(LLAMA)
    less = {name: weights[name][:200] for name in ("token_embd.weight", "output.weight")}
    path = write_gguf(LLAMA, tmp_path / "model.gguf", tensors=weights | less)
    with pytest.raises(PackError, match="has 272 tokens but the model only 200"):
        pack(path, tmp_path / "out.rbe", PackOptions(bits=32))


def test_tensors_that_do_not_fit(tmp_path: Path) -> None:
    weights = gguf_tensors(LLAMA)

    def fails(message: str, **changes: np.ndarray | None) -> None:
        changed = {**weights, **{name.replace("__", "."): values for name, values in changes.items()}}
        kept = {name: values for name, values in changed.items() if values is not None}
        with pytest.raises(RbeError, match=message):
            everything(write_gguf(LLAMA, tmp_path / "model.gguf", tensors=kept))

    fails("token_embd.weight is missing", token_embd__weight=None)
    fails(r"the tensor blk\.0\.attn_q\.weight is missing", blk__0__attn_q__weight=None)
    fails("1 tensors have no place", blk__0__attn_q_norm__weight=np.ones(16, np.float32))
    fails("shape", blk__0__ffn_up__weight=np.ones((64, 96), np.float32))
    fails("not finite", blk__1__ffn_up__weight=np.full((96, 64), np.nan, np.float32))
    fails(r"expected \[8\]", rope_freqs__weight=np.ones(9, np.float32))
    fails("not above 0", rope_freqs__weight=np.zeros(8, np.float32))
    fails("do not belong together", rope_factors_long__weight=np.ones(8, np.float32))


def test_incomplete_split_files(tmp_path: Path) -> None:
    first = write_gguf(LLAMA, tmp_path / "model.gguf", split=6)
    parts = sorted(tmp_path.glob("model-*.gguf"))
    second = parts[1].read_bytes()
    parts[1].unlink()
    for given in (parts[0], parts[2]):
        with pytest.raises(PackError, match=r"model-00002-of-00004\.gguf: this part of the model is missing"):
            open_source(given)
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(PackError, match="is another part than its name says"):
        open_source(first)
    parts[1].write_bytes(second[:100])
    with pytest.raises(PackError, match="cannot be read as GGUF"):
        open_source(first)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"")
    with pytest.raises(PackError, match="cannot be read as GGUF"):
        open_source(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(PackError, match="no GGUF magic number"):
        open_source(path)
    with pytest.raises(PackError, match="a GGUF file has its own tokenizer"):
        open_source(path, tokenizer=tmp_path / "tok.bin")
    if os.geteuid() != 0:
        path.chmod(0)
        with pytest.raises(PackError, match="Permission denied"):
            open_source(path)


def test_vocabulary_files_are_no_models(data_dir: Path) -> None:
    """llama.cpp's vocabularies without weights."""
    with pytest.raises(PackError, match=r"token_embd\.weight is missing"):
        open_source(data_dir / "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf")


def test_unsupported_models_name_what_is(tmp_path: Path) -> None:
    model = dataclasses.replace(MODELS["gemma2"], config={**MODELS["gemma2"].config, "model_type": "gemma2"})
    path = write_gguf(model, tmp_path / "model.gguf", changes={"gemma2.attention.sliding_window_pattern": [True]})
    with pytest.raises(PackError, match="its window pattern has 1 layers, the model 2"):
        open_source(path)
