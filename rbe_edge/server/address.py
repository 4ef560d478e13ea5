"""Where other devices find the server."""

from __future__ import annotations

import socket
from urllib.parse import quote

#: Addresses of documentation (RFC 5737, RFC 3849). Nothing is sent there: the system only says which of its own
#: addresses it would send from.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def reachable_host(bound: str) -> str:
    """For an address that was bound, one that other devices can use: where all were bound, that of this machine in its
    network, or its name where it has none."""
    if bound not in ("", "0.0.0.0", "::"):
        return bound
    for family, elsewhere in reversed(_ELSEWHERE) if bound == "::" else _ELSEWHERE[:1]:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.connect((elsewhere, 9))
                return str(sender.getsockname()[0])
        except OSError:  # no such network
            continue
    return socket.gethostname()


def page_url(host: str, port: int, key: str | None = None) -> str:
    """Of the chat page. key: behind `#`, which browsers do not send and the page takes away."""
    place = f"[{host}]" if ":" in host else host
    return f"http://{place}:{port}/{'' if key is None else '#key=' + quote(key, safe='')}"
