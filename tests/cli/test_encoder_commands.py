"""rbe embed, index, search, fill and eval --glue, and what other commands say of encoders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders
from command_line import Rbe, one_line

from rbe_edge.cli.embed_command import table
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.runtime.model import Model, demo_path

Encoders = Callable[[str], Path]

# ---- embed ----


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_embed_texts_and_lines(rbe: Rbe, tiny_encoder: Encoders) -> None:
    file = tiny_encoder("sentence_mean")
    texts = ["the cat", "a dog runs"]
    found = rows(rbe("embed", file, *texts))
    assert [one["text"] for one in found] == texts
    with Model.open(file) as model:
        expected = model.embed(texts)
    assert np.array_equal(np.array([one["embedding"] for one in found], dtype=np.float32), expected)
    assert rows(rbe("embed", file, "-", input="the cat\r\n\n  \na dog runs")) == found
    assert rows(rbe("embed", file, input="the cat\na dog runs\n")) == found
    assert rbe("embed", file, "-", input="").stdout == ""


def test_embed_answers_lines_as_they_come(tiny_encoder: Encoders, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rbe_edge", "embed", str(tiny_encoder("sentence_mean")), "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=tmp_path, text=True) as running:
        assert running.stdin is not None and running.stdout is not None
        for text in ("the cat", "a dog"):
            running.stdin.write(text + "\n")
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["text"] == text
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130


def test_embed_npy_and_table(rbe: Rbe, tiny_encoder: Encoders, tmp_path: Path) -> None:
    file = tiny_encoder("sentence_cls")
    assert rbe("embed", file, "the cat", "a dog", "--npy", "out.npy").stdout == ""
    found = np.load(tmp_path / "out.npy")
    with Model.open(file) as model:
        assert found.dtype == np.float32 and np.array_equal(found, model.embed(["the cat", "a dog"]))
        other = model.embed(["the cat"], prompt="query")
    prompted = rows(rbe("embed", file, "the cat", "--prompt", "query"))[0]["embedding"]
    assert np.allclose(prompted, other[0], atol=1e-6)
    lines = rbe("embed", file, "the cat", "a dog", "--table").stdout.splitlines()
    assert len(lines) == 3 and all(len(line) <= 80 for line in lines)
    assert lines[1].startswith(" 1  the cat ") and f"{found[0] @ found[1]:.2f}" in lines[1] and "1.00" in lines[2]


def test_a_table_of_many_texts_fits() -> None:
    texts = [f"text {number} \x1b[31m" + "x" * 90 for number in range(20)]
    lines = list(table(texts, np.eye(20, dtype=np.float32) * 3, 80))
    assert max(map(len, lines)) <= 80 and "\x1b" not in "".join(lines)
    assert lines.count("") == 2 and sum(line.count("1.00") for line in lines) == 20


def test_embed_by_a_decoder_and_pooling(rbe: Rbe, tiny_encoder: Encoders) -> None:
    line = one_line(rbe("embed", "demo", "Hello!"), 1)
    assert "is a decoder, which nobody trained to embed texts" in line and "--pooling mean" in line
    (found,) = rows(rbe("embed", "demo", "Hello!", "--pooling", "last"))
    assert np.linalg.norm(found["embedding"]) == pytest.approx(1, abs=1e-5)
    assert "--pooling" in one_line(rbe("embed", tiny_encoder("bert_masked"), "the cat"), 1)
    assert len(rows(rbe("embed", tiny_encoder("bert_masked"), "the cat", "--pooling", "max"))) == 1
    assert "is a classifier, whose numbers" in one_line(rbe("embed", tiny_encoder("bert_classes"), "the cat"), 1)


@pytest.mark.parametrize(
    ("words", "text", "code", "line"),
    [
        (["the " * 100], "", 1, "text 1: it has 102 tokens, and this model takes at most 32; shorten it, or cut it "
                                "(--cut)"),
        ([""], "", 2, "text 1 is empty"), (["a", " "], "", 2, "text 2 is empty"),
        (["-", "a"], "", 2, "give one of both"),
        (["a", "--prompt", "query"], "", 2, "no prompt query"), (["--table"], "", 2, "standard input has no line"),
        (["-", "--table"], "a\n" * 100, 2, "--table shows 99 texts at most"),
        (["a", "--npy", "no/such/folder.npy"], "", 2, "folder.npy"),
    ],
)  # fmt: skip
def test_embed_in_one_line(rbe: Rbe, tiny_encoder: Encoders, words: list[str], text: str, code: int, line: str) -> None:
    assert line in one_line(rbe("embed", tiny_encoder("sentence_mean"), *words, input=text), code)


def test_embed_cuts_where_it_is_told_to(rbe: Rbe, tiny_encoder: Encoders, tmp_path: Path) -> None:
    file = tiny_encoder("sentence_mean")
    long, short = (rows(rbe("embed", file, "the " * n, "--cut"))[0]["embedding"] for n in (100, 30))
    assert long == short
    lines = "the cat\n" * 300 + "the " * 100 + "\n"
    far = rbe("embed", file, "-", input=lines)
    assert far.returncode == 1 and far.stderr.startswith("rbe: text 301: it has 102 tokens")
    command = [sys.executable, "-m", "rbe_edge", "embed", file, "-"]
    bad = subprocess.run(command, input=b"a\n\xff\n", cwd=tmp_path, capture_output=True, check=False)
    assert bad.returncode == 2 and b"line 2 of standard input is no UTF-8" in bad.stderr


# ---- fill ----


def test_fill(rbe: Rbe, tiny_encoder: Encoders) -> None:
    file = tiny_encoder("bert_masked")
    with Model.open(file) as model:
        expected = model.fill("the [MASK] runs [MASK]", top=3)
    found = json.loads(rbe("fill", file, "the [MASK] runs [MASK]", "-n", 3, "--json").stdout)
    assert [[(one["word"], one["probability"]) for one in gap] for gap in found["gaps"]] == [
        [(word, round(share, 6)) for word, share in gap] for gap in expected
    ]
    lines = rbe("fill", file, "the [MASK] runs [MASK]", "-n", 3).stdout.splitlines()
    assert lines[0] == "gap 1" and lines[5] == "gap 2" and len(lines) == 9 and " %  " in lines[1]
    assert len(rbe("fill", file, "the [MASK]").stdout.splitlines()) == 5
    assert "[MASK]" in one_line(rbe("fill", file, "the cat"), 2)
    assert "no head that fills in words" in one_line(rbe("fill", tiny_encoder("bert"), "the [MASK]"), 2)
    assert "no head that fills in words" in one_line(rbe("fill", "demo", "the [MASK]"), 2)
    assert "empty" in one_line(rbe("fill", file, " "), 2)
    assert "--top" in one_line(rbe("fill", file, "the [MASK]", "--top", 0), 2)


# ---- index and search ----


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "car.md").write_text("# Car\n\nI left the car on the third floor of the garage behind the station.\n")
    (folder / "soup.txt").write_text("Fry the onions slowly, then add stock and bread.\n")
    (folder / "bank.txt").write_text("The bank closes at four; bring the passport.\n")
    (folder / "noise.txt").write_bytes(b"\0\1")
    return folder


def test_index_and_search(rbe: Rbe, minilm_rbe: Path, notes: Path, tmp_path: Path) -> None:
    made = rbe("index", notes, "-o", "notes.idx", "--model", minilm_rbe)
    assert made.returncode == 0 and made.stdout == "notes.idx: 3 passages; files: 3 new, 1 skipped\n"
    assert made.stderr == f"rbe: {notes}/noise.txt: skipped (it is binary)\n"
    found = rbe("search", "notes.idx", "where", "did", "I", "park").stdout.splitlines()
    assert found[0].endswith("  notes/car.md:1") and found[1].strip().startswith("Car: I left the car")
    score = float(found[0].split()[0])
    told = json.loads(rbe("search", "notes.idx", "where did I park", "-n", 2, "--json").stdout)
    first, second = told["results"]
    assert told["query"] == "where did I park" and first["path"] == "notes/car.md" and first["line"] == 1
    assert first["cosine"] == pytest.approx(score, abs=0.01) and first["cosine"] > second["cosine"] + 0.2
    # What has changed is read again, in the folders that it is of.
    (notes / "soup.txt").unlink()
    (notes / "bank.txt").write_text("The library is shut on Mondays.\n")
    again = rbe("index", "-o", "notes.idx", "--json")
    assert json.loads(again.stdout) == {
        "index": "notes.idx", "all_passages": 2, "added": 0, "changed": 1, "removed": 1, "unchanged": 1, "skipped": 1,
        "passages": 1,
    }  # fmt: skip
    assert "bank.txt" in rbe("search", "notes.idx", "borrowing books").stdout.splitlines()[0]


def test_another_model_is_refused(rbe: Rbe, tiny_encoder: Encoders, notes: Path, tmp_path: Path) -> None:
    mean, other, model = tiny_encoder("sentence_mean"), tiny_encoder("sentence_cls"), tmp_path / "mine.rbe"
    model.write_bytes(mean.read_bytes())
    assert rbe("index", notes, "-o", "i", "-m", model).returncode == 0
    for command in (["search", "i", "cat", "-m", other], ["index", notes, "-o", "i", "-m", other]):
        line = one_line(rbe(*command), 1)
        assert f"i was made with mine ({model})" in line or f"i was made with sentence_mean ({model})" in line
    assert rbe("search", "i", "cat", "-m", mean).returncode == 0  # the same one elsewhere
    model.unlink()
    for command in (["search", "i", "cat"], ["index", "-o", "i"]):
        assert "is not there any more; say with --model where it is" in one_line(rbe(*command), 2)
    assert rbe("index", "-o", "i", "-m", mean).returncode == 0


def test_a_cross_encoder_puts_in_order(rbe: Rbe, tiny_encoder: Encoders, notes: Path) -> None:
    score = tiny_encoder("bert_score")
    assert rbe("index", notes, "-o", "i", "-m", tiny_encoder("sentence_mean")).returncode == 0
    found = json.loads(rbe("search", "i", "the cat", "--rerank", score, "--json", "-n", 2).stdout)["results"]
    texts = [one["text"] for one in json.loads(rbe("search", "i", "the cat", "-n", 30, "--json").stdout)["results"]]
    assert len(texts) > 2
    with Model.open(score) as model:
        expected = [(texts[place], value) for place, value in model.rank("the cat", texts)][:2]
    assert [one["text"] for one in found] == [text for text, _ in expected]
    assert [one["score"] for one in found] == pytest.approx([value for _, value in expected], abs=1e-5)
    line = one_line(rbe("search", "i", "the cat", "--rerank", tiny_encoder("sentence_mean")), 2)
    assert "cross encoder" in line


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["index", "notes/car.md", "-o", "i", "-m", "demo"], 2, "notes/car.md is no folder"),
        (["index", "notes", "-o", "notes/car.md", "-m", "demo"], 1, "notes/car.md: is no index of `rbe index`"),
        (["index", "notes", "-o", "i", "-m", "demo"], 1, "makes no embeddings; give a sentence encoder"),
        (["search", "i", "cat"], 1, "i is no index; make one: rbe index FOLDER -o i --model MODEL"),
        (["search", "notes/car.md", "cat"], 1, "notes/car.md: is no index of `rbe index`"),
        (["search", "i", " "], 2, "the question is empty"), (["search", "i", "a", "-n", "0"], 2, "--top"),
    ],
)  # fmt: skip
def test_index_and_search_in_one_line(rbe: Rbe, notes: Path, words: list[str], code: int, line: str) -> None:
    assert line in one_line(rbe(*words), code)


def test_the_only_sentence_encoder_is_taken(
    rbe: Rbe, tiny_encoder: Encoders, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "data" / "rbe_edge" / "models"
    folder.mkdir(parents=True)
    os.link(tiny_encoder("bert_score"), folder / "score.rbe")
    assert "such as sentence-transformers/" in one_line(rbe("index", notes, "-o", "i"), 2)
    os.link(tiny_encoder("sentence_mean"), folder / "mean-4bit.rbe")
    made = rbe("index", notes, "-o", "i")
    assert made.returncode == 0 and made.stderr.startswith("rbe: by mean:4bit; --model takes another\n")
    os.link(tiny_encoder("sentence_cls"), folder / "cls.rbe")
    assert "such as cls or mean:4bit" in one_line(rbe("index", notes, "-o", "j"), 2)
    assert rbe("index", "-o", "i").returncode == 0  # the one that it was made with


def test_an_index_without_folders(rbe: Rbe, tiny_encoder: Encoders, notes: Path, tmp_path: Path) -> None:
    encoder = tiny_encoder("sentence_mean")
    assert "is not there yet; give a folder" in one_line(rbe("index", "-o", "i", "-m", encoder), 2)
    (tmp_path / "empty").mkdir()
    assert rbe("index", "empty", "-o", "i", "-m", encoder).stdout == "i: 0 passages; files: none\n"
    nothing = rbe("search", "i", "cat")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "i holds no passages\n")
    (tmp_path / "empty").rmdir()
    gone = rbe("index", "-o", "i")
    assert gone.returncode == 2 and gone.stderr.splitlines()[-1] == "rbe: no folder of i is there; give one"


def test_ctrl_c_keeps_what_was_read(tiny_encoder: Encoders, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(4000):
        (folder / f"{number:04}.txt").write_text(f"the cat runs {number} times")
    command = [sys.executable, "-m", "rbe_edge", "index", "many", "-o", "i", "-m", str(tiny_encoder("sentence_mean"))]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None and not (tmp_path / "i").exists():
            time.sleep(0.01)
        time.sleep(0.2)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) in (0, 130)
        assert running.stderr is not None and "Traceback" not in running.stderr.read()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert again.stdout.startswith("i: 4000 passages")


# ---- GLUE ----


def test_glue_by_a_head_of_classes(rbe: Rbe, tiny_encoder: Encoders, tmp_path: Path) -> None:
    """The names of the model's classes say which number of the task each is."""
    source = tiny_encoders.write(tiny_encoders.ENCODERS["bert_classes"], tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    names = ["contradiction", "entailment", "neutral"]  # 2, 0 and 1 of MNLI
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    (source / "config.json").write_text(json.dumps(config))
    encoder = pack(source, tmp_path / "classes.rbe", PackOptions(bits=32, calibrate="none")).path
    pairs = [("the cat", text) for text in ("a", "the dog", "runs")]
    with Model.open(encoder) as model, model.encoder() as running:
        given = [(2, 0, 1)[best] for best in running.pooled(pairs).argmax(axis=1)]
    labels = [given[0], given[1], (given[2] + 1) % 3]
    lines = [
        json.dumps({"premise": first, "hypothesis": second, "label": label})
        for (first, second), label in zip(pairs, labels, strict=True)
    ]
    (tmp_path / "dev.jsonl").write_text("\n".join(lines))
    done = rbe("eval", encoder, "--glue", "mnli", "dev.jsonl", "--json")
    assert json.loads(done.stdout)["glue"]["accuracy"] == pytest.approx(2 / 3)
    unnamed = rbe("eval", tiny_encoder("bert_classes"), "--glue", "mnli", "dev.jsonl")
    assert "the model's classes are class 0, class 1, class 2" in one_line(unnamed, 2)


def test_glue_by_embeddings(rbe: Rbe, minilm_rbe: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    happy = ["What a lovely film.", "I loved every minute.", "A wonderful, warm story.", "Great acting, great fun."]
    bad = ["A dull waste of time.", "I hated all of it.", "A boring, empty story.", "Terrible acting, no fun."]

    def write(name: str, good: list[str], poor: list[str]) -> None:
        texts = [(text, 1) for text in good] + [(text, 0) for text in poor]
        (tmp_path / name).write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in texts))

    write("train.tsv", happy, bad)
    write("dev.tsv", ["A lovely, warm film.", "Great fun!"], ["A terrible, boring film.", "I hated it."])
    train = ["--glue-train", "train.tsv"]
    done = rbe("eval", minilm_rbe, "--glue", "sst-2", "dev.tsv", *train, "--source", minilm_rbe)
    assert done.stdout.splitlines() == [
        "dev.tsv: sst-2, 4 examples, by a fitted head; scores x 100",
        "  accuracy      100.00   source  100.00   difference +0.00",
    ]
    table = rbe("eval", minilm_rbe, "--glue", "SST2", "dev.tsv", *train, "--markdown").stdout
    assert table.splitlines()[2] == "| sst-2 | 4 | accuracy | 100.00 |  |  |"
    assert "--glue-train FILE" in one_line(rbe("eval", minilm_rbe, "--glue", "sst-2", "dev.tsv"), 2)


def test_glue_by_cosines(rbe: Rbe, minilm_rbe: Path, tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text(
        "sentence1\tsentence2\tscore\nA dog plays.\tA puppy plays.\t4.5\nA dog plays.\tA cat sleeps.\t1.5\n"
        "A dog plays.\tPrices rose.\t0\n"
    )
    done = json.loads(rbe("eval", minilm_rbe, "--glue", "sts-b", "dev.tsv", "--json").stdout)["glue"]
    assert done["spearman"] == pytest.approx(1) and done["pearson"] > 0.8 and done["head"] == "cosine"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--glue", "glue", "x"], "glue is no task of GLUE"), (["--glue-train", "x"], "give --glue TASK FILE"),
        (["--glue", "rte", "x", "--text", "y"], "leave out --text"), (["--glue", "rte", "x"], "x: cannot be read"),
        (["--glue", "rte", "x", "--limit", "0"], "--limit is a count"),
        (["--glue", "rte", "x", "--window", "5"], "--window"),
        (["--glue", "rte", "x", "--sts", "y"], "leave out --text, --choices, --gsm8k, --sts"),
    ],
)  # fmt: skip
def test_glue_in_one_line(rbe_here: Rbe, words: list[str], line: str) -> None:
    assert line in one_line(rbe_here("eval", demo_path(), *words), 2)


def test_glue_of_a_decoder_and_without_scikit_learn(
    rbe_here: Rbe, minilm_rbe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "dev.tsv"
    file.write_text("sentence\tlabel\nA\t1\nB\t0\n")
    done = rbe_here("eval", demo_path(), "--glue", "sst-2", file)
    assert "has neither classes nor embeddings" in one_line(done, 1)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    done = rbe_here("eval", minilm_rbe, "--glue", "sst-2", file, "--glue-train", file)
    assert "pip install 'rbe-edge[glue]'" in one_line(done, 1)


def test_eval_without_flags_and_fit(rbe: Rbe, tiny_encoder: Callable[[str], Path]) -> None:
    """What measures an encoder is named; and it has no cache."""
    for name in ("bert", "bert_classes"):
        said = one_line(rbe("eval", tiny_encoder(name)), 2)
        assert "--sts FILE" in said and "--glue TASK FILE" in said and "--source" in said
    assert "--text FILE" in one_line(rbe("eval", demo_path()), 2)
    found = json.loads(rbe("fit", tiny_encoder("bert"), "--json").stdout)
    assert found["kv_bytes"] == 0 and found["pass_bytes"] > 0


# ---- other commands ----


def test_chat_and_run_say_what_an_encoder_is_for(rbe: Rbe, tiny_encoder: Encoders) -> None:
    what = {
        "sentence_mean": "a sentence encoder, for rbe embed, rbe index and rbe search", "bert_score": "a cross encoder",
        "bert_masked": "a masked-word encoder, for rbe fill", "bert": "an encoder, for rbe embed --pooling mean",
    }  # fmt: skip
    for name, words in what.items():
        line = one_line(rbe("chat", tiny_encoder(name), "Hello!"), 1)
        assert "writes no text: it is " + words in line
    assert "writes no text" in one_line(rbe("run", tiny_encoder("bert"), "-p", "Hello!"), 1)


def test_list_says_which_are_encoders(rbe: Rbe, tiny_encoder: Encoders, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("sentence_mean", "bert_score"):
        os.link(tiny_encoder(name), folder / f"{name}.rbe")
    lines = rbe("list", folder).stdout.splitlines()
    assert "kind" in lines[0] and "cross encoder" in lines[1] and "sentence encoder" in lines[2]
    told = json.loads(rbe("list", "--json", folder).stdout)["models"]
    assert [one["kind"] for one in told] == ["cross encoder", "sentence encoder"]
    assert "kind" not in rbe("list", demo_path().parent).stdout.splitlines()[0]


def test_pack_says_how_to_try_an_encoder(rbe: Rbe, tmp_path: Path) -> None:
    source = tiny_encoders.write(tiny_encoders.ENCODERS["sentence_mean"], tmp_path / "source")
    done = rbe("pack", source, "-o", "out.rbe", "--bits", 32)
    assert done.stdout.splitlines()[-1].startswith("try it: rbe embed out.rbe ")
