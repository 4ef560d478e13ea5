"""A device over the system's own ssh, in batch mode: it never asks, and what it would ask becomes a line to type.

One connection serves all commands (ControlMaster): signing in takes a second on a small board, and every command would
pay for it. The connection is a process of ours, so that its end is known. It runs `cat` on the device, which ends, and
with it the connection, when our end of its pipe is closed: even where we are killed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from rbe_edge.deployment.channel import Answer, ConnectionLost, Sent
from rbe_edge.deployment.ssh_failures import failure
from rbe_edge.errors import DeployError

# The first value of an option counts, so these stand before what the person gives, and what may be changed behind it.
_FIXED = ("BatchMode=yes", "RemoteCommand=none", "RequestTTY=no", "ClearAllForwardings=yes", "LogLevel=ERROR")
_DEFAULTS = ("ConnectTimeout=10", "ServerAliveInterval=10", "ServerAliveCountMax=3")  # a dead line is known in 40 s
_LOST = 255  # ssh's own exit code
_LONGEST_SOCKET = 60  # of 104 bytes; ssh adds 17, and a name of its own
_PIECE = 128 << 10


class SshChannel:
    """See Channel. Raises DeployError where there is no ssh."""

    def __init__(self, host: str, port: int | None = None, options: Sequence[str] = ()) -> None:
        """host: [user@]host. options: KEY=VALUE, as of `ssh -o`."""
        if shutil.which("ssh") is None:
            raise DeployError("there is no ssh on this machine; install it: apt install openssh-client")
        self.name = host
        self._port = port
        self._options = tuple(options)
        temporary = tempfile.gettempdir()
        self._directory = tempfile.mkdtemp(prefix="rbe-", dir=temporary if len(temporary) < _LONGEST_SOCKET else "/tmp")
        self._socket = os.path.join(self._directory, "s")
        self._master: subprocess.Popen[bytes] | None = None
        self._was_open = False

    def _command(self, *words: str) -> list[str]:
        """words: options of this call. The host comes behind them."""
        command = ["ssh", "-S", self._socket, *words]
        for option in (*_FIXED, *self._options, *_DEFAULTS):
            command += ["-o", option]
        return [*command, *(["-p", str(self._port)] if self._port else []), "--", self.name]

    def open(self) -> None:
        self._end_master()
        with tempfile.TemporaryFile() as said:
            self._master = subprocess.Popen(
                [*self._command("-M", "-o", "ControlPersist=no"), "cat >/dev/null"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for us, and we end it
            )
            while not os.path.exists(self._socket):  # it appears once we are signed in
                if self._master.poll() is not None:
                    raise failure(self.name, self._port, _text(said), was_open=self._was_open)
                time.sleep(0.02)
        self._was_open = True

    def run(self, script: str, arguments: Sequence[str] = ()) -> Answer:
        words = shlex.join(["sh", "-s", "--", *arguments])  # the login shell may be any; the script is for sh
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [*self._command("-o", "ControlMaster=no"), words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )
            with _ended(process):
                out, _ = process.communicate(script.encode())
            self._check(process.returncode, said)
            return Answer(process.returncode, out.decode("utf-8", "replace"), _text(said))

    def append(self, path: str, file: Path, start: int, end: int, sent: Sent) -> None:
        with tempfile.TemporaryFile() as said, open(file, "rb") as source:
            source.seek(start)
            process = subprocess.Popen(
                [*self._command("-o", "ControlMaster=no"), f"cat >> {shlex.quote(path)}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )
            with _ended(process):
                assert process.stdin is not None
                with contextlib.suppress(BrokenPipeError):  # its exit code says why
                    while start < end and (piece := source.read(min(_PIECE, end - start))):
                        process.stdin.write(piece)
                        process.stdin.flush()
                        start += len(piece)
                        sent(len(piece))
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                process.wait()
            self._check(process.returncode, said)
            if process.returncode:
                raise DeployError(f"{self.name}: {path} cannot be written: {_last(_text(said))}")

    def _check(self, code: int, said: IO[bytes]) -> None:
        ended = self._master.poll() if self._master is not None else _LOST
        if ended is not None and 0 <= ended < _LOST:
            raise DeployError(f"{self.name}: its login shell ends at once: {_last(_text(said))}; try: ssh {self.name}")
        if code == _LOST or code < 0 or ended is not None:
            raise ConnectionLost("the connection broke")

    def _end_master(self) -> None:
        master, self._master = self._master, None
        if master is not None:
            assert master.stdin is not None
            with contextlib.suppress(OSError):
                master.stdin.close()
            master.terminate()
            master.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._socket)

    def close(self) -> None:
        self._end_master()
        shutil.rmtree(self._directory, ignore_errors=True)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The process does not outlive the block, whatever comes: Ctrl-C above all."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _text(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read(1 << 16).decode("utf-8", "replace")


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it does not say why"
