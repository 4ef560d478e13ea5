"""A target's folder appears whole, or not at all."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from rbe_edge.building.output import SUMS, new_folder, write_sums
from rbe_edge.errors import BuildError


def _fill(place: Path, content: str) -> None:
    with new_folder(place) as folder:
        assert folder.parent == place.parent
        (folder / "bin").mkdir()
        (folder / "bin" / "rbe").write_text(content)
        assert write_sums(folder) == {"bin/rbe": len(content)}


def test_it_replaces_what_a_build_left(tmp_path: Path) -> None:
    place = tmp_path / "out" / "rpi5"
    _fill(place, "one")
    (place / "old.whl").touch()
    _fill(place, "two")
    assert sorted(path.name for path in place.iterdir()) == [SUMS, "bin"] and list(tmp_path.iterdir()) == [place.parent]
    assert list(place.parent.iterdir()) == [place]
    subprocess.run(["sha256sum", "-c", SUMS], cwd=place, check=True, capture_output=True)
    (place / "bin" / "rbe").write_text("other")
    assert subprocess.run(["sha256sum", "-c", SUMS], cwd=place, check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), RuntimeError()])
def test_what_breaks_off_leaves_nothing_and_the_old_one(tmp_path: Path, raised: BaseException) -> None:
    place = tmp_path / "rpi5"
    _fill(place, "one")
    with pytest.raises(type(raised)), new_folder(place) as folder:
        (folder / "half").touch()
        raise raised
    assert list(tmp_path.iterdir()) == [place] and (place / "bin" / "rbe").read_text() == "one"


def test_what_a_killed_build_left_goes(tmp_path: Path) -> None:
    left = tmp_path / ".rpi5.part"
    (left / "lib").mkdir(parents=True)
    (left / "file").touch()
    _fill(tmp_path / "rpi5", "one")
    assert [path.name for path in tmp_path.iterdir()] == ["rpi5"]
    assert sorted(path.name for path in (tmp_path / "rpi5").iterdir()) == [SUMS, "bin"]


def test_a_folder_of_others_stays(tmp_path: Path) -> None:
    place = tmp_path / "rpi5"
    place.mkdir()
    (place / "thesis.tex").touch()
    with pytest.raises(BuildError, match="not of `rbe build`"), new_folder(place):
        pass
    assert (place / "thesis.tex").exists()
    link = tmp_path / "rpi4"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BuildError, match="not of `rbe build`"), new_folder(link):
        pass


def test_two_at_once(tmp_path: Path) -> None:
    place = tmp_path / "rpi5"
    with new_folder(place) as folder:
        with pytest.raises(BuildError, match="being built by another process"), new_folder(place):
            pass
        assert folder.is_dir()
        write_sums(folder)
    assert place.is_dir()


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"No space left.*make room, or give another folder") as raised:
        with new_folder(tmp_path / "rpi5"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert "\n" not in str(raised.value) and list(tmp_path.iterdir()) == []


def test_no_directory_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="give another folder with -o"), new_folder(tmp_path / "file" / "rpi5"):
        pass
