"""`python -m rbe_edge` is `rbe`."""

from __future__ import annotations

import sys

from rbe_edge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
