"""`python -m rbe_edge` is `rbe`."""

from __future__ import annotations

from rbe_edge.cli.start import start

if __name__ == "__main__":
    start()
