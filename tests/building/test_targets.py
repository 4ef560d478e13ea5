"""The table of targets: one of each, complete, and what is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rbe_edge.building.targets import REFUSED, TARGETS, find
from rbe_edge.errors import OptionError

PROMISED = {
    "rpi5", "rpi4", "rpi3", "rpi-zero2", "rpi-armv7", "linux-arm64", "linux-x86_64", "linux-riscv64", "android-arm64",
    "android-x86_64", "macos-arm64", "windows-x86_64",
}  # fmt: skip

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "porting.md"


def test_the_promised_targets_are_there_once() -> None:
    names = [target.name for target in TARGETS]
    assert set(names) == PROMISED and len(names) == len(PROMISED)
    platforms = {target.platform.name: target.platform for target in TARGETS}
    assert all(target.platform is platforms[target.platform.name] for target in TARGETS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_rows_are_complete(target: object) -> None:
    (found,) = [row for row in TARGETS if row is target]
    platform = found.platform
    assert find(found.name) is found
    assert found.memory_gib and list(found.memory_gib) == sorted(found.memory_gib)
    assert bool(found.cores) == (bool(platform.emulator) and platform.system != "Windows")
    assert bool(platform.gcc) == bool(platform.gcc_packages) == (platform.system == "Linux")
    assert bool(platform.ndk) == bool(platform.ndk_wheel) == (platform.system == "Android")
    assert platform.zig_program and platform.zig_cpu and "native" not in platform.zig_cpu
    # The C library of each triple is the one that the wheel's tag promises.
    if platform.system == "Linux":
        version = re.search(r"gnu(?:eabihf)?\.(\d+)\.(\d+)$", platform.zig_library)
        assert version and platform.library_wheel.startswith(f"manylinux_{version[1]}_{version[2]}_{platform.machine}")
        assert "musl" in platform.zig_program and platform.musl_wheel == f"musllinux_1_2_{platform.machine}"


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean rpi5"):
        find("rp5")
    with pytest.raises(OptionError, match="there are rpi5, rpi4"):
        find("toaster!")


@pytest.mark.parametrize("name", ["ios", "iOS", "armv6", "pi0", "rpi-zero"])
def test_refused_by_name_with_the_reason(name: str) -> None:
    with pytest.raises(OptionError) as raised:
        find(name)
    assert REFUSED[name.lower()] in str(raised.value) and "\n" not in str(raised.value)


def test_nothing_is_both_built_and_refused() -> None:
    assert not PROMISED & set(REFUSED)


def test_the_page_says_what_the_table_says() -> None:
    """docs/porting.md, row by row; the last column is free."""
    rows = re.findall(r"^\| `([a-z][\w-]+)` (\| .*\|)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, _ in rows] == [target.name for target in TARGETS]
    for (name, cells), target in zip(rows, TARGETS, strict=True):
        platform = target.platform
        by = ["zig", *(["gcc"] if platform.gcc else []), *(["ndk"] if platform.ndk else [])]
        tags = [tag.split(".")[0] for tag in (platform.library_wheel, platform.musl_wheel, platform.ndk_wheel) if tag]
        expected = [target.what, platform.baseline, ", ".join(by), ", ".join(target.cores) or "none", ", ".join(tags)]
        assert cells.startswith(f"| {' | '.join(expected)} |"), name
