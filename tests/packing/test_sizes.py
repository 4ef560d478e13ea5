"""How large a file becomes in words that people know: --size, and --like a type of llama.cpp."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from rbe_edge.cli.main import main
from rbe_edge.cli.pack_size import file_size
from rbe_edge.errors import OptionError, PackError
from rbe_edge.packing import likeness
from rbe_edge.packing.allocation import GAUSSIAN_ERROR
from rbe_edge.packing.likeness import bits_at, like, of_model
from rbe_edge.packing.outline import SizeRange, size_range
from rbe_edge.packing.pack import PackOptions, pack


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "source")


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("70MB", 70_000_000), ("70MiB", 73_400_320), ("1.2GB", 1_200_000_000), (" 1.5 kb ", 1500), ("0.1KiB", 102),
     ("1.000000001gb", 1_000_000_001)],
)  # fmt: skip
def test_sizes(text: str, n_bytes: int) -> None:
    assert file_size(text) == n_bytes


@pytest.mark.parametrize("text", ["", "70", "70M", "MB", "-1MB", "1e3MB", "infMB", "7,5MB", "9" * 40 + "MB", "70 TB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no size of a file"):
        file_size(text)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "lfm2", "gemma4"])
def test_every_size_of_the_range_can_be_packed(name: str, nested: bool, tmp_path: Path) -> None:
    source = tiny_models.write(tiny_models.MODELS[name], tmp_path / "source")
    known = size_range(source, nested=nested)
    for n_bytes in (known.smallest, (known.smallest + known.largest) // 2, known.largest):
        options = PackOptions(bits=known.bits_of(n_bytes), calibrate="none", nested=nested, force=True)
        packed = pack(source, tmp_path / "m.rbe", options)
        assert packed.file_bytes <= n_bytes and packed.parameters == known.parameters
    with pytest.raises(PackError, match=r"too small|give 2 to 8"):  # and the smallest is not far off
        bits = 8 * (known.smallest - 12000) / known.parameters
        pack(source, tmp_path / "m.rbe", PackOptions(bits=bits, calibrate="none", nested=nested, force=True))


def test_the_largest_that_fits_is_near(source: Path, tmp_path: Path) -> None:
    known = size_range(source)
    wanted = (known.smallest + known.largest) // 2
    command = ["pack", str(source), "-o", str(tmp_path / "m.rbe"), "--calibrate", "none", "--size"]
    assert main([*command, f"{wanted / 1000:.3f}KB"]) == 0
    assert 0.97 * wanted < (tmp_path / "m.rbe").stat().st_size <= wanted


def test_the_range_is_told_in_sizes_that_are_possible() -> None:
    for known in (SizeRange(33_712_345, 134_515_008), SizeRange(43_210, 98_765)):
        for n_bytes, word in ((known.smallest - 1, "smallest"), (known.largest + 1, "largest")):
            with pytest.raises(OptionError, match=f"the {word} is ") as raised:
                known.bits_of(n_bytes)
            told = str(raised.value).partition(f"the {word} is ")[2].split()[0]
            assert 2 <= known.bits_of(file_size(told)) <= 8


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--size", "1KB"], "the smallest is "), (["--size", "1GB"], "the largest is "),
        (["--size", "x"], "is no size"),
        (["--like", "Q4_X"], "no such type was measured; there are, by bits per weight of ours, Q4_0 ("),
        (["--like", "Q4_K_M", "--bits", "4"], "not allowed with"),
        (["--size", "1MB", "--bits", "4"], "not allowed with"),
        (["--like", "Q4_K_M", "--size", "1MB"], "not allowed with"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_one_line(more: list[str], why: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["pack", str(source), "-o", str(tmp_path / "m.rbe"), *more])
    except SystemExit as ended:
        code = int(ended.code or 0)
    error = capsys.readouterr().err
    assert code == 2 and why in error and error.startswith("rbe: ") and error.count("\n") == 1
    assert not (tmp_path / "m.rbe").exists()


def test_like_a_type(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    found = like("q4_k_m")
    assert 4 < found.bits < found.theirs - 1, "a size of ours that is smaller by a bit and more"
    asked: list[float] = []

    def packing(_source: str, _out: Path, options: PackOptions, _progress: object) -> None:
        asked.append(options.bits)
        raise PackError("enough")

    monkeypatch.setattr("rbe_edge.packing.pack.pack", packing)
    assert main(["pack", str(source), "-o", str(tmp_path / "m.rbe"), "--like", "Q4_K_M"]) == 1
    assert asked == [found.bits]
    assert (
        f"like Q4_K_M: {found.bits:g} bits per weight lose as much as its {found.theirs:g}" in capsys.readouterr().err
    )


def test_between_files_and_beyond_them() -> None:
    ours = [(3.0, 0.4), (4.0, 0.1), (5.0, 0.025)]
    assert bits_at(ours, 0.2) == pytest.approx(3.5) and bits_at(ours, 0.05) == pytest.approx(4.5)
    assert bits_at(ours, 0.4) == 3.0 and bits_at(ours, 0.025) == 5.0
    beyond = 0.025 * GAUSSIAN_ERROR[4, 2] / GAUSSIAN_ERROR[4, 1]
    assert bits_at(ours, beyond) == pytest.approx(6.0, abs=0.011)
    assert bits_at(ours, 0.4 * GAUSSIAN_ERROR[2,] / GAUSSIAN_ERROR[3,]) == pytest.approx(2.0, abs=0.011)
    assert bits_at(ours, 100.0) == 2.0 and bits_at(ours, 1e-9) == 8.0
    assert bits_at([(4.0, 0.1)], 0.0999) == pytest.approx(4.01), "rounded up, so that it never loses more"


def test_the_table_is_sound() -> None:
    """What is measured is of real models, and says less loss for more bits."""
    table = json.loads(likeness.TABLE.read_text(encoding="utf-8"))
    for entry in table["measured"]:
        assert entry["model"] and entry["text"] and len(entry["date"]) == 10
        assert all(math.isfinite(kl) and kl > 0 for _, kl in (*entry["rbe"], *entry["types"].values()))
        kls = [kl for _, kl in sorted(entry["rbe"])]
        assert kls == sorted(kls, reverse=True)
    assert {"Q3_K_M", "IQ4_XS", "Q4_K_M", "Q5_K_M"} <= {name for entry in table["measured"] for name in entry["types"]}


def test_the_model_that_needs_most_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [
        {"model": name, "date": "2026-01-01", "text": "t", "rbe": [[3, 0.4 * more], [5, 0.025 * more]],
         "types": {"Q4_0": [4.5, 0.1]}}
        for name, more in (("easy", 1), ("hard", 2))
    ]  # fmt: skip
    (tmp_path / "table").write_text(json.dumps({"measured": entries}))
    monkeypatch.setattr(likeness, "TABLE", tmp_path / "table")
    likeness.known_types.cache_clear()
    try:
        assert like("Q4_0") == of_model(entries[1])["Q4_0"] and like("Q4_0").bits == pytest.approx(4.5)
    finally:
        monkeypatch.undo()
        likeness.known_types.cache_clear()
