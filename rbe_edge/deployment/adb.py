"""A phone or tablet over the real `adb` program, which talks to its own server, and that to the device."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rbe_edge.deployment.channel import Answer, ConnectionLost, Sent
from rbe_edge.errors import DeployError
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.terminal_text import one_line

_PIECE = 16 << 20  # `adb push` resumes nothing: this much is lost where the cable is
_ANSWER_S = 30  # for `adb get-state`, its server's start included

#: What adb says, and what we say.
_FINAL = (
    (
        "unauthorized",
        "the phone does not know this computer yet; unlock it, and accept the question that it shows (USB debugging)",
    ),
    ("more than one device", "several devices are there; name one of `adb devices` with --serial"),
    (
        "no permissions",
        "this user may not use the USB device; see `adb devices`, and add yourself to the group plugdev",
    ),
)
_NOT_THERE = (
    "no device is there; switch on USB debugging (developer options) and plug it in, or `adb connect HOST:PORT`"
)
_PASSING = (
    r"no devices|device '.*' not found|device .* not found|offline|closed|disconnected|protocol fault|cannot connect"
)


class AdbChannel:
    """See Channel. Raises DeployError where there is no adb."""

    def __init__(self, serial: str | None = None) -> None:
        """serial: as `adb devices` shows it; None: the only one."""
        if shutil.which("adb") is None:
            raise DeployError(
                "there is no adb on this machine; install it: apt install adb (or Android's platform-tools)"
            )
        self.name = f"adb {serial}" if serial else "adb"
        self._command = ["adb", *(["-s", serial] if serial else [])]
        self._was_open = False

    def open(self) -> None:
        try:
            done = self._adb("get-state", timeout_s=_ANSWER_S)
        except subprocess.TimeoutExpired:
            raise ConnectionLost("adb does not answer") from None
        if done.code == 0 and done.out.strip() == "device":
            self._was_open = True
            return
        said = one_line(done.err.strip() or done.out, 300)
        for pattern, message in _FINAL:
            if re.search(pattern, said):
                raise DeployError(f"{self.name}: {message}")
        if self._was_open:
            raise ConnectionLost(f"the device is away ({said})")
        if re.search(_PASSING, said) and "offline" not in said:
            raise DeployError(f"{self.name}: {_NOT_THERE}")
        raise DeployError(f"{self.name}: adb says: {said or 'nothing'}; plug the device in again, or `adb kill-server`")

    def run(self, script: str, arguments: Sequence[str] = ()) -> Answer:
        words = shlex.join(["sh", "-s", "--", *arguments])
        answer = self._adb("shell", "-T", words, given=script.encode())
        self._check(answer)
        return answer

    def append(self, path: str, file: Path, start: int, end: int, sent: Sent) -> None:
        piece_there = f"{path}.piece"
        with scratch_directory("deploy") as scratch, open(file, "rb") as source:
            source.seek(start)
            while start < end or start == end == 0:
                piece = source.read(min(_PIECE, end - start))
                (scratch / "piece").write_bytes(piece)
                answer = self._adb("push", str(scratch / "piece"), piece_there)
                self._check(answer)
                if answer.code == 0:
                    answer = self.run('cat "$1" >>"$2" && rm -f "$1"', [piece_there, path])
                if answer.code:
                    self.run('rm -f "$1"', [piece_there])
                    said = one_line((answer.err.strip() or answer.out).rpartition(": ")[2], 200)
                    raise DeployError(f"{self.name}: {path} cannot be written: {said}")
                start += len(piece)
                sent(len(piece))
                if not piece:
                    return

    def close(self) -> None:
        """adb's server stays, as it does for everyone."""

    def _adb(self, *arguments: str, given: bytes = b"", timeout_s: float | None = None) -> Answer:
        process = subprocess.Popen(
            [*self._command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(given, timeout=timeout_s)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        return Answer(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def _check(self, answer: Answer) -> None:
        """adb exits with 1 for all that fails, as a program there may: its words tell."""
        lines = [line for line in answer.err.splitlines() if line.startswith(("adb: ", "error: ", "- "))]
        if answer.code and any(re.search(_PASSING, line) for line in lines):
            raise ConnectionLost(f"the connection broke ({one_line(lines[-1], 100)})")
        if answer.code < 0:
            raise ConnectionLost("the connection broke")
