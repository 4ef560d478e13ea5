"""An index: what is put in is found, and what changes on disk changes in it. The model is a test double."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import numpy as np
import pytest
from word_embedder import WIDTH, WordEmbedder

from rbe_edge.errors import OptionError
from rbe_edge.format.parts import Part
from rbe_edge.format.replacing import replace_parts
from rbe_edge.progress import Progress
from rbe_edge.runtime.model import demo_path
from rbe_edge.search.fingerprint import fingerprint
from rbe_edge.search.index import Index, IndexFileError, MadeWith
from rbe_edge.search.update import Changes, update

MADE = MadeWith("f" * 32, "words", "/models/words.rbe", WIDTH, 40)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "car.md").write_text("# Car\n\nI parked the car behind the station.\n\nThe tyres are worn.\n")
    (folder / "deep" / "soup.TXT").write_text("Cook the onions slowly.\n")
    (folder / "photo.png").write_text("not looked at")
    return folder


def refresh(index: Index, folder: Path, embedder: WordEmbedder | None = None) -> tuple[Changes, list[str]]:
    told: list[str] = []
    return update(index, [folder], embedder or WordEmbedder(), Progress(), told.append), told


def nearest(index: Index, query: str, most: int = 5) -> list[tuple[str, int, str]]:
    return [(one.path.name, one.line, one.text) for one in index.nearest(WordEmbedder().vectors([query])[0], most)]


def test_what_is_put_in_is_found(notes: Path, tmp_path: Path) -> None:
    with Index.make(tmp_path / "notes.idx", MADE) as index:
        assert nearest(index, "car") == []
        changes, told = refresh(index, notes)
        assert changes == Changes(added=2, passages=2) and not told
        assert index.folders() == [notes]
    assert stat.S_IMODE(os.stat(tmp_path / "notes.idx").st_mode) == 0o600
    with Index.open(tmp_path / "notes.idx") as index:
        assert index.made_with == MADE and index.count() == 2
        best = index.nearest(WordEmbedder().vectors(["where is the car parked"])[0], 9)
        assert [one.path for one in best] == [notes / "car.md", notes / "deep" / "soup.TXT"]
        assert 1 >= best[0].score > best[1].score >= -1
        assert nearest(index, "onions", 1) == [("soup.TXT", 1, "Cook the onions slowly.")]


def test_only_what_changed_is_embedded_again(notes: Path, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    with Index.make(tmp_path / "notes.idx", MADE) as index:
        refresh(index, notes)
        assert refresh(index, notes, embedder)[0] == Changes(unchanged=2) and not embedder.texts
        os.utime(notes / "car.md", ns=(5, 5))  # the same bytes at another time
        assert refresh(index, notes, embedder)[0] == Changes(unchanged=2) and not embedder.texts
        (notes / "car.md").write_text("The boat is in the harbour.\n")
        (notes / "new.txt").write_text("")
        assert refresh(index, notes, embedder)[0] == Changes(added=1, changed=1, unchanged=1, passages=1)
        assert embedder.texts == ["The boat is in the harbour."]
        assert nearest(index, "boat", 1)[0][0] == "car.md" and len(nearest(index, "car")) == 2
        (notes / "car.md").unlink()
        assert refresh(index, notes)[0] == Changes(removed=1, unchanged=2)
        assert [name for name, *_ in nearest(index, "boat")] == ["soup.TXT"]


def test_several_folders(notes: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "tea.txt").write_text("Green tea.")
    with Index.make(tmp_path / "i", MADE) as index:
        refresh(index, notes)
        assert refresh(index, other)[0] == Changes(added=1, passages=1)  # those of the first stay
        assert index.folders() == [notes, other] and len(index.files()) == 3
        with pytest.raises(OptionError, match="is no folder"):
            refresh(index, other / "tea.txt")


def test_what_is_no_text_is_left_out(notes: Path, tmp_path: Path) -> None:
    (notes / "a.txt").write_bytes(b"\x7fELF\0")
    (notes / "b.md").write_bytes(b"caf\xe9")
    (notes / "c.md").symlink_to(notes / "gone.md")
    os.mkfifo(notes / "d.txt")
    (notes / ".hidden.md").write_text("hidden")
    (notes / ".git").mkdir()
    (notes / ".git" / "e.md").write_text("hidden")
    (notes / "f.md").write_bytes(b"\xef\xbb\xbfWith a mark.")
    with Index.make(tmp_path / "i", MADE) as index:
        changes, told = refresh(index, notes)
        assert changes == Changes(added=3, skipped=4, passages=3)
        assert sorted(line.removeprefix(f"{notes}/") for line in told) == [
            "a.txt: skipped (it is binary)",
            "b.md: skipped (it is no UTF-8)",
            "c.md: skipped (it has just gone)",
            "d.txt: skipped (it is no regular file)",
        ]
        assert nearest(index, "mark", 1)[0][2] == "With a mark."
        (notes / "f.md").write_bytes(b"\0")  # one that was a text before
        assert refresh(index, notes)[0] == Changes(removed=1, unchanged=2, skipped=5)


def test_a_file_that_goes_meanwhile(notes: Path, tmp_path: Path) -> None:
    def listener(what: str, done: int, total: int) -> None:
        (notes / "deep" / "soup.TXT").unlink(missing_ok=True)

    told: list[str] = []
    with Index.make(tmp_path / "i", MADE) as index:
        changes = update(index, [notes], WordEmbedder(), Progress(listener), told.append)
    assert changes == Changes(added=1, skipped=1, passages=1)
    assert told == [f"{notes}/deep/soup.TXT: skipped (it has just gone)"]


def test_what_was_done_stays_when_stopped(notes: Path, tmp_path: Path) -> None:
    for number in range(200):
        (notes / f"{number:03}.txt").write_text(f"Note {number}.")
    heard: list[tuple[int, int]] = []

    def stop(what: str, done: int, total: int) -> None:
        heard.append((done, total))
        if done > total // 2:
            raise KeyboardInterrupt

    with Index.make(tmp_path / "i", MADE) as index:
        with pytest.raises(KeyboardInterrupt):
            update(index, [notes], WordEmbedder(), Progress(stop), str)
        kept = len(index.files())
        assert 0 < kept < 202 and heard[0][0] == 0
        told = [done for done, _ in heard]
        assert told == sorted(told) and len(set(told)) > 50 and max(told) < heard[0][1]
        changes, _ = refresh(index, notes)
        assert changes.unchanged == kept and changes.added == 202 - kept


def test_names_that_are_no_utf8(notes: Path, tmp_path: Path) -> None:
    name = os.fsencode(notes) + b"/\xff.md"
    with open(name, "w", encoding="utf-8") as file:
        file.write("An odd name.")
    with Index.make(tmp_path / "i", MADE) as index:
        refresh(index, notes)
        assert os.fsencode(index.nearest(WordEmbedder().vectors(["odd name"])[0], 1)[0].path) == name


def test_what_is_no_index(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(IndexFileError, match="is no index; make one: rbe index"):
        Index.open(path)
    path.write_text("hello, this is a text and no database at all" * 30)
    with pytest.raises(IndexFileError, match="is no index of `rbe index`"):
        Index.open(path)
    with pytest.raises(IndexFileError, match="exists already"):
        Index.make(path, MADE)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE facts (name, value)")
    connection.commit()
    connection.close()
    with pytest.raises(IndexFileError, match="is no index of `rbe index`"):
        Index.open(path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ("UPDATE files SET vectors = zeroblob(length(vectors) - 1)", "damaged .*another length"),
        ("DELETE FROM passages", "damaged .*without a passage"),
        ("DELETE FROM facts WHERE name = 'width'", "damaged .*facts are missing"),
        ("UPDATE facts SET value = '0' WHERE name = 'width'", "damaged .*facts are wrong"),
        ("UPDATE facts SET value = x'00' WHERE name = 'path'", "damaged .*type bytes, not str"),
        ("UPDATE files SET vectors = 'text'", "damaged .*type str, not bytes"),
        ("UPDATE passages SET text = x'ff'", "damaged .*type bytes, not str"),
        ("UPDATE files SET path = x'2f00' || id", "damaged .*type str, not bytes"),
        ("UPDATE files SET path = CAST(x'2f00' || id AS BLOB)", "damaged .*a path that no file has"),
        ("PRAGMA user_version = 9", "is of a newer rbe"),
        ("DROP TABLE files", "cannot be opened"),
    ],
)
def test_damaged_indexes(change: str, match: str, notes: Path, tmp_path: Path) -> None:
    path = tmp_path / "i"
    with Index.make(path, MADE) as index:
        refresh(index, notes)
    connection = sqlite3.connect(path)
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(IndexFileError, match=match), Index.open(path) as index:
        nearest(index, "car")


def test_another_program_writes(notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbe_edge.search.index._BUSY_TIMEOUT_S", 0.01)
    with Index.make(tmp_path / "i", MADE):
        pass
    other = sqlite3.connect(tmp_path / "i", isolation_level=None)
    with Index.open(tmp_path / "i") as index:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(IndexFileError, match="another program is writing"):
            refresh(index, notes)
        other.execute("ROLLBACK")
        assert refresh(index, notes)[0].added == 2
    other.close()


def test_many_are_ordered_by_cosine(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(1)
    vocabulary = [f"word{number}" for number in range(50)]
    for number in range(30):
        (folder / f"{number}.txt").write_text("\n\n".join(" ".join(rng.choice(vocabulary, 30)) for _ in range(5)))
    with Index.make(tmp_path / "i", MADE) as index:
        refresh(index, folder)
        query = WordEmbedder().vectors(["word1 word2"])[0]
        found = index.nearest(query, 1000)
        assert len(found) == index.count() == 150
        rows = WordEmbedder().vectors([one.text for one in found])
        assert [one.score for one in found] == pytest.approx((rows @ query).tolist(), abs=1e-5)
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_fingerprints_tell_models_apart(tmp_path: Path) -> None:
    golden = Path(__file__).parent.parent / "golden"
    files = [demo_path(), golden / "v1" / "bits2.rbe", golden / "v1" / "bits3.rbe", golden / "v3" / "parts.rbe"]
    prints = [fingerprint(path) for path in files]
    assert len(set(prints)) == len(files) and all(len(one) == 32 for one in prints)
    copy = tmp_path / "copy.rbe"
    copy.write_bytes(demo_path().read_bytes())
    assert fingerprint(copy) == prints[0]
    # A part that may be missing moves all that lies behind it, and changes no vector; one that is required may.
    replace_parts(copy, [Part("table", 1, b"x" * 5000)])
    assert copy.read_bytes() != demo_path().read_bytes() and fingerprint(copy) == prints[0]
    replace_parts(copy, [Part("needed", 1, b"y", required=True)])
    assert fingerprint(copy) != prints[0]
