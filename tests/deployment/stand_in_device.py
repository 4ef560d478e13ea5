"""A device on this machine: a real sshd on loopback whose sessions say aarch64 and run aarch64 programs by qemu."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

Deploy = Callable[..., "subprocess.CompletedProcess[str]"]
"""deploy(*arguments, to=..., file=..., port=..., reach=..., program=...): the finished `rbe deploy`."""

SSHD = "/usr/sbin/sshd"
EMULATOR = "qemu-aarch64-static"
SOURCE = Path(__file__).with_name("device_shim.c")

_UNAME = """#!/bin/sh
case $1 in
-m) echo "${RBE_MACHINE:-aarch64}" ;;
-s) echo "${RBE_SYSTEM:-Linux}" ;;
*) exec /bin/uname "$@" ;;
esac
"""
# What lies in /proc, where a test says something else.
_SED = """#!/bin/sh
for last; do :; done
case $last in
/proc/meminfo) exec /bin/sed -n "$2" "$RBE_DEVICE/meminfo" ;;
/proc/cpuinfo) exec /bin/sed "$1" "$2" "$3" "$4" "$5" "$6" "$7" "$RBE_DEVICE/cpuinfo" ;;
*) exec /bin/sed "$@" ;;
esac
"""
_DF = """#!/bin/sh
[ -e "$RBE_DEVICE/free_kib" ] || exec /bin/df "$@"
echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'
echo "/dev/a card 99999999 1 $(cat "$RBE_DEVICE/free_kib") 99% /"
"""
_SHELL = """#!/bin/sh
export HOME={home} RBE_DEVICE={device} PATH={bin}:$PATH
. "$RBE_DEVICE/settings"
LD_PRELOAD={shim} exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""


def compile_shim(folder: Path) -> Path:
    """Skips where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler: the stand-in device needs one")
    shim = folder / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", shim, SOURCE, "-ldl"], check=True)
    return shim


@dataclass
class StandInDevice:
    """address: user@127.0.0.1. options: what `rbe deploy` needs to reach it. home: the home directory of its user."""

    folder: Path
    port: int
    options: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def set(self, **variables: str) -> None:
        """Variables of its sessions; RBE_MACHINE, RBE_SYSTEM and those of device_shim.c are obeyed by its programs."""
        lines = [f"export {name}='{value}'\n" for name, value in variables.items()]
        (self.folder / "settings").write_text("".join(lines), encoding="utf-8")

    def set_commands(self, text: str) -> None:
        """For the shell of its sessions."""
        with open(self.folder / "settings", "a", encoding="utf-8") as file:
            file.write(text)

    def set_memory(self, available_kib: int) -> None:
        lines = f"MemTotal:  {available_kib + 100000} kB\nMemAvailable:  {available_kib} kB\n"
        (self.folder / "meminfo").write_text(lines, encoding="ascii")

    def set_free_disk(self, kib: int) -> None:
        (self.folder / "free_kib").write_text(f"{kib}\n", encoding="ascii")


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _make_folder(folder: Path, shim: Path) -> None:
    (folder / "home").mkdir()
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("uname", _UNAME), ("sed", _SED), ("df", _DF)):
        _write_program(programs / name, text)
    shell = _SHELL.format(home=folder / "home", device=folder, bin=programs, shim=shim)
    _write_program(folder / "shell", shell)
    (folder / "cpuinfo").write_text("processor : 0\nFeatures\t: fp asimd crc32 asimddp\n", encoding="ascii")


def _write_configuration(folder: Path, port: int) -> None:
    for name in ("host_key", "user_key", "other_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    key = (folder / "host_key.pub").read_text(encoding="ascii").split()
    (folder / "known_hosts").write_text(f"device {key[0]} {key[1]}\n", encoding="ascii")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nPermitRootLogin yes\n"
        f"KbdInteractiveAuthentication no\nSetEnv RBE_EMULATOR={shutil.which(EMULATOR)} QEMU_CPU=cortex-a72\n"
        f"ForceCommand {folder}/shell\n",
        encoding="ascii",
    )


@contextlib.contextmanager
def stand_in_device(folder: Path) -> Iterator[StandInDevice]:
    """Runs one. Skips where sshd, qemu or a compiler is missing."""
    if not os.access(SSHD, os.X_OK) or shutil.which("ssh") is None:
        pytest.skip("no sshd: apt install openssh-server openssh-client")
    if shutil.which(EMULATOR) is None:
        pytest.skip("no qemu-aarch64-static: apt install qemu-user-static")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # which Debian's service makes
    port = _free_port()
    _make_folder(folder, compile_shim(folder))
    _write_configuration(folder, port)
    device = StandInDevice(folder, port)
    device.set()
    device.set_memory(4_000_000)
    with open(folder / "sshd.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log, start_new_session=True)
        try:
            _await(port, server, folder / "sshd.log")
            device.options = ssh_options(folder)
            yield device
        finally:
            server.terminate()
            server.wait()
            _end_sessions(server.pid)


def ssh_options(folder: Path, key: str = "user_key", known: str = "known_hosts") -> list[str]:
    """As `rbe deploy` takes them."""
    pairs = (f"IdentityFile={folder}/{key}", "IdentitiesOnly=yes", f"UserKnownHostsFile={folder}/{known}")
    others = ("HostKeyAlias=device", "GlobalKnownHostsFile=/dev/null", "IdentityAgent=none")
    return [word for pair in (*pairs, *others) for word in ("--ssh-option", pair)]


def _await(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if server.poll() is not None:
            break
        time.sleep(0.02)
    pytest.fail(f"sshd does not start: {log.read_text(encoding='utf-8')}")


def _end_sessions(server: int) -> None:
    """Of the sshd that has ended: they are in process groups of their own, and end with their connections."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server, signal.SIGTERM)


class CuttingProxy:
    """Passes connections on to a port, and cuts each of the first `cuts` after so many bytes from the client."""

    def __init__(self, port: int, after: int, cuts: int) -> None:
        self._to, self._after, self._cuts = port, after, cuts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.n_cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                limit = self._after if self.n_cut < self._cuts else None
                for arguments in ((client, server, limit), (server, client, None)):
                    threading.Thread(target=self._pass, args=arguments, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        n_bytes = 0
        with contextlib.suppress(OSError):
            while block := source.recv(1 << 16):
                n_bytes += len(block)
                sink.sendall(block)
                if limit is not None and n_bytes >= limit:
                    self.n_cut += 1
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
