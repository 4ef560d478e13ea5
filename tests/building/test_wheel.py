"""Wheels for other machines, made of this machine's library where only their content counts."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from rbe_edge import _native
from rbe_edge._version import __version__
from rbe_edge.building import sbom, sources, wheel
from rbe_edge.building.compile import PROGRAM
from rbe_edge.errors import BuildError, MissingExtra

pytest.importorskip("pyproject_metadata")

INFO = f"rbe_edge-{__version__}.dist-info"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = Path(_native.library().path)
    if library.name != "librbe.so":
        pytest.skip("needs a library of Linux")
    return wheel.write_wheel(library, tmp_path_factory.mktemp("wheel"), "manylinux_2_17_x86_64", audited=False)


def test_every_file_is_recorded_with_its_hash(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        records = {row[0]: row[1:] for row in csv.reader(io.StringIO(archive.read(f"{INFO}/RECORD").decode()))}
        assert sorted(records) == sorted(archive.namelist())
        for name, (digest, n_bytes) in records.items():
            if not name.endswith("/RECORD"):
                content = archive.read(name)
                encoded = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                assert digest == f"sha256={encoded}" and int(n_bytes) == len(content)


def test_it_holds_the_package_its_sources_and_one_library(built: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        names = set(archive.namelist())
        assert archive.read("rbe_edge/librbe.so") == Path(_native.library().path).read_bytes()
        tags = message_from_bytes(archive.read(f"{INFO}/WHEEL")).get_all("Tag")
        metadata = message_from_bytes(archive.read(f"{INFO}/METADATA"))
        assert archive.read(f"{INFO}/entry_points.txt") == b"[console_scripts]\nrbe = rbe_edge.cli.start:start\n"
    assert tags == ["py3-none-manylinux_2_17_x86_64"]
    assert (metadata["Name"], metadata["Version"]) == ("rbe-edge", __version__)
    assert any(line.startswith("numpy") for line in metadata.get_all("Requires-Dist", []))
    for name in (
        "demo/demo.rbe",
        "cli/main.py",
        "building/sources/CMakeLists.txt",
        "building/sources/native/cli/main.c",
    ):
        assert f"rbe_edge/{name}" in names
    assert [name for name in names if name.endswith((".so", ".pyc", ".dll"))] == ["rbe_edge/librbe.so"]


def test_the_sources_are_small_and_complete(built: Path) -> None:
    carried = f"rbe_edge/{sources.CARRIED.as_posix()}/"
    with zipfile.ZipFile(built) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.startswith(carried)]
    assert 100_000 < sum(entry.compress_size for entry in entries) < 1_000_000
    root = sources.directory()
    for folder in ("src", "include", "cli"):
        for path in (root / "native" / folder).rglob("*.[ch]"):
            assert any(entry.filename == carried + path.relative_to(root).as_posix() for entry in entries), path


def test_the_same_files_give_the_same_wheel(built: Path, tmp_path: Path) -> None:
    again = wheel.write_wheel(Path(_native.library().path), tmp_path, "manylinux_2_17_x86_64", audited=False)
    assert again.read_bytes() == built.read_bytes()


def test_it_says_what_it_is_made_of(built: Path) -> None:
    """CycloneDX 1.6: what must be there, each reference once, and all that pyproject.toml declares."""
    with zipfile.ZipFile(built) as archive:
        bill = json.loads(archive.read(f"rbe_edge/{sbom.NAME}"))
        demo = hashlib.sha256(archive.read("rbe_edge/demo/demo.rbe")).hexdigest()
        needed = message_from_bytes(archive.read(f"{INFO}/METADATA")).get_all("Requires-Dist", [])
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["serialNumber"].startswith("urn:uuid:")
    own = bill["metadata"]["component"]
    assert (own["name"], own["version"], own["purl"]) == ("rbe-edge", __version__, f"pkg:pypi/rbe-edge@{__version__}")
    components = {one["bom-ref"]: one for one in bill["components"]}
    assert len(components) == len(bill["components"]) and all(
        {"type", "name"} <= set(one) for one in bill["components"]
    )
    assert components["demo.rbe"]["hashes"] == [{"alg": "SHA-256", "content": demo}]
    required = {re.split(r"[^A-Za-z0-9_.-]", one)[0].lower() for one in needed if "extra ==" not in one}
    python = {one["name"] for one in components.values() if one.get("purl") and one["scope"] == "required"}
    assert required == python and len(required) > 4
    served = (one for one in needed if re.search("extra == .server", one))
    optional = {re.split(r"[^A-Za-z0-9_.-]", one)[0].lower() for one in served}
    assert optional and all(components[f"pkg:pypi/{name}"]["scope"] == "optional" for name in optional)
    (root,) = bill["dependencies"]
    assert root["ref"] == own["bom-ref"]
    assert set(root["dependsOn"]) == {name for name, one in components.items() if one["scope"] == "required"}


def test_pip_makes_the_same_bill(tmp_path: Path) -> None:
    """CMake runs the module as a program, without the package, and installs what it writes."""
    root, out = sources.directory(), tmp_path / "bill.json"
    program = Path(sbom.__file__)
    done = subprocess.run([sys.executable, "-I", str(program), str(root), str(out)], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8") == sbom.text(root, sources.PACKAGE)
    text = (root / "native" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f"install(FILES ${{CMAKE_CURRENT_BINARY_DIR}}/{sbom.NAME} DESTINATION rbe_edge)" in text
    installed = sources.PACKAGE / sbom.NAME
    if sources.PACKAGE / sources.CARRIED == root:  # this package was installed by pip
        assert installed.read_text(encoding="utf-8") == out.read_text(encoding="utf-8")


def test_installed_it_finds_its_own_sources(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(built) as archive:
        archive.extractall(tmp_path / "site")
    code = "from rbe_edge.building import sources; print(sources.directory())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == (tmp_path / "site" / "rbe_edge" / "building" / "sources").resolve()


def test_a_wheel_of_pip_carries_the_same_sources() -> None:
    """CMake installs them for scikit-build-core: by folders, which are those that are carried."""
    root = sources.directory()
    text = (root / "native" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "install(DIRECTORY src include cli cmake DESTINATION ${RBE_CARRIED}/native" in text
    assert {name.split("/")[1] for name in sources.files(root) if name.startswith("native/")} == {
        "src", "include", "cli", "cmake", "CMakeLists.txt",
    }  # fmt: skip


def test_the_programs_name_is_that_of_cmake() -> None:
    text = (sources.directory() / "native" / "CMakeLists.txt").read_text(encoding="utf-8")
    assert f"add_executable({PROGRAM} " in text or f"OUTPUT_NAME {PROGRAM}" in text


@pytest.mark.skipif(sys.platform != "linux", reason="auditwheel runs on Linux alone")
def test_auditwheel_says_where_the_library_of_this_machine_runs(tmp_path: Path) -> None:
    pytest.importorskip("auditwheel")
    if os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("written for the machines that tests run on")
    path = wheel.write_wheel(Path(_native.library().path), tmp_path, "linux", audited=True)
    assert "manylinux" in path.name or "musllinux" in path.name
    assert path.name.endswith(f"_{os.uname().machine}.whl") and list(tmp_path.iterdir()) == [path]


def _said(monkeypatch: pytest.MonkeyPatch, tag: str, *needed: str) -> None:
    """Puts that into auditwheel's mouth."""
    monkeypatch.setattr(f"{wheel.__name__}._audit", lambda path: (tag, set(needed)))


@pytest.mark.skipif(sys.platform != "linux", reason="auditwheel runs on Linux alone")
def test_a_library_of_musl_may_need_musl_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Path(_native.library().path)
    _said(monkeypatch, "linux_x86_64", "libc.so")
    path = wheel.write_wheel(library, tmp_path, "musllinux_1_2_x86_64", audited=True)
    assert path.name.endswith("-py3-none-musllinux_1_2_x86_64.whl") and list(tmp_path.iterdir()) == [path]
    _said(monkeypatch, "linux_x86_64", "libc.so", "libgomp.so.1")
    with pytest.raises(BuildError, match=r"needs more than Linux distributions share \(libc.so, libgomp.so.1\)"):
        wheel.write_wheel(library, tmp_path, "musllinux_1_2_x86_64", audited=True)
    _said(monkeypatch, "linux_x86_64", "libc.so")
    with pytest.raises(BuildError, match="needs more"):
        wheel.write_wheel(library, tmp_path, "manylinux_2_17_x86_64", audited=True)


def test_what_is_no_library_of_linux(tmp_path: Path) -> None:
    other = tmp_path / "librbe.so"
    other.write_bytes(b"MZ" + bytes(100))
    with pytest.raises(BuildError, match="is no library of a Linux"):
        wheel.write_wheel(other, tmp_path, "linux", audited=True)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyproject_metadata", None)
    with pytest.raises(MissingExtra, match=r"pyproject_metadata.*pip install 'rbe-edge\[build\]'"):
        wheel.require_extra(audited=False)
