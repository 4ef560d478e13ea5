"""What rbe writes, each as an operation that can be prepared, run and looked at. Run by drive.py, which
imports all of it once for its children."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tiny_models

from rbe_edge import Model
from rbe_edge.building.output import new_folder, write_sums
from rbe_edge.cli.embed_command import save
from rbe_edge.errors import RbeError
from rbe_edge.format.parts import Part
from rbe_edge.format.replacing import read_parts, replace_parts
from rbe_edge.llama_cpp.export import write_gguf
from rbe_edge.models.folder import Origin, copy, origin_of, set_origin
from rbe_edge.packing.carrier import carry
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.progress import Progress
from rbe_edge.runtime.build import library_path
from rbe_edge.search.index import Index, MadeWith
from rbe_edge.search.update import update
from rbe_edge.sources.open import open_source
from rbe_edge.sources.tokenizers.of_source import source_tokenizer
from rbe_edge.store.conversations import ConversationStore, StoredConversation, StoredMessage
from rbe_edge.store.export import export

#: The fixture `drive`: drive(OPERATION, HOWS, MOST) gives the outcomes of drive.py, that without a fault first.
Drive = Callable[[str, Sequence[str], int], list[dict[str, Any]]]


class Operation:
    """files: patterns of what may be in the directory afterwards, of paths from there on; others are left over.
    next_run: of what may be left over until the next run. ignored: of what may stay."""

    files: tuple[str, ...] = ()
    next_run: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def below(self, directory: Path) -> Path:
        """Where calls count."""
        return directory

    def prepare(self, directory: Path) -> None:
        """Puts the old state into an empty directory."""

    def run(self, directory: Path) -> None:
        """Makes the new state out of the old or the new one; raises RbeError."""
        raise NotImplementedError

    def state(self, directory: Path) -> str:
        """ "old", "new", or what is wrong."""
        raise NotImplementedError


class SaveSession(Operation):
    """The state of a session, over one that is there."""

    files = ("m.rbe", "session.state")
    ignored = ("session.state.??????",)  # the client, which knows whose they are, removes them
    _texts: ClassVar = {"old": (1, 2, 3), "new": (4, 5, 6, 7, 8)}

    def _save(self, directory: Path, tokens: tuple[int, ...]) -> None:
        with Model.open(directory / "m.rbe") as model, model.session(context=16, threads=1) as session:
            session.prefill(list(tokens))
            session.save(directory / "session.state")

    def prepare(self, directory: Path) -> None:
        copy_golden("v1/half.rbe", directory / "m.rbe")
        self._save(directory, self._texts["old"])

    def run(self, directory: Path) -> None:
        self._save(directory, self._texts["new"])

    def state(self, directory: Path) -> str:
        with Model.open(directory / "m.rbe") as model, model.session(context=16, threads=1) as session:
            try:
                session.restore(directory / "session.state")
            except RbeError as error:
                return str(error)
            return next((name for name, text in self._texts.items() if tuple(session.tokens) == text), "other tokens")


class Pack(Operation):
    """Packs a tiny model over an older file, with a calibration whose parts are kept in the cache."""

    def prepare(self, directory: Path) -> None:
        tiny = tiny_models.MODELS["llama"]
        tiny = dataclasses.replace(tiny, config={**tiny.config, "num_hidden_layers": 1})
        tiny_models.write(tiny, directory / "source")
        (directory / "text.txt").write_text("the cat and the dog sat on the mat, and then the dog ate the cake. " * 14)
        (directory / "out").mkdir()
        copy_golden("v1/half.rbe", directory / "out" / "m.rbe")

    files = ("text.txt", "out/m.rbe", "source/*", "cache/rbe_edge/packing/*.kept")
    ignored = ("cache/rbe_edge/packing/.*.part",)  # a packing removes it once it is an hour old

    def run(self, directory: Path) -> None:
        os.environ["XDG_CACHE_HOME"] = str(directory / "cache")
        options = PackOptions(bits=4, calibrate=directory / "text.txt", threads=1, force=True)
        pack(directory / "source", directory / "out" / "m.rbe", options)

    def state(self, directory: Path) -> str:
        path = directory / "out" / "m.rbe"
        if path.read_bytes() == golden("v1/half.rbe"):
            return "old"
        try:
            with Model.open(path) as model:
                model.verify()
        except RbeError as error:
            return str(error)
        return "new"


class PackOutput(Pack):
    """Faults where the file is written."""

    def below(self, directory: Path) -> Path:
        return directory / "out"


class PackCache(Pack):
    """Faults where parts are kept, without which it does."""

    def below(self, directory: Path) -> Path:
        return directory / "cache"


class Conversations(Operation):
    """A question and its answer, into the store of the client, and its settings."""

    files = ("chats.sqlite3", "chats.sqlite3-wal", "chats.sqlite3-shm")

    def prepare(self, directory: Path) -> None:
        with ConversationStore(directory / "chats.sqlite3") as store:
            number = store.new("first", model="m.rbe", system="be brief")
            store.write(number, 0, [StoredMessage("user", "one"), StoredMessage("assistant", "two " * 3000)])

    def run(self, directory: Path) -> None:
        with ConversationStore(directory / "chats.sqlite3") as store:
            messages = [StoredMessage("user", "three"), StoredMessage("assistant", "four " * 3000)]
            store.write(1, 0, messages)
            store.save_settings({"theme": "light"})

    def state(self, directory: Path) -> str:
        with ConversationStore(directory / "chats.sqlite3") as store:
            contents = [message.content for message in store.load(1).messages]
            settings = store.settings()
        if contents == ["one", "two " * 3000] and settings == {}:
            return "old"
        if contents == ["three", "four " * 3000]:
            # They are two changes, of which each is whole.
            return "new" if settings == {"theme": "light"} else "old" if settings == {} else f"settings {settings}"
        return f"messages {[content[:9] for content in contents]}"


class ConversationStoreNew(Conversations):
    """The same in a directory without any."""

    def prepare(self, directory: Path) -> None:
        pass

    def run(self, directory: Path) -> None:
        with ConversationStore(directory / "chats.sqlite3") as store:
            known = store.ids()
        if not known:
            super().prepare(directory)
        super().run(directory)

    def state(self, directory: Path) -> str:
        with ConversationStore(directory / "chats.sqlite3") as store:
            if not store.ids():
                return "old"
            if not store.load(1).messages:
                return "old"
        return super().state(directory)


class Export(Operation):
    """A conversation as a file of its own."""

    files = ("chat.md",)

    def run(self, directory: Path) -> None:
        path = directory / "chat.md"
        if path.exists():
            path.unlink()
        messages = (StoredMessage("user", "one"), StoredMessage("assistant", "two"))
        export(StoredConversation(1, "first", "", "", 0.0, 0.0, messages), path)

    def state(self, directory: Path) -> str:
        path = directory / "chat.md"
        return "old" if not path.exists() else "new" if path.read_text().endswith("two\n") else path.read_text()


class SetOrigin(Operation):
    """What a model of the folder was packed from."""

    files = ("m.rbe", "m.origin.json")

    def _set(self, directory: Path, source: str) -> None:
        set_origin(directory / "m.rbe", Origin(source, "stamp" * 100, 4.0, "quick"))

    def prepare(self, directory: Path) -> None:
        self._set(directory, "old")

    def run(self, directory: Path) -> None:
        self._set(directory, "new")

    def state(self, directory: Path) -> str:
        origin = origin_of(directory / "m.rbe")
        return origin.source if origin is not None else (directory / "m.origin.json").read_text()


class CopyModel(Operation):
    """`rbe cp`."""

    files = ("m.rbe", "copy.rbe")

    def prepare(self, directory: Path) -> None:
        copy_golden("v1/half.rbe", directory / "m.rbe")

    def run(self, directory: Path) -> None:
        if (directory / "copy.rbe").exists():
            (directory / "copy.rbe").unlink()
        copy(directory / "m.rbe", directory / "copy.rbe")

    def state(self, directory: Path) -> str:
        path = directory / "copy.rbe"
        if not path.exists():
            return "old"
        return "new" if path.read_bytes() == golden("v1/half.rbe") else "another file"


class PutPart(Operation):
    """A part into a file, in place, as `rbe eval --power all` does with modes."""

    files = ("m.rbe",)

    def prepare(self, directory: Path) -> None:
        copy_golden("v3/parts.rbe", directory / "m.rbe")

    def run(self, directory: Path) -> None:
        replace_parts(directory / "m.rbe", [Part("note", 1, b"new" * 5000)])

    def state(self, directory: Path) -> str:
        path = directory / "m.rbe"
        if path.read_bytes() == golden("v3/parts.rbe"):
            return "old"
        with Model.open(path) as model:
            model.verify()
        return "new" if read_parts(path)["note"].data == b"new" * 5000 else "another part"


class Carry(Operation):
    """One program that carries its model, as `rbe self` makes it."""

    files = ("m.rbe", "rbe", "both")

    def prepare(self, directory: Path) -> None:
        copy_golden("v1/half.rbe", directory / "m.rbe")
        shutil.copy(library_path().parent / "rbe", directory / "rbe")
        (directory / "both").write_bytes(b"old")

    def run(self, directory: Path) -> None:
        carry(directory / "m.rbe", directory / "rbe", directory / "both", replace=True)

    def state(self, directory: Path) -> str:
        if (directory / "both").read_bytes() == b"old":
            return "old"
        command = [directory / "both", "run", "-p", "a", "-n", "2"]
        done = subprocess.run(command, capture_output=True, cwd=directory, timeout=60)
        return "new" if done.returncode == 0 else done.stderr.decode()


class Gguf(Operation):
    """The GGUF file that llama.cpp quantises for `rbe compare`, written by the package gguf."""

    files = ("source/*", "m.rbe", "m.gguf")

    def prepare(self, directory: Path) -> None:
        tiny_models.write(tiny_models.MODELS["llama"], directory / "source")
        pack(directory / "source", directory / "m.rbe", PackOptions(bits=32))
        (directory / "m.gguf").write_bytes(b"old")

    def run(self, directory: Path) -> None:
        with Model.open(directory / "m.rbe") as model:
            tokenizer = source_tokenizer(open_source(directory / "source"), model.info.vocabulary)
            write_gguf(model, tokenizer, directory / "m.gguf", 32)

    def state(self, directory: Path) -> str:
        path = directory / "m.gguf"
        if path.read_bytes() == b"old":
            return "old"
        open_source(path)
        return "new"


class Vectors(Operation):
    """`rbe embed --npy`."""

    files = ("v.npy",)

    def prepare(self, directory: Path) -> None:
        (directory / "v.npy").write_bytes(b"old")

    def run(self, directory: Path) -> None:
        save(directory / "v.npy", np.ones((100, 64), np.float32))

    def state(self, directory: Path) -> str:
        path = directory / "v.npy"
        return "old" if path.read_bytes() == b"old" else "new" if np.load(path).sum() == 6400 else "other numbers"


class SearchIndex(Operation):
    """`rbe index` of a folder that has changed."""

    files = ("notes.idx", "notes.idx-wal", "notes.idx-shm", "notes.idx-journal", "notes/a.md")

    def prepare(self, directory: Path) -> None:
        (directory / "notes").mkdir()
        (directory / "notes" / "a.md").write_text("old\n")
        self._index(directory)
        (directory / "notes" / "a.md").write_text("new\n" * 200)

    def _index(self, directory: Path) -> None:
        from word_embedder import WIDTH, WordEmbedder  # of tests/search

        path = directory / "notes.idx"
        made = MadeWith("f" * 32, "words", "/models/words.rbe", WIDTH, 40)
        with Index.open(path) if path.exists() else Index.make(path, made) as index:
            update(index, [directory / "notes"], WordEmbedder(), Progress(), lambda line: None)

    def run(self, directory: Path) -> None:
        self._index(directory)

    def state(self, directory: Path) -> str:
        from word_embedder import WordEmbedder

        with Index.open(directory / "notes.idx") as index:
            (found,) = {one.text.split()[0] for one in index.nearest(WordEmbedder().vectors(["new"])[0], 3)}
            return found


class BuildFolder(Operation):
    """The folder of a target of `rbe build`."""

    files = ("target/rbe", "target/SHA256SUMS")
    next_run = (".target.old/*",)  # where not even the old name can be given back

    def _build(self, directory: Path, content: str) -> None:
        with new_folder(directory / "target") as part:
            (part / "rbe").write_text(content)
            write_sums(part)

    def prepare(self, directory: Path) -> None:
        self._build(directory, "old")

    def run(self, directory: Path) -> None:
        self._build(directory, "new")

    def state(self, directory: Path) -> str:
        found = next(name for name in ("target", ".target.old") if (directory / name).exists())  # the next one takes it
        program = directory / found / "rbe"
        content = program.read_text()
        sums = (directory / found / "SHA256SUMS").read_text()
        return content if hashlib.sha256(content.encode()).hexdigest() in sums else "sums of other files"


OPERATIONS: dict[str, Operation] = {
    "save": SaveSession(), "pack": PackOutput(), "pack cache": PackCache(), "conversations": Conversations(),
    "new conversations": ConversationStoreNew(), "export": Export(), "origin": SetOrigin(), "copy": CopyModel(),
    "part": PutPart(), "carry": Carry(), "vectors": Vectors(), "index": SearchIndex(), "build": BuildFolder(),
    "gguf": Gguf(),
}  # fmt: skip


def golden(name: str) -> bytes:
    return (Path(__file__).resolve().parents[1] / "golden" / name).read_bytes()


def copy_golden(name: str, path: Path) -> None:
    path.write_bytes(golden(name))
