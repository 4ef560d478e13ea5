"""Saved states from file to file: those of version 1 are still restored, and a state belongs to tensors, not to a file.

tests/golden/states holds states of version 1 of the golden packs, each of 20 tokens: `v1-PACK-CACHE`, -base read one
plane of each tensor, -rewound was rewound to 9 tokens. The last release whose states had version 1 wrote them.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tiny_models

from rbe_edge import Model
from rbe_edge.errors import ContextFull, RbeError, StateError
from rbe_edge.format.modes import SKIP, Mode, ModeTable
from rbe_edge.format.parts import Part
from rbe_edge.format.replacing import replace_parts
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.options import KvType

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
TOKENS = [(7 * i * i + 3 * i) % 250 for i in range(20)]
HEADER_BYTES = 64
PLANES_AT = 40

# name: golden pack, cache type, planes that the state says were read of each kind, tokens, whether there are logits
STATES: dict[str, tuple[str, KvType, int, int, bool]] = {
    "v1-planes-f16": ("planes", "f16", 4, 20, True),
    "v1-planes-q8q4-base": ("planes", "q8q4", 1, 20, True),
    "v1-half-f32-rewound": ("half", "f32", 4, 9, False),
}


def state_path(name: str) -> Path:
    return GOLDEN / "states" / f"{name}.state"


def with_checksum(data: bytes) -> bytes:
    data = data[:12] + bytes(4) + data[16:]
    return data[:12] + struct.pack("<I", zlib.crc32(data)) + data[16:]


def test_every_state_is_there_and_of_version_1() -> None:
    assert {path.stem for path in (GOLDEN / "states").iterdir()} == STATES.keys()
    for name in STATES:
        data = state_path(name).read_bytes()
        assert struct.unpack_from("<I", data, 8) == (1,) and with_checksum(data) == data


@pytest.mark.parametrize("name", STATES)
def test_version_1_is_restored_bit_for_bit(name: str, tmp_path: Path) -> None:
    file, kv, planes, n_tokens, has_logits = STATES[name]
    old = state_path(name).read_bytes()
    with Model.open(GOLDEN / "v1" / f"{file}.rbe") as model, model.session(kv=kv) as session:
        assert session.restore(state_path(name)) == TOKENS[:n_tokens]
        if has_logits:
            stored = np.frombuffer(old, "<f4", model.info.vocabulary, HEADER_BYTES + 4 * n_tokens)
            np.testing.assert_array_equal(session.logits, stored)
        else:
            with pytest.raises(RbeError, match="logits"):
                _ = session.logits
        session.save(tmp_path / "again")
        new = (tmp_path / "again").read_bytes()
        assert struct.unpack_from("<I", new, 8) == (3,) and new[HEADER_BYTES:] == old[HEADER_BYTES:]
        assert list(new[PLANES_AT : PLANES_AT + 4]) == [planes] * 4


@pytest.mark.parametrize("name", STATES)
def test_version_1_goes_on(name: str, tmp_path: Path) -> None:
    """As the same tokens computed now: other machines' kernels round otherwise, so nearly."""
    file, kv, planes, n_tokens, _ = STATES[name]
    with Model.open(GOLDEN / "v1" / f"{file}.rbe") as model:
        with model.session(kv=kv, planes=planes) as session, model.session(kv=kv, planes=planes) as computed:
            session.restore(state_path(name))
            session.save(tmp_path / "again")
            session.prefill([5, 6, 7])
            computed.prefill([*TOKENS[:n_tokens], 5, 6, 7])
            np.testing.assert_allclose(session.logits, computed.logits, rtol=0.02, atol=0.02)
            expected = session.logits
            assert session.restore(tmp_path / "again") == TOKENS[:n_tokens]
            session.prefill([5, 6, 7])
            np.testing.assert_array_equal(session.logits, expected)


def test_version_1_of_another_model_or_cache_is_refused(tmp_path: Path) -> None:
    path = state_path("v1-planes-f16")
    with Model.open(GOLDEN / "v1" / "bits4.rbe") as model, model.session() as session:
        with pytest.raises(StateError, match="another model"):
            session.restore(path)
    with Model.open(GOLDEN / "v1" / "planes.rbe") as model:
        with model.session(kv="q8") as session, pytest.raises(StateError, match="type f16"):
            session.restore(path)
        with model.session(context=19) as session, pytest.raises(ContextFull, match="20 tokens"):
            session.restore(path)


def test_damaged_headers_of_version_1(tmp_path: Path) -> None:
    """Each byte changed, with the checksum made right: refused, or something that can be run."""
    good, path = state_path("v1-planes-f16").read_bytes(), tmp_path / "state"
    with Model.open(GOLDEN / "v1" / "planes.rbe") as model, model.session(threads=1) as session:
        for planes in (0, 5, 2**31):
            path.write_bytes(with_checksum(good[:PLANES_AT] + struct.pack("<I", planes) + good[PLANES_AT + 4 :]))
            with pytest.raises(StateError, match="damaged"):
                session.restore(path)
        for at in range(HEADER_BYTES):
            for change in (1, 4, 0x80):
                path.write_bytes(with_checksum(good[:at] + bytes([good[at] ^ change]) + good[at + 1 :]))
                try:
                    session.restore(path)
                except (StateError, ContextFull):
                    continue
                if session.position < session.context:
                    session.prefill([3])
        assert session.restore(state_path("v1-planes-f16")) == TOKENS


def test_a_file_that_differs_in_metadata_alone_is_the_same_model(tmp_path: Path) -> None:
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")
    first, second = tmp_path / "first.rbe", tmp_path / "second.rbe"
    pack(source, first, PackOptions(bits=32))
    settings = source / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace("assistant", "the assistant"))
    pack(source, second, PackOptions(bits=32))
    assert first.read_bytes() != second.read_bytes()
    with Model.open(first) as model, model.session() as session:
        session.prefill(TOKENS)
        session.save(tmp_path / "state")
        session.prefill([1, 2])
        expected = session.logits
    with Model.open(second) as other, other.session() as session:
        assert session.restore(tmp_path / "state") == TOKENS
        session.prefill([1, 2])
        np.testing.assert_array_equal(session.logits, expected)


def test_a_state_belongs_to_tensors_whatever_parts_there_are(tmp_path: Path) -> None:
    """Saved before a table of power modes was measured, restored with it; and the other way round."""
    path, other, state = tmp_path / "model.rbe", tmp_path / "other.rbe", tmp_path / "state"
    pack(tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source"), path, PackOptions(bits=4))
    pack(tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source"), other, PackOptions(bits=3))
    modes = (Mode(), Mode((1, 0)), Mode((1, SKIP)), Mode(reason="nothing reads less"))
    parts = [ModeTable(2, modes).part(), Part("another", 3, b"data" * 5000)]
    replace_parts(other, parts)
    changes = [lambda: replace_parts(path, parts), lambda: replace_parts(path, [Part("another", 4, b"")], ["modes"])]
    for change in [*changes, lambda: replace_parts(path, remove=["another"])]:
        with Model.open(path) as model, model.session() as session:
            session.prefill(TOKENS)
            session.save(state)
            session.prefill([1, 2])
            expected = session.logits
            change()
            session.rewind(len(TOKENS))  # the file that is open is still there
            session.prefill([1, 2])
            np.testing.assert_array_equal(session.logits, expected)
        with Model.open(path) as model, model.session() as session:
            assert session.restore(state) == TOKENS
            session.prefill([1, 2])
            np.testing.assert_array_equal(session.logits, expected)
        with Model.open(other) as model, model.session() as session:
            with pytest.raises(StateError, match="another model"):
                session.restore(state)


def other_epsilon(path: Path, out: Path) -> None:
    """The same file with another norm.epsilon: equal tensors, other results."""
    data = bytearray(path.read_bytes())
    at = data.index(b"norm.epsilon") + len(b"norm.epsilon")
    at = data.index(struct.pack("<d", tiny_models.MODELS["llama"].config["rms_norm_eps"]), at, at + 24)
    data[at : at + 8] = struct.pack("<d", 0.5)
    (index_bytes,) = struct.unpack_from("<Q", data, 24)
    head = bytes(data[:12]) + bytes(4) + bytes(data[16:index_bytes])
    data[12:16] = struct.pack("<I", zlib.crc32(head))
    out.write_bytes(data)


def test_other_hyper_parameters_are_another_model(tmp_path: Path) -> None:
    path, changed, state = tmp_path / "model.rbe", tmp_path / "changed.rbe", tmp_path / "state"
    pack(tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source"), path, PackOptions(bits=32))
    other_epsilon(path, changed)
    with Model.open(path) as model, Model.open(changed) as other, model.session() as session, other.session() as there:
        session.prefill(TOKENS)
        session.save(state)
        with pytest.raises(StateError, match="another model"):
            there.restore(state)
        with pytest.raises(RbeError, match="one model"):
            there.copy_from(session, 3)
        assert there.position == 0
        assert session.restore(state) == TOKENS


def test_version_2_knows_tensors_alone(tmp_path: Path) -> None:
    """It is version 3 with nothing where the checksum of the hyper-parameters stands."""
    path, changed, state = tmp_path / "model.rbe", tmp_path / "changed.rbe", tmp_path / "state"
    pack(tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source"), path, PackOptions(bits=32))
    other_epsilon(path, changed)
    with Model.open(path) as model, model.session() as session:
        session.prefill(TOKENS)
        session.save(state)
        session.prefill([1, 2])
        expected = session.logits.copy()
        saved = state.read_bytes()
        assert struct.unpack_from("<III", saved, 8)[0] == 3 and any(saved[56:60])
        version_2 = saved[:8] + struct.pack("<I", 2) + saved[12:56] + bytes(4) + saved[60:]
        state.write_bytes(with_checksum(version_2))
        assert session.restore(state) == TOKENS
        session.prefill([1, 2])
        np.testing.assert_array_equal(session.logits, expected)
        state.write_bytes(with_checksum(version_2[:56] + saved[56:60] + version_2[60:]))
        with pytest.raises(StateError, match="damaged"):
            session.restore(state)
    state.write_bytes(with_checksum(version_2))
    with Model.open(changed) as model, model.session() as session:
        assert session.restore(state) == TOKENS
