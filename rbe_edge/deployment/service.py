"""`rbe serve` on the device: the Python package in an environment of its own, and a unit of systemd that starts it.

A user's own unit where the person is not root, so that nothing asks for a password. It listens on the device alone;
from elsewhere it is reached through ssh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rbe_edge.deployment.channel import Answer, Link
from rbe_edge.deployment.copying import Copy, item, presence
from rbe_edge.deployment.device import Device
from rbe_edge.deployment.program import Maker, target_for
from rbe_edge.deployment.room import Settings
from rbe_edge.errors import DeployError
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.progress import Listener, Progress
from rbe_edge.terminal_text import one_line

OLDEST_PYTHON = (3, 10)
UNIT = "rbe.service"
_START_S = 120  # a Pi Zero 2 needs 20 s for its imports alone, and reads the model behind that

_HAS_MUSL = 'for loader in /lib/ld-musl-*; do [ -e "$loader" ] && echo rbe:musl; done; exit 0'

_ENVIRONMENT = """
directory=$1 wheel=$2
{ # read as a whole before any of it runs: the script itself comes on standard input
exec </dev/null >&2
if [ ! -x "$directory/venv/bin/python" ]; then
    python3 -m venv "$directory/venv" || { rm -rf "$directory/venv"; exit 3; }
fi
pip() { "$directory/venv/bin/python" -m pip --quiet --disable-pip-version-check install "$@"; }
pip "$wheel[server]" || exit 4
pip --force-reinstall --no-deps "$wheel" # of the same version, it is otherwise taken for installed
exit
}
"""

_USER_UNIT = """
mkdir -p "$HOME/.config/systemd/user" && printf '%s' "$1" >"$HOME/.config/systemd/user/$2.new" &&
    mv -f "$HOME/.config/systemd/user/$2.new" "$HOME/.config/systemd/user/$2" || exit 3
XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)}
export XDG_RUNTIME_DIR
loginctl enable-linger </dev/null >/dev/null 2>&1 || echo rbe:no_linger
manage() { systemctl --user "$@" </dev/null; }
manage daemon-reload && manage enable "$2" 2>/dev/null && manage restart "$2"
"""

_SYSTEM_UNIT = """
printf '%s' "$1" >"/etc/systemd/system/$2.new" && mv -f "/etc/systemd/system/$2.new" "/etc/systemd/system/$2" || exit 3
manage() { systemctl "$@" </dev/null; }
manage daemon-reload && manage enable "$2" 2>/dev/null && manage restart "$2"
"""

_ANSWERS = """
"$1/venv/bin/python" - "$2" "$3" <<'END'
import sys, time, urllib.request
end = time.monotonic() + float(sys.argv[2])
while True:
    try:
        print("rbe:status=%d" % urllib.request.urlopen("http://127.0.0.1:%s/v1/models" % sys.argv[1], timeout=5).status)
        break
    except OSError as reason:
        if time.monotonic() > end:
            print("rbe:reason=%s" % reason)
            break
        time.sleep(0.5)
END
"""

_JOURNAL = """
journalctl $1 -u "$2" -n 5 -o cat --no-pager </dev/null 2>/dev/null
exit 0
"""


@dataclass(frozen=True)
class Service:
    """unit: of systemd. url: on the device. sent_bytes: for the Python package. remark: what a person should know, or
    ""."""

    unit: str
    url: str
    sent_bytes: int
    remark: str


def unit_text(device: Device, model: str, settings: Settings, port: int) -> str:
    """The unit. As root it is of the system, and may write nothing and do nothing that root may."""
    words = [device.path("venv/bin/python"), "-m", "rbe_edge", "serve", device.path(model), "--port", str(port)]
    words += settings.flags()
    guards = (
        "ProtectSystem=strict\nProtectHome=read-only\nPrivateTmp=yes\nPrivateDevices=yes\nCapabilityBoundingSet=\n"
        if device.is_root
        else ""
    )
    return (
        f"[Unit]\nDescription=rbe serve {_escaped(model)}\n"
        f"{'After=network.target' if device.is_root else ''}\n"
        f"[Service]\nType=notify\nWatchdogSec=120\nExecStart={' '.join(map(_quoted, words))}\n"
        "Restart=on-failure\nRestartSec=5\n"
        f"NoNewPrivileges=yes\n{guards}"
        f"\n[Install]\nWantedBy={'multi-user.target' if device.is_root else 'default.target'}\n"
    )


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """As ExecStart reads it: no variables, no specifiers."""
    return '"' + _escaped(word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")) + '"'


def install(
    link: Link,
    device: Device,
    maker: Maker,
    model: str,
    settings: Settings,
    port: int,
    listener: Listener | None,
    told: Callable[[str], object],
) -> Service:
    """Installs and starts it, and waits until it answers. Raises DeployError where the device has no Python or no
    systemd, and where a step fails there; the model stays, and runs without it."""
    _check(device)
    progress = Progress(listener)
    sent = _copy_wheel(link, device, maker, listener, told)
    progress.tell("installing the Python package on the device", 0, 1)
    _install_package(link, device, sent.wheel)
    progress.tell("starting the service", 0, 1)
    script = _SYSTEM_UNIT if device.is_root else _USER_UNIT
    answer = link.run(script, [unit_text(device, model, settings, port), UNIT])
    if answer.code:
        raise _failed(device, "systemd does not start the service", answer)
    _await(link, device, port)
    remark = ""
    if "rbe:no_linger" in answer.out:
        remark = "it ends when you sign out; once, on the device: sudo loginctl enable-linger $USER"
    return Service(UNIT, f"http://127.0.0.1:{port}/v1", sent.n_bytes, remark)


def _check(device: Device) -> None:
    there = f"{device.name}: the model is there and runs, but --serve needs"
    wanted = ".".join(map(str, OLDEST_PYTHON))
    if not device.python_version:
        raise DeployError(f"{there} Python {wanted} there; install it: sudo apt install python3 python3-venv")
    if device.python_version < OLDEST_PYTHON:
        raise DeployError(f"{there} Python {wanted} there, and it has {device.python}; a newer system brings one")
    if not device.has_systemd:
        raise DeployError(
            f"{there} systemd there, which does not run; start it yourself: pip install 'rbe-edge[server]', rbe serve"
        )


@dataclass(frozen=True)
class _Wheel:
    wheel: str  # on the device
    n_bytes: int  # sent


def _copy_wheel(
    link: Link, device: Device, maker: Maker, listener: Listener | None, told: Callable[[str], object]
) -> _Wheel:
    """The wheel is for the system's Python, whose system may have fewer bits than the processor."""
    if device.bits == 32 and device.machine in ("aarch64", "arm64", "armv8l"):
        small = target_for(replace(device, machine="armv7l", features=(*device.features, "neon")))
        maker = Maker(small, None, listener, told)
    is_musl = "rbe:musl" in link.run(_HAS_MUSL).out
    with scratch_directory("deploy") as scratch:
        path = maker.wheel(scratch, musl=is_musl)
        wheel = item(path, path.name, "644", Progress(listener))
        copy = Copy(link, device, Progress(listener, total=wheel.size))
        if not presence(link, device, wheel).is_there:
            copy.copy(wheel)
    return _Wheel(device.path(wheel.name), copy.sent)


def _install_package(link: Link, device: Device, wheel: str) -> None:
    answer = link.run(_ENVIRONMENT, [device.directory, wheel])
    if answer.code == 3:
        raise _failed(device, "Python makes no environment there (sudo apt install python3-venv)", answer)
    if answer.code:
        raise _failed(
            device, "pip cannot install the Python package there, for which the device needs the network", answer
        )


def _await(link: Link, device: Device, port: int) -> None:
    answer = link.run(_ANSWERS, [device.directory, str(port), str(_START_S)])
    if "rbe:status=200" in answer.out:
        return
    journal = link.run(_JOURNAL, ["" if device.is_root else "--user", UNIT])
    raise _failed(device, f"the service does not answer on port {port}", journal)


def _failed(device: Device, what: str, answer: Answer) -> DeployError:
    lines = [
        line for line in f"{answer.out}\n{answer.err}".splitlines() if line.strip() and not line.startswith("rbe:")
    ]
    said = one_line(lines[-1], 200) if lines else f"exit code {answer.code}"
    return DeployError(f"{device.name}: the model is there and runs, but {what}: {said}")
