"""A phone on this machine: a daemon that speaks adb's protocol over TCP, with the services `shell,v2` and `sync`.

The real client talks to the real server, and that to this. What the phone calls /data/local/tmp is a folder here. The
protocol is described in Android's sources: packages/modules/adb, protocol.txt, SYNC.TXT and shell_protocol.h.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from stand_in_device import EMULATOR, compile_shim

_CNXN, _OPEN, _OKAY, _WRTE, _CLSE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
_VERSION = 0x01000001  # from which on no checksums are needed
_MOST = 256 << 10  # bytes of a message
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_BANNER = b"device::ro.product.name=stand-in;ro.product.model=Stand-in;ro.product.device=stand_in;features=shell_v2,cmd"
_TEMPORARY = b"/data/local/tmp"

_UNAME = '#!/bin/sh\nif [ "$1" = -m ]; then echo aarch64; else exec /bin/uname "$@"; fi\n'
_GETPROP = '#!/bin/sh\n[ "$1" = ro.build.version.sdk ] && echo 34\n'


class _Stream:
    """One service that the host has opened."""

    def __init__(self, phone: StandInPhone, connection: socket.socket, own: int, other: int) -> None:
        self._phone, self._connection, self._own, self._other = phone, connection, own, other
        self._may_write = threading.Event()
        self.received: queue.Queue[bytes] = queue.Queue()
        self._left = b""

    def acknowledged(self) -> None:
        self._may_write.set()

    def opened(self) -> None:
        self._phone.send(self._connection, _OKAY, self._own, self._other)
        self._may_write.set()

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), 1 << 15):
            self._may_write.wait(60)
            self._may_write.clear()
            self._phone.send(self._connection, _WRTE, self._own, self._other, data[start : start + (1 << 15)])

    def close(self) -> None:
        self._may_write.wait(60)
        self._phone.send(self._connection, _CLSE, self._own, self._other)

    def read(self, n_bytes: int) -> bytes:
        """Raises EOFError where the host has closed it."""
        while len(self._left) < n_bytes:
            block = self.received.get(timeout=120)
            if not block:
                raise EOFError
            self._left += block
        data, self._left = self._left[:n_bytes], self._left[n_bytes:]
        return data


@dataclass
class StandInPhone:
    """cut_after: bytes from the host after which the cable is pulled, once; None: never. n_cut: how often it was."""

    folder: Path
    port: int = 0
    cut_after: int | None = None
    n_cut: int = 0
    environment: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def temporary(self) -> Path:
        """Its /data/local/tmp."""
        return self.folder / "tmp"

    def send(self, connection: socket.socket, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._lock, contextlib.suppress(OSError):
            connection.sendall(head + data)

    def serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        streams: dict[int, _Stream] = {}
        n_bytes = 0
        with contextlib.suppress(OSError, EOFError), connection:
            while True:
                command, first, second, length, _, _ = struct.unpack("<6I", _receive(connection, 24))
                data = _receive(connection, length)
                n_bytes += length
                if self.cut_after is not None and n_bytes > self.cut_after:
                    self.cut_after, self.n_cut = None, self.n_cut + 1
                    break
                if command == _CNXN:
                    self.send(connection, _CNXN, _VERSION, _MOST, _BANNER)
                elif command == _OPEN:
                    stream = _Stream(self, connection, len(streams) + 1, first)
                    streams[len(streams) + 1] = stream
                    self._open(stream, data.rstrip(b"\0"))
                elif second in streams and command == _WRTE:
                    self.send(connection, _OKAY, second, first)
                    streams[second].received.put(data)
                elif second in streams and command == _OKAY:
                    streams[second].acknowledged()
                elif second in streams and command == _CLSE:
                    streams[second].received.put(b"")
                    streams[second].acknowledged()
        for stream in streams.values():
            stream.received.put(b"")
            stream.acknowledged()

    def _open(self, stream: _Stream, service: bytes) -> None:
        name, _, rest = service.partition(b":")
        stream.opened()
        if name.split(b",")[:2] == [b"shell", b"v2"]:
            threading.Thread(target=self._shell, args=(stream, rest), daemon=True).start()
        elif name == b"sync":
            threading.Thread(target=self._sync, args=(stream,), daemon=True).start()
        else:
            stream.close()

    def _here(self, data: bytes) -> bytes:
        return data.replace(_TEMPORARY, bytes(self.temporary))

    def _shell(self, stream: _Stream, command: bytes) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", self._here(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )
        assert process.stdin and process.stdout and process.stderr
        threading.Thread(target=self._feed, args=(stream, process), daemon=True).start()
        out = process.stdout.read()  # so little that both fit into their pipes
        err = process.stderr.read()
        for kind, data in ((_STDOUT, out), (_STDERR, err), (_EXIT, bytes([process.wait() & 0xFF]))):
            data = data.replace(bytes(self.temporary), _TEMPORARY)
            if data:
                stream.write(struct.pack("<BI", kind, len(data)) + data)
        stream.close()

    def _feed(self, stream: _Stream, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin
        with contextlib.suppress(EOFError, OSError):
            while True:
                kind, length = struct.unpack("<BI", stream.read(5))
                data = stream.read(length)
                if kind == _CLOSE_STDIN:
                    break
                if kind == _STDIN:
                    process.stdin.write(self._here(data))
                    process.stdin.flush()
        with contextlib.suppress(OSError):
            process.stdin.close()

    def _sync(self, stream: _Stream) -> None:
        with contextlib.suppress(EOFError):
            while True:
                request, length = struct.unpack("<4sI", stream.read(8))
                argument = self._here(stream.read(length) if request in (b"STAT", b"SEND") else b"").decode()
                if request == b"STAT":
                    path = Path(argument)
                    found = path.stat() if path.exists() else None
                    facts = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
                    stream.write(struct.pack("<4s3I", b"STAT", *facts))
                elif request == b"SEND":
                    stream.write(self._receive_file(stream, argument.rpartition(",")[0]))
                else:
                    break
        stream.close()

    def _receive_file(self, stream: _Stream, path: str) -> bytes:
        """The answer to SEND."""
        try:
            file = open(path, "wb")
        except OSError as reason:
            error = f"couldn't create file: {reason.strerror}".encode()
            return struct.pack("<4sI", b"FAIL", len(error)) + error
        with file:
            while True:
                request, length = struct.unpack("<4sI", stream.read(8))
                if request == b"DONE":
                    return struct.pack("<4sI", b"OKAY", 0)
                file.write(stream.read(length))


def _receive(connection: socket.socket, n_bytes: int) -> bytes:
    data = b""
    while len(data) < n_bytes:
        block = connection.recv(n_bytes - len(data))
        if not block:
            raise EOFError
        data += block
    return data


@contextlib.contextmanager
def stand_in_phone(folder: Path) -> Iterator[StandInPhone]:
    """Runs one. Skips where adb, qemu or a compiler is missing."""
    for program, package in (("adb", "adb"), (EMULATOR, "qemu-user-static")):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: apt install {package}")
    phone = StandInPhone(folder)
    phone.temporary.mkdir()
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("uname", _UNAME), ("getprop", _GETPROP)):
        (programs / name).write_text(text, encoding="utf-8")
        (programs / name).chmod(0o755)
    phone.environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "LD_PRELOAD": str(compile_shim(folder)),
        "RBE_EMULATOR": str(shutil.which(EMULATOR)),
        "QEMU_CPU": "cortex-a76",
    }
    with socket.create_server(("127.0.0.1", 0)) as listener:
        phone.port = listener.getsockname()[1]
        threading.Thread(target=phone.serve, args=(listener,), daemon=True).start()
        yield phone
