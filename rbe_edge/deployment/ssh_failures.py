"""What ssh says when it cannot connect, as one line that says what to do."""

from __future__ import annotations

import re

from rbe_edge.deployment.channel import ConnectionLost
from rbe_edge.errors import DeployError, OptionError

#: What ssh says, and what we say; {host} is [user@]host, {bare} without the user, {port} ` -p N` or nothing.
_FINAL = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED|Offending .* key in|host key for .* has changed",
        "{host}: its host key is not the one of last time: a new card in the board, or another machine; if you know "
        "why, `ssh-keygen -R {known}`, then once by hand: ssh{port} {host}",
    ),
    (
        "Host key verification failed",
        "{host}: its host key is not known here yet; connect once by hand and look at it: ssh{port} {host}",
    ),
    (
        "Permission denied|Too many authentication failures|No more authentication methods",
        "{host}: asks for a password, which `rbe deploy` never types; once: ssh-copy-id{port} {host} (and ssh-add, "
        "where your key has a passphrase)",
    ),
)

#: The same, where it may pass if the device was there a moment ago: it restarts, or its radio was away.
_NETWORK = (
    (
        "Could not resolve hostname",
        "{host}: there is no machine named {bare}; check the name, or give its address (often: {local})",
    ),
    (
        "Connection refused",
        "{host}: is there, but no ssh server answers; on the board: sudo systemctl enable --now ssh (or raspi-config)",
    ),
    (
        "No route to host|Network is unreachable|[Tt]imed out|Host is down",
        "{host}: no answer; is it switched on and in this network? try: ping {bare}",
    ),
)

_PASSING = (
    "Connection closed|Connection reset|kex_exchange_identification|Broken pipe|Connection to .* closed|Timeout, "
)
_OPTION = (
    "Bad configuration option|command-line.* line|unsupported option|Unsupported option|Bad .* argument|usage: ssh"
)


def failure(host: str, port: int | None, said: str, *, was_open: bool) -> Exception:
    """The exception for what ssh wrote before it ended: ConnectionLost where it may pass, DeployError where a person
    has to do something, OptionError where an option is wrong. was_open: it was connected before."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if re.search(_OPTION, said):
        return OptionError(f"ssh does not take --ssh-option: {lines[0] if lines else 'usage'}")
    bare = host.rpartition("@")[2]
    known = f"'[{bare}]:{port}'" if port else bare
    local = f"{bare.removesuffix('.local')}.local" if bare.count(".") <= 1 else "raspberrypi.local"
    words = {"local": local, "host": host, "bare": bare, "known": known, "port": f" -p {port}" if port else ""}
    for pattern, message in (*_FINAL, *(() if was_open else _NETWORK)):
        if re.search(pattern, said):
            return DeployError(message.format(**words))
    last = lines[-1] if lines else "ssh ended without a word"
    if not lines or re.search("|".join([_PASSING, *(pattern for pattern, _ in _NETWORK)]), said):
        return ConnectionLost(f"the connection broke ({last})")
    return DeployError(f"{host}: ssh says: {last}")
