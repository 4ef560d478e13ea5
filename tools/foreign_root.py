"""Does a wheel install and answer on another system? Debian of another processor is unpacked into a folder, the wheel
is installed there by that system's own Python under qemu, and its text is compared with this machine's.

    python tools/foreign_root.py arm64 dist/rpi5/rbe_edge-*-manylinux*_aarch64.whl --root /tmp/root-arm64
    python tools/foreign_root.py armhf dist/rpi-armv7/rbe_edge-*-manylinux*_armv7l.whl --root /tmp/root-armhf

Needs debootstrap (as root), qemu-user-static and the network; a folder that is there already is used as it is. The
system is not started: qemu is called by name, with the folder for its libraries, so nothing is registered or mounted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = "python3,python3-numpy,python3-pip,python3-jinja2,python3-rich"
TEXT = ("-p", "A small computer", "-n", "24", "--temp", "0.8", "-s", "7", "-t", "2")

#: Debian's name of a processor -> qemu, and the platforms of the wheels that its pip takes.
PROCESSORS = {
    "arm64": ("qemu-aarch64-static", ("manylinux_2_17_aarch64", "manylinux2014_aarch64")),
    "armhf": ("qemu-arm-static", ("manylinux_2_17_armv7l", "manylinux2014_armv7l")),
}


def call(command: list[str], at: Path | None = None) -> str:
    """Its standard output. Exits with the end of its errors where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RBE_"))}
    done = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"foreign_root.py: {' '.join(command[:6])} ...\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def make_root(root: Path, processor: str, suite: str) -> None:
    if not (root / "debootstrap").exists():
        command = ["debootstrap", "--foreign", "--arch", processor, "--variant=minbase", f"--include={PACKAGES}"]
        call([*command, suite, str(root)])
    if not list(root.glob("usr/bin/python3.*")):
        for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
            call(["dpkg-deb", "-x", str(package), str(root)])


def install(wheel: Path, root: Path, python: list[str], platforms: tuple[str, ...]) -> Path:
    """The wheel, and what Debian does not have; by the system's own pip, which judges the wheel's tag. Its folder."""
    found, to = root / "wheels", root / "opt/rbe"
    version = python[-1].rpartition("python")[2]
    choice = [word for each in platforms for word in ("--platform", each)]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *choice]
    call([*command, "--python-version", version, "-d", str(found), "safetensors"])
    command = [*python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--upgrade", "--target", str(to)]
    call([*command, str(wheel), *map(str, found.glob("safetensors*.whl"))])
    return to


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processor", choices=sorted(PROCESSORS))
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--root", type=Path, required=True, help="the folder of the other system")
    parser.add_argument("--suite", default="bookworm", help="of Debian (%(default)s)")
    arguments = parser.parse_args()
    emulator, platforms = PROCESSORS[arguments.processor]
    root = arguments.root.resolve()
    make_root(root, arguments.processor, arguments.suite)
    interpreter = min(root.glob("usr/bin/python3.[0-9]*[0-9]"))
    python = [emulator, "-L", str(root), str(interpreter)]
    installed = install(arguments.wheel.resolve(), root, python, platforms)
    demo = installed / "rbe_edge" / "demo" / "demo.rbe"
    there = call([*python, "-m", "rbe_edge", "run", str(demo), *TEXT], installed)
    command = [sys.executable, "-m", "rbe_edge", "run", str(demo), *TEXT]
    here = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY).stdout
    same = there == here != ""
    print(f"{arguments.wheel.name}: {len(there)} characters, {'those' if same else 'NOT those'} of this machine")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
