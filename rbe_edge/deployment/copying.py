"""Copies files onto a device: those that differ there, resumed where the connection broke, verified there, and under
their names only when they are whole."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rbe_edge.deployment.channel import Answer, Channel, Link
from rbe_edge.deployment.device import Device
from rbe_edge.errors import DeployError
from rbe_edge.progress import Progress
from rbe_edge.terminal_text import one_line, size

_BLOCK = 1 << 20
_DAMAGED_TRIES = 2

# Each script has $directory, $name and $part set, and `sum FILE`, which prints the SHA-256, or nothing without a tool.
_STATE = """
wanted=$1 mode=$2
for old in "$directory/.$name."*.part; do # of another version of the file
    [ "$old" = "$part" ] || rm -f "$old"
done
if [ -f "$directory/$name" ]; then
    bytes=$(wc -c <"$directory/$name")
    echo "rbe:whole=$((bytes))"
    [ "$((bytes))" = "$wanted" ] && echo "rbe:sum=$(sum "$directory/$name")"
    chmod "$mode" "$directory/$name" 2>/dev/null
fi
if [ -f "$part" ]; then
    bytes=$(wc -c <"$part")
    echo "rbe:part=$((bytes))"
    [ "$((bytes))" -le "$wanted" ] && echo "rbe:part_sum=$(sum "$part")"
fi
exit 0
"""

_DISCARD = 'rm -f "$part"\n'

_FINISH = """
[ -f "$part" ] || { [ -f "$directory/$name" ] && exit 0; } # the answer to this was lost, and we ask again
bytes=$(wc -c <"$part")
[ "$((bytes))" = "$1" ] || { rm -f "$part"; echo "rbe:damaged=$((bytes))"; exit 0; }
found=$(sum "$part")
[ -z "$found" ] || [ "$found" = "$2" ] || { rm -f "$part"; echo "rbe:damaged=$found"; exit 0; }
chmod "$3" "$part" && { sync "$part" 2>/dev/null || sync; } && mv -f "$part" "$directory/$name"
"""


@dataclass(frozen=True)
class Item:
    """A file that is to be on the device. name: there. digest: SHA-256 in hexadecimal. mode: its rights, in octal."""

    file: Path
    name: str
    size: int
    digest: str
    mode: str

    @property
    def part(self) -> str:
        """What it is called until it is whole. Of another version of the file it is called otherwise."""
        return f".{self.name}.{self.digest[:8]}.part"


@dataclass(frozen=True)
class Presence:
    """is_there: the whole file with this checksum. part: bytes of it that are there and right, from an earlier try."""

    is_there: bool
    part: int = 0


def item(file: Path, name: str, mode: str, progress: Progress) -> Item:
    """Reads the file once for its checksum; progress counts bytes. Raises OSError."""
    digest, n_bytes = hashlib.sha256(), 0
    with open(file, "rb") as source:
        total = file.stat().st_size
        while block := source.read(_BLOCK):
            digest.update(block)
            n_bytes += len(block)
            progress.tell(f"reading {file.name}", n_bytes, total)
    return Item(file, name, n_bytes, digest.hexdigest(), mode)


def _run(link: Link | Channel, device: Device, what: Item, script: str, *arguments: str) -> Answer:
    tool = f'{device.hash} <"$1" | cut -d " " -f 1' if device.hash else ":"
    start = (
        f"directory={shlex.quote(device.directory.rstrip('/'))} name={shlex.quote(what.name)}\n"
        f'part="$directory/"{shlex.quote(what.part)}\n'
        f"sum() {{ {tool}; }}\n"
    )
    return link.run(start + script, arguments)


def _facts(answer: Answer) -> dict[str, str]:
    lines = [line[4:].partition("=") for line in answer.out.splitlines() if line.startswith("rbe:")]
    return {key: value.strip() for key, _, value in lines}


def presence(link: Link | Channel, device: Device, what: Item) -> Presence:
    """What of the file is there. Without a tool for checksums there, a file of the same size is copied again, and a
    part is trusted by its name, which holds the checksum of the whole."""
    facts = _facts(_run(link, device, what, _STATE, str(what.size), what.mode))
    if facts.get("whole") == str(what.size) and facts.get("sum") == what.digest:
        return Presence(True)
    part = int(facts.get("part", "0") or 0)
    if not 0 < part <= what.size:
        return Presence(False)
    if device.hash and facts.get("part_sum") != _digest_of_start(what.file, part):
        return Presence(False)
    return Presence(False, part)


def _digest_of_start(file: Path, n_bytes: int) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as source:
        while n_bytes and (block := source.read(min(_BLOCK, n_bytes))):
            digest.update(block)
            n_bytes -= len(block)
    return digest.hexdigest()


class Copy:
    """Copies files, and counts what was sent. For one thread."""

    def __init__(self, link: Link, device: Device, progress: Progress) -> None:
        """progress: in bytes of all files, and what is there already counts as done."""
        self._link = link
        self._device = device
        self._progress = progress
        self.sent = 0  # bytes handed over, those of broken tries too
        self.resumed = 0  # bytes that an earlier try had left there

    def copy(self, what: Item) -> None:
        """Raises DeployError. What was sent of the file stays there for the next time, after Ctrl-C too."""
        done_before = self._progress.done
        for _ in range(_DAMAGED_TRIES):
            self._send(what, done_before)
            answer = _run(self._link, self._device, what, _FINISH, str(what.size), what.digest, what.mode)
            if answer.code:
                raise self._refused(what, answer)
            if "damaged" not in _facts(answer):
                self._progress.tell(done=done_before + what.size)
                return
        raise DeployError(
            f"{self._device.name}: {what.name} arrived damaged {_DAMAGED_TRIES} times, by its SHA-256; is {what.file} "
            "being written, or the device's disk failing?"
        )

    def _send(self, what: Item, done_before: int) -> None:
        self._make_directory()
        at, is_first = 0, True

        def sent(n_bytes: int) -> None:
            nonlocal at
            at += n_bytes
            self.sent += n_bytes
            self._progress.tell(f"copying {what.name}", done_before + at)

        def send(channel: Channel) -> None:
            nonlocal at, is_first
            found = presence(channel, self._device, what)
            at = what.size if found.is_there else found.part
            self.resumed += found.part if is_first else 0
            is_first = False
            self._progress.tell(f"copying {what.name}", done_before + at)
            if not found.is_there and not found.part:
                _run(channel, self._device, what, _DISCARD)
            if at < what.size or not what.size:
                channel.append(self._device.path(what.part), what.file, at, what.size, sent)

        self._link.persist(send, lambda: self.sent, f"what arrived of {what.name} ({size(what.size)}) stays there")

    def _make_directory(self) -> None:
        answer = self._link.run('mkdir -p "$1"', [self._device.directory])
        if answer.code:
            reason = one_line(answer.err.rpartition(": ")[2] or "unknown", 200)
            raise DeployError(
                f"{self._device.name}: {self._device.directory} cannot be made ({reason}); give another directory"
            )

    def _refused(self, what: Item, answer: Answer) -> DeployError:
        said = one_line(answer.err or answer.out, 200) or f"exit code {answer.code}"
        return DeployError(f"{self._device.name}: {what.name} cannot be put into {self._device.directory}: {said}")


def missing_bytes(items: Sequence[Item], found: Sequence[Presence]) -> int:
    """Of the disk, that the copies will take."""
    return sum(what.size - state.part for what, state in zip(items, found, strict=True) if not state.is_there)
