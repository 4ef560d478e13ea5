"""Progress: what a listener hears of work and of its parts, and how it stops them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models

from rbe_edge import Model
from rbe_edge.errors import Cancelled
from rbe_edge.packing.pack import PackOptions, pack
from rbe_edge.progress import Progress


def test_what_a_listener_hears() -> None:
    heard: list[tuple[str, int, int]] = []
    progress = Progress(lambda *step: heard.append(step), "reading", 10)
    progress.tell()
    progress.tell("encoding", 4)
    progress(5, 20)
    assert heard == [("reading", 0, 10), ("encoding", 4, 10), ("encoding", 5, 20)]
    heard.clear()
    part = progress.share("a tensor", 8)
    part(1, 3)
    part(3, 3)
    progress.of("measuring")(1, 2)
    progress.step()
    progress.step()
    assert heard == [
        ("a tensor", 7, 20), ("a tensor", 13, 20), ("measuring", 1, 2), ("a tensor", 13, 20), ("a tensor", 14, 20)
    ]  # fmt: skip


def test_nobody_need_listen() -> None:
    Progress().tell("reading", 1, 2)


def test_true_stops_and_other_values_do_not() -> None:
    Progress(lambda what, done, total: 1).tell()
    for tell in (Progress(lambda *step: True).tell, Progress(Progress(lambda *step: True).tell).tell):
        with pytest.raises(Cancelled):
            tell()


def test_it_goes_down_to_the_library(tiny_model: Path) -> None:
    """A session takes it as its report; stopped, the context is as before."""
    heard: list[tuple[str, int, int]] = []

    def listen(what: str, done: int, total: int) -> bool:
        heard.append((what, done, total))
        return len(heard) == 2

    with Model.open(tiny_model) as model, model.session(context=256, pass_tokens=16) as session:
        with pytest.raises(Cancelled):
            session.prefill([3] * 128, progress=Progress(listen, "reading"))
        assert session.position == 0 and [step[0] for step in heard] == ["reading"] * 2


@pytest.mark.parametrize("at", ["reading", "encoding layers.0.attention.q", "writing"])
def test_packing_that_is_stopped_leaves_nothing(tmp_path: Path, at: str) -> None:
    source = tiny_models.write(tiny_models.MODELS["llama"], tmp_path / "tiny")
    with pytest.raises(Cancelled):
        pack(source, tmp_path / "m.rbe", PackOptions(calibrate="none"), lambda what, done, total: what == at)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
