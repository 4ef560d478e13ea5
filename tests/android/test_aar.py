"""The AAR that android/build_aar.py builds with a stand-in NDK (ndk_stand_in.py says what that proves), and the app's
resources."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import jdk
import ndk_stand_in
import pytest

from rbe_edge.runtime.build import library_path

sys.path.append(str(jdk.REPOSITORY / "android"))
import build_aar

SCRIPT = jdk.REPOSITORY / "android" / "build_aar.py"
ELF_MACHINES = {"arm64-v8a": 183, "x86_64": 62}  # EM_AARCH64, EM_X86_64
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")  # Debian's android-framework-res

BUILT = sorted(ELF_MACHINES) if os.environ.get("RBE_LONG_TESTS") else ["arm64-v8a"]  # each takes a minute or two
needs_stand_in = pytest.mark.skipif(bool(ndk_stand_in.missing()), reason=ndk_stand_in.missing())


def _script(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    names = ("ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "ANDROID_HOME", "ANDROID_SDK_ROOT")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**clean, **environment})


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ndk_stand_in.make(tmp_path_factory.mktemp("ndk") / "27.2.12479018", jdk.home() / "include")


@pytest.fixture(scope="module")
def aar(stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("aar")
    abis = [word for abi in BUILT for word in ("--abi", abi)]
    run = _script("--out", out / "rbe.aar", "--work", out / "work", *abis, ANDROID_HOME=str(_sdk(stand_in, out)))
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{BUILT[-1]} ({len(BUILT)} of {len(BUILT)}) ..." in run.stdout and run.stderr == ""
    assert sorted(path.name for path in out.iterdir()) == ["rbe.aar", "sdk", "work"]
    return out / "rbe.aar"


def _sdk(stand_in: Path, out: Path) -> Path:
    """A folder in the shape of an SDK with two NDKs, of which the newer one is the stand-in."""
    (out / "sdk" / "ndk" / "9.0.1").mkdir(parents=True)
    (out / "sdk" / "ndk" / stand_in.name).symlink_to(stand_in)
    return out / "sdk"


def _segments(library: bytes) -> list[tuple[int, int]]:
    """Type and alignment of each segment of a 64-bit ELF file."""
    assert library[:5] == b"\x7fELF\x02"
    offset, size, count = *struct.unpack_from("<Q", library, 32), *struct.unpack_from("<HH", library, 54)
    headers = [struct.unpack_from("<II6Q", library, offset + index * size) for index in range(count)]
    return [(header[0], header[7]) for header in headers]


@needs_stand_in
def test_layout(aar: Path) -> None:
    with zipfile.ZipFile(aar) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "AndroidManifest.xml",
            "META-INF/com/android/build/gradle/aar-metadata.properties",
            "R.txt",
            "classes.jar",
            *(f"jni/{abi}/librbe_jni.so" for abi in BUILT),
            "proguard.txt",
        ]
        assert b'package="rbe.edge"' in archive.read("AndroidManifest.xml")
        assert b'android:minSdkVersion="26"' in archive.read("AndroidManifest.xml")
        assert b"minCompileSdk=26\n" in archive.read("META-INF/com/android/build/gradle/aar-metadata.properties")
        with archive.open("classes.jar") as inner, zipfile.ZipFile(inner) as classes:
            names = {path.stem for path in (jdk.LIBRARY / "main/java/rbe/edge").glob("*.java")}
            assert {f"rbe/edge/{name}.class" for name in names} <= set(classes.namelist())
            version = struct.unpack_from(">H", classes.read("rbe/edge/Model.class"), 6)[0]
            assert version == 52, "classes are those of Java 8"


@needs_stand_in
@pytest.mark.parametrize("abi", BUILT)
def test_libraries(aar: Path, abi: str) -> None:
    with zipfile.ZipFile(aar) as archive:
        library = archive.read(f"jni/{abi}/librbe_jni.so")
    assert struct.unpack_from("<H", library, 18)[0] == ELF_MACHINES[abi]
    loads = [alignment for kind, alignment in _segments(library) if kind == 1]
    assert len(loads) >= 2 and min(loads) >= 16384
    assert b"libgomp" not in library and b"libc++" not in library and b"libomp" not in library
    assert len(library) < 1_000_000


@needs_stand_in
def test_the_same_sources_give_the_same_bytes(aar: Path, stand_in: Path, tmp_path: Path) -> None:
    abis = [word for abi in BUILT for word in ("--abi", abi)]
    run = _script("--out", tmp_path / "again.aar", "--work", aar.parent / "work", "--ndk", stand_in, *abis)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "again.aar").read_bytes() == aar.read_bytes()


@needs_stand_in
def test_what_phones_lack_is_an_error_of_the_linker(stand_in: Path, tmp_path: Path) -> None:
    """aligned_alloc came with API level 28: the stand-in must refuse it, and take posix_memalign."""
    compiler = build_aar.find_ndk(str(stand_in)) / "aarch64-linux-android26-clang"
    source, out = tmp_path / "a.c", tmp_path / "a.so"
    command = [compiler, "-shared", "-fPIC", "-D_POSIX_C_SOURCE=200809L", "-Wl,-z,defs", source, "-o", out]
    for call, wrong in (
        ("aligned_alloc(64, 64)", "undefined symbol: aligned_alloc"),
        ("posix_memalign(&p, 64, 64)", ""),
    ):
        source.write_text(f"#include <stdlib.h>\nvoid *p;\nlong f(void) {{ return (long){call}; }}\n")
        run = subprocess.run(command, capture_output=True, text=True)
        assert (run.returncode != 0) == bool(wrong) and wrong in run.stderr, run.stderr


@needs_stand_in
def test_faults_are_found(stand_in: Path, tmp_path: Path) -> None:
    """The library of this machine is for no phone: the script must say so in each way."""
    readelf = build_aar.find_ndk(str(stand_in)) / "llvm-readelf"
    said = "; ".join(build_aar.faults(readelf, library_path(), build_aar.ABIS["arm64-v8a"]))
    for part in ("it is not for AArch64", "16 KB", "'libc.so.6'", "it exports ['rbe_"):
        assert part in said
    source = tmp_path / "c.c"
    # It calls something: newer zigs leave out a library that nobody needs.
    calls = 'int puts(const char *);\nint JNI_OnLoad(void) { return puts(""); }\n'
    source.write_text(calls + "int JNI_OnUnload(void) { return 0; }\n")
    compiler = readelf.with_name("aarch64-linux-android26-clang")
    for options, expected in (
        ([], []),
        (["-Wl,-z,max-page-size=4096"], ["its segments are aligned to"]),
        (["-Wl,-rpath,/x"], ["it has a RUNPATH"]),
        (["-Dshared=1", "-DJNI_OnUnload=other"], ["it exports ['JNI_OnLoad', 'other']"]),
    ):
        out = tmp_path / "c.so"
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-Wl,-z,max-page-size=16384", *options, source, "-o", out], check=True
        )
        found = build_aar.faults(readelf, out, build_aar.ABIS["arm64-v8a"])
        assert len(found) == len(expected) and all(
            one.startswith(start) for one, start in zip(found, expected, strict=True)
        )


def test_without_an_ndk_one_line_says_what_to_do(tmp_path: Path) -> None:
    for run in (
        _script("--work", tmp_path / "work"),
        _script("--work", tmp_path / "work", "--ndk", tmp_path),
        _script("--work", tmp_path / "work", ANDROID_NDK_HOME=str(tmp_path / "gone")),
    ):
        assert run.returncode == 1 and run.stdout == ""
        assert run.stderr.startswith("build_aar.py: ") and run.stderr.count("\n") == 1
        assert "ANDROID_NDK_HOME" in run.stderr
    assert _script("--abi", "mips").returncode == 2


@needs_stand_in
def test_a_folder_that_is_not_there_is_named(stand_in: Path, tmp_path: Path) -> None:
    run = _script("--ndk", stand_in, "--work", tmp_path / "work", "--out", tmp_path / "none" / "a.aar")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"build_aar.py: {tmp_path / 'none'} is no folder; make it, or give another --out\n"


@pytest.mark.skipif(
    shutil.which("aapt2") is None or not FRAMEWORK.exists(),
    reason="no resources of Android: apt install aapt android-framework-res",
)
def test_the_resources_of_the_app(tmp_path: Path) -> None:
    """Android's own tool takes the layout, the texts and the manifest, and the activity's names of them exist."""
    main = jdk.APP / "main"
    subprocess.run(["aapt2", "compile", "--dir", main / "res", "-o", tmp_path / "res.zip"], check=True)
    manifest = tmp_path / "AndroidManifest.xml"
    text = (main / "AndroidManifest.xml").read_text(encoding="utf-8")
    manifest.write_text(
        text.replace("<manifest ", '<manifest package="rbe.edge.app" '), encoding="utf-8"
    )  # Gradle's namespace
    levels = ["--min-sdk-version", "26", "--target-sdk-version", "29"]
    command = ["aapt2", "link", "-I", FRAMEWORK, "--manifest", manifest, *levels, "--java", tmp_path / "gen"]
    subprocess.run([*command, "-o", tmp_path / "app.apk", tmp_path / "res.zip"], check=True)
    assert "class string" in (tmp_path / "gen/rbe/edge/app/R.java").read_text(encoding="utf-8")
