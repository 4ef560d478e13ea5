"""What `rbe serve` says of where it is: addresses, the key in them, QR codes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from rbe_edge.server.address import page_url, reachable_host

COMMAND = [sys.executable, "-m", "rbe_edge", "serve", "--port", "0", "-t", "1"]
HALVES = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


def test_addresses() -> None:
    assert page_url("127.0.0.1", 8080) == "http://127.0.0.1:8080/"
    assert page_url("::1", 80) == "http://[::1]:80/"
    assert reachable_host("192.168.1.5") == "192.168.1.5"
    for bound in ("0.0.0.0", "::"):
        found = reachable_host(bound)
        assert found and found not in ("0.0.0.0", "::")
    key = "a /?#%&+\"<key>'"
    url = urlsplit(page_url("10.0.0.1", 8080, key))
    assert unquote(url.fragment.removeprefix("key=")) == key and (url.path, url.query) == ("/", "")


def test_a_machine_without_a_network_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> socket.socket:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "socket", unreachable)
    assert reachable_host("0.0.0.0") == socket.gethostname()


def test_a_code_holds_the_address() -> None:
    segno = pytest.importorskip("segno")
    from rbe_edge.cli.qr_code import qr_code

    url = "http://192.168.1.5:8080/#key=secret"
    rows: list[list[int]] = []
    for line in qr_code(url, coloured=False).splitlines():
        pairs = [HALVES[letter] for letter in line]
        rows += [[pair[0] for pair in pairs], [pair[1] for pair in pairs]]
    expected = [
        [int(bool(one)) for one in row] for row in segno.make(url, error="m", micro=False).matrix_iter(border=4)
    ]
    assert rows[: len(expected)] == expected and not any(map(any, rows[len(expected) :]))
    coloured = qr_code(url, coloured=True).splitlines()
    assert all(line.startswith("\x1b[30;107m") and line.endswith("\x1b[0m") for line in coloured)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--qr"], "no phone reaches 127.0.0.1"),
        (["--qr", "--json", "--host", "0.0.0.0", "--api-key", "k"], "exclude one another"),
    ],
)
def test_codes_that_help_nobody_are_refused(arguments: list[str], words: str) -> None:
    pytest.importorskip("uvicorn")
    done = subprocess.run([*COMMAND, *arguments], cwd=os.sep, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0 and words in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("has_code", [False, True])
def test_the_key_is_written_where_a_person_asks_for_it(has_code: bool) -> None:
    """Standard output is no terminal here, but maybe the log of a service."""
    pytest.importorskip("uvicorn")
    if has_code:
        pytest.importorskip("segno")
    command = [*COMMAND, "--host", "0.0.0.0", "--api-key", "the key", *(["--qr"] if has_code else [])]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(
        command,
        cwd=os.sep,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        process.terminate()
        rest = process.stdout.read()
    host = reachable_host("0.0.0.0")
    assert first.startswith(f"demo at http://{host}:") and first.endswith("/v1; Ctrl-C stops it\n")
    page = first.split()[2].removesuffix("v1;")
    assert second == f"chat in a browser: {page}\n"
    if has_code:
        from rbe_edge.cli.qr_code import qr_code

        assert rest.startswith(qr_code(f"{page}#key=the%20key", coloured=False))
    assert "the key" not in first + second + rest and "the%20key" not in first + second + rest


def test_without_segno_a_line_says_so(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    code = (
        "import sys; sys.modules['segno'] = None\n"
        "from rbe_edge.cli.main import main; sys.exit(main(['serve', '--qr', '--host', '0.0.0.0', '--api-key', 'k']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "pip install 'rbe-edge[qr]'" in done.stderr
