"""The ctypes binding: agreement with the headers, loading, statuses as exceptions, callbacks."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from rbe_edge import _native, errors

REPOSITORY = Path(__file__).resolve().parent.parent


def _load_check_abi() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_abi", REPOSITORY / "tools" / "check_abi.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def check_abi() -> ModuleType:
    return _load_check_abi()


@pytest.fixture
def compiler(check_abi: ModuleType) -> list[str]:
    command: list[str] | None = check_abi.compiler()
    if command is None:
        pytest.skip("no C compiler")
    return command


def test_binding_agrees_with_header(check_abi: ModuleType, compiler: list[str]) -> None:
    assert check_abi.differences(compiler) == []


def test_check_abi_sees_a_wrong_prototype(
    check_abi: ModuleType, compiler: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_native.PROTOTYPES, "rbe_tokenizer_size", (ctypes.c_uint64, [ctypes.c_void_p]))
    found = check_abi.differences(compiler)
    assert len(found) == 2 and all("rbe_tokenizer_size" in line for line in found)


def test_check_abi_sees_a_missing_function_and_a_wrong_constant(
    check_abi: ModuleType, compiler: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(_native.PROTOTYPES, "rbe_version")
    monkeypatch.setitem(_native.CONSTANTS, "RBE_ERROR_IO", 33)
    found = "\n".join(check_abi.differences(compiler))
    assert "functions:" in found and "RBE_ERROR_IO" in found


def test_check_abi_sees_a_wrong_field(
    check_abi: ModuleType, compiler: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(ctypes.Structure):
        _fields_ = [(name, ctypes.c_float if name == "n_strips" else ctype) for name, ctype in LAYOUT_FIELDS]

    monkeypatch.setitem(check_abi.STRUCTURES, "rbe_plane_layout", Wrong)
    found = check_abi.differences(compiler)
    assert any("rbe_plane_layout" in line and "n_strips" in line for line in found)


LAYOUT_FIELDS = [(field[0], field[1]) for field in _native.PlaneLayout._fields_]


def test_missing_library_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_native, "__file__", str(tmp_path / "_native.py"))
    monkeypatch.setattr(sys.modules["rbe_edge"], "__path__", [str(tmp_path)])
    monkeypatch.delenv("RBE_LIBRARY", raising=False)
    with pytest.raises(errors.NativeLibraryError, match=r"pip install \."):
        _native._library_path()


def test_library_beside_the_binding_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "librbe.dylib" if sys.platform == "darwin" else "librbe.so"
    (tmp_path / name).touch()
    monkeypatch.setattr(_native, "__file__", str(tmp_path / "_native.py"))
    monkeypatch.delenv("RBE_LIBRARY", raising=False)
    assert _native._library_path() == tmp_path / name
    monkeypatch.setenv("RBE_LIBRARY", "/elsewhere/librbe.so")
    assert _native._library_path() == Path("/elsewhere/librbe.so")


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.NativeLibraryError, match=r"absent\.so"):
        _native.Library(tmp_path / "absent.so")
    text = tmp_path / "text.so"
    text.write_text("not a library")
    with pytest.raises(errors.NativeLibraryError, match="cannot load"):
        _native.Library(text)
    other = ctypes.util.find_library("m")
    if other is not None:
        with pytest.raises(errors.NativeLibraryError, match="without rbe_version"):
            _native.Library(Path(other))


def test_library_of_another_version_is_refused(tmp_path: Path, compiler: list[str]) -> None:
    source = tmp_path / "other.c"
    source.write_text('const char *rbe_version(void) { return "9.9.9"; }')
    library = tmp_path / "other.so"
    subprocess.run([*compiler, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    with pytest.raises(errors.NativeLibraryError, match=r"version 9\.9\.9"):
        _native.Library(library)


def test_every_function_is_in_the_library() -> None:
    for name in _native.PROTOTYPES:
        assert getattr(_native.library(), name) is not None
    with pytest.raises(AttributeError):
        _ = _native.library().rbe_no_such_function


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (_native.ERROR_ARGUMENT, errors.PackError),
        (_native.ERROR_MEMORY, errors.PackError),
        (_native.ERROR_FORMAT, errors.PackError),
        (_native.ERROR_CONTEXT, errors.ContextFull),
        (_native.ERROR_CANCELLED, errors.Cancelled),
    ],
)
def test_statuses_become_exceptions(status: int, error: type[errors.RbeError]) -> None:
    with pytest.raises(error):
        _native.check(status, errors.PackError)
    _native.check(_native.OK)


def test_message_of_the_library_is_carried() -> None:
    handle = ctypes.POINTER(_native.TokenizerHandle)()
    blob = b"nonsense" * 8
    status = _native.library().rbe_tokenizer_open(blob, len(blob), ctypes.byref(handle))
    assert status == _native.ERROR_FORMAT and not handle
    with pytest.raises(errors.TokenizerError) as caught:
        _native.check(status, errors.TokenizerError)
    assert str(caught.value) == _native.library().rbe_last_error().decode()
    assert str(caught.value) not in ("", "malformed file")


@pytest.mark.parametrize("raised", [ValueError("from inside"), KeyboardInterrupt()])
def test_exceptions_cross_callbacks(raised: BaseException) -> None:
    def report(done: int, total: int) -> None:
        raise raised

    progress = _native.ReportCarrier(report)
    assert progress.callback(1, 2, None) == 1  # the work is told to stop
    with pytest.raises(type(raised)):
        progress.check(_native.ERROR_CANCELLED)
    progress.check(_native.OK)  # raised once


def test_progress_reports_and_stops() -> None:
    seen = []
    progress = _native.ReportCarrier(lambda done, total: seen.append((done, total)) or done == 2)  # type: ignore[func-returns-value]
    assert [progress.callback(done, 3, None) for done in (1, 2, 3)] == [0, 1, 0]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert _native.ReportCarrier().callback(1, 2, None) == 0


def test_log_carries_levels_and_exceptions() -> None:
    lines: list[tuple[int, str]] = []
    log = _native.Log(lambda level, message: lines.append((level, message)))
    log.callback(2, "caf\u00e9".encode(), None)
    assert lines == [(2, "caf\u00e9")]

    def fail(level: int, message: str) -> None:
        raise RuntimeError(message)

    failing = _native.Log(fail)
    failing.callback(1, b"oh", None)
    with pytest.raises(RuntimeError, match="oh"):
        failing.check(_native.OK)


def test_pointer_wants_the_exact_type() -> None:
    array = np.arange(6, dtype=np.float32)
    assert _native.pointer(array, ctypes.c_float)[5] == 5.0
    with pytest.raises(TypeError):
        _native.pointer(array, ctypes.c_double)
    with pytest.raises(TypeError):
        _native.pointer(array.reshape(2, 3).T, ctypes.c_float)


def test_kernel_sets_begin_with_scalar() -> None:
    sets = _native.kernel_sets()
    assert next(iter(sets)) == "scalar" and sets["scalar"]
