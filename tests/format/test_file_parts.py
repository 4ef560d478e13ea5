"""Parts are added, replaced and removed while all else of a file stays what it was, byte for byte."""

from __future__ import annotations

import os
import shutil
import struct
import threading
from pathlib import Path

import pytest
from index_reader import Index, mend_index, read_index

from rbe_edge import Model
from rbe_edge.errors import ModelError, OptionError, PackError
from rbe_edge.format.parts import MAX_PARTS, Part
from rbe_edge.format.reader import read_file
from rbe_edge.format.replacing import read_parts, replace_parts
from rbe_edge.format.writer import PackWriter

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
FILES = ["v1/bits2", "v1/half", "v1/planes", "v2/extremes", "v3/parts"]


@pytest.fixture(params=FILES)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    out = tmp_path / "model.rbe"
    shutil.copy(GOLDEN / f"{request.param}.rbe", out)
    return out


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    out = tmp_path / "model.rbe"
    shutil.copy(GOLDEN / "v1/bits4.rbe", out)
    return out


def same_but_parts(one: Index, other: Index) -> bool:
    """Metadata, codebooks, blobs, and tensors with their data; where they lie does not count."""
    assert one.metadata == other.metadata and one.codebooks == other.codebooks and one.blobs == other.blobs
    assert list(one.tensors) == list(other.tensors)
    for name in one.tensors:
        assert one.tensor_data(name) == other.tensor_data(name)
        first, second = one.tensors[name].__dict__, other.tensors[name].__dict__
        assert {**first, "offset": 0} == {**second, "offset": 0}
    return True


@pytest.mark.parametrize("n_bytes", [0, 1, 64, 100_000])
def test_added_replaced_and_removed(golden: Path, n_bytes: int) -> None:
    before, original = read_index(golden), golden.read_bytes()
    first = Part("test.part", 3, os.urandom(n_bytes), flags=0x40, more=b"more")
    replace_parts(golden, [first, Part("other", 1, b"x")])
    index = read_index(golden)
    assert same_but_parts(before, index) and list(index.parts) == [*before.parts, "test.part", "other"]
    assert {name: index.parts[name] for name in before.parts} == before.parts
    found = index.parts["test.part"]
    assert (found.version, found.flags, found.data, found.more) == (3, 0x40, first.data, b"more")
    moved = {tensor.offset - before.tensors[name].offset for name, tensor in index.tensors.items()}
    assert len(moved) == 1 and moved.pop() % 4096 == 0, "tensors move by whole pages"

    replace_parts(golden, [Part("test.part", 4, b"another", required=False)])
    index = read_index(golden)
    assert same_but_parts(before, index) and list(index.parts) == [*before.parts, "test.part", "other"]
    assert (index.parts["test.part"].version, index.parts["test.part"].data) == (4, b"another")
    with Model.open(golden) as model:
        assert model.part("test.part") == b"another" and not model.parts["test.part"].known
        assert model.info.format_version == 3

    replace_parts(golden, remove=["test.part", "other"])
    assert golden.read_bytes() == original, "back to what it was, its version too"


def test_many_parts_need_room(model_file: Path) -> None:
    """The index grows by several pages, and the tensors move by as many; then it shrinks again."""
    before, original = read_index(model_file), model_file.read_bytes()
    many = [Part(f"part.{number}", 1, bytes([number]) * number, more=bytes(100)) for number in range(MAX_PARTS)]
    replace_parts(model_file, many)
    index = read_index(model_file)
    assert same_but_parts(before, index) and len(index.parts) == MAX_PARTS
    moved = {index.tensors[name].offset - before.tensors[name].offset for name in index.tensors}
    assert len(moved) == 1 and moved.pop() > 4096
    with pytest.raises(PackError, match="at most 256"):
        replace_parts(model_file, [Part("one.more", 1, b"")])
    with Model.open(model_file) as model:
        assert list(model.parts) == [part.name for part in many]
    replace_parts(model_file, remove=[part.name for part in many])
    assert model_file.read_bytes() == original


def test_parts_between_tensors_leave_zeros(model_file: Path) -> None:
    """Another writer may put them there; padding is zero all the same."""
    replace_parts(model_file, [Part("a", 1, b"first" * 20), Part("b", 1, b"second" * 30)])
    data = bytearray(model_file.read_bytes())
    index = read_index(model_file)
    last = max(index.tensors.values(), key=lambda tensor: tensor.offset)
    at = data.index(struct.pack("<QQ", last.offset, last.n_bytes))
    behind = len(data)
    data += index.data[last.offset : last.offset + last.n_bytes]
    data += bytes(-len(data) % 64)
    struct.pack_into("<Q", data, at, behind)
    data[last.offset : last.offset + last.n_bytes] = bytes(last.n_bytes)
    struct.pack_into("<Q", data, 16, len(data))
    mend_index(data)
    model_file.write_bytes(data)
    assert same_but_parts(index, read_index(model_file))
    replace_parts(model_file, [Part("c", 1, b"third")], remove=["a"])
    after = read_index(model_file)  # which looks at the padding
    assert same_but_parts(index, after) and after.parts["b"].data == b"second" * 30 and list(after.parts) == ["b", "c"]


def test_the_writer_writes_them_too(golden: Path, tmp_path: Path) -> None:
    stored, out = read_file(golden), tmp_path / "again.rbe"
    entries = [tensor.entry for tensor in stored.tensors.values()]
    added = [*stored.parts.values(), Part("added", 2, b"data", required=True)]
    with PackWriter(out, stored.metadata, stored.codebooks, stored.blobs, entries, parts=added) as file:
        assert len(file.outline()) == file.index_bytes
        for name, tensor in stored.tensors.items():
            file.write_tensor([bytes(stored.data(name))], tensor.error, tensor.tensor_scale)
        file.commit()
    index = read_index(out)
    assert same_but_parts(read_index(golden), index)
    assert index.parts["added"].data == b"data" and index.parts["added"].flags == 1
    assert {name: part for name, part in index.parts.items() if name != "added"} == read_index(golden).parts
    with pytest.raises(ModelError, match=r"part `added` of version 2 .*needs a newer rbe"):
        Model.open(out)
    replace_parts(out, remove=["added"])
    assert read_parts(out).keys() == stored.parts.keys()
    Model.open(out).close()


def test_who_has_the_file_open_goes_on(model_file: Path) -> None:
    stop, failures = threading.Event(), []

    def run() -> None:
        with Model.open(model_file) as model, model.session() as session:
            expected = None
            while not stop.is_set():
                session.rewind(0)
                session.prefill([1, 2, 3])
                logits = session.logits.tobytes()
                if expected not in (None, logits):
                    failures.append("other logits")
                expected = logits

    running = threading.Thread(target=run)
    running.start()
    for number in range(20):
        replace_parts(model_file, [Part("number", 1, str(number).encode())])
        with Model.open(model_file) as model:
            assert model.part("number") == str(number).encode()
    stop.set()
    running.join()
    assert not failures


def test_permissions_links_and_other_writers(model_file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.rbe"
    link.symlink_to(model_file)
    model_file.chmod(0o640)
    replace_parts(link, [Part("a", 1, b"")])
    assert link.is_symlink() and model_file.stat().st_mode & 0o777 == 0o640 and "a" in read_parts(model_file)
    from rbe_edge.files.new_file import NewFile

    with NewFile(model_file, PackError, replace=True), pytest.raises(PackError, match="being written by another"):
        replace_parts(model_file, [Part("b", 1, b"")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.rbe", "model.rbe"]


@pytest.mark.parametrize("name", ["", "a" * 33, "A", "a b", "a\n", "ü", "a/b"])
def test_names_that_a_file_cannot_hold(name: str) -> None:
    with pytest.raises(PackError, match="1 to 32 characters"):
        Part(name, 1, b"")


@pytest.mark.parametrize("version, flags", [(0, 0), (2**32, 0), (1, 1), (1, 2**32)])
def test_numbers_that_a_file_cannot_hold(version: int, flags: int) -> None:
    with pytest.raises(PackError, match="outside their range"):
        Part("a", version, b"", flags=flags)


def test_what_is_not_there(model_file: Path, tmp_path: Path) -> None:
    original = model_file.read_bytes()
    with pytest.raises(PackError, match=r"model.rbe: has no part a; `rbe inspect`"):
        replace_parts(model_file, remove=["a"])
    with pytest.raises(PackError, match="cannot be read"):
        replace_parts(tmp_path / "missing.rbe", [Part("a", 1, b"")])
    with pytest.raises(PackError, match="is a directory"):
        replace_parts(tmp_path, [Part("a", 1, b"")])
    with pytest.raises(PackError, match="cannot be read"):
        read_parts(tmp_path / "missing.rbe")
    with Model.open(model_file) as model, pytest.raises(OptionError, match="has no part a"):
        model.part("a")
    assert model_file.read_bytes() == original and [path.name for path in tmp_path.iterdir()] == ["model.rbe"]


def test_damaged_files_are_left_alone(model_file: Path) -> None:
    """Every field of the index changed, with and without its checksum made right: one line, or a file that is whole."""
    replace_parts(model_file, [Part("a", 1, b"data")])
    good = model_file.read_bytes()
    (index_bytes,) = struct.unpack_from("<Q", good, 24)
    outcomes = set()
    for at in [*range(64), *range(64, index_bytes, 17)]:
        for change, right in ((0xFF, True), (1, True), (0x80, False)):
            data = bytearray(good)
            data[at] ^= change
            if right and struct.unpack_from("<Q", data, 24)[0] <= len(data):
                mend_index(data)
            model_file.write_bytes(data)
            try:
                replace_parts(model_file, [Part("b", 1, b"more")])
                outcomes.add("written")
            except PackError as error:
                assert "\n" not in str(error) and str(model_file) in str(error)
                assert model_file.read_bytes() == data
                outcomes.add("refused")
    assert outcomes == {"written", "refused"}
    for n_bytes in (0, 10, 63, 64, index_bytes - 1, len(good) - 1):
        model_file.write_bytes(good[:n_bytes])
        with pytest.raises(PackError):
            replace_parts(model_file, [Part("b", 1, b"more")])


def test_a_part_over_a_tensor_is_refused(model_file: Path) -> None:
    """It would be taken for what lies between tensors, and zeros be written there."""
    replace_parts(model_file, [Part("a", 1, b"data")])
    data, tensor = bytearray(model_file.read_bytes()), list(read_index(model_file).tensors.values())[3]
    at = data.index(b"\1\0\0\0a") + 13  # the offset, behind name, version and flags
    struct.pack_into("<Q", data, at, tensor.offset)
    mend_index(data)
    model_file.write_bytes(data)
    with pytest.raises(PackError, match="two data areas overlap"):
        replace_parts(model_file, remove=["a"])
    assert model_file.read_bytes() == data


def test_a_part_twice(model_file: Path) -> None:
    with pytest.raises(PackError, match="part a: is there twice"):
        replace_parts(model_file, [Part("a", 1, b""), Part("a", 2, b"")])


def test_damaged_data_of_a_part(model_file: Path) -> None:
    replace_parts(model_file, [Part("a", 1, b"some data")])
    data = model_file.read_bytes()
    model_file.write_bytes(data.replace(b"some data", b"some date"))
    for attempt in (lambda: read_parts(model_file), lambda: replace_parts(model_file, [Part("b", 1, b"")])):
        with pytest.raises(PackError, match="part a: field `checksum`"):
            attempt()
    with pytest.raises(ModelError, match="part `a`: field `checksum`"):
        Model.open(model_file)
    replace_parts(model_file, [Part("a", 1, b"new")])  # what is replaced need not be whole
    assert read_parts(model_file)["a"].data == b"new"
