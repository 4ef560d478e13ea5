"""The server of tools/soak.py: `rbe serve` whose sensors are a tree of files.

python tools/soak_server.py ROOT serve [ARGUMENT...]
"""

from __future__ import annotations

import functools
import sys

from rbe_edge.cli import serve_command
from rbe_edge.cli.main import main

if __name__ == "__main__":
    serve_command.measuring_sensors = functools.partial(serve_command.measuring_sensors, sys.argv[1])
    sys.exit(main(sys.argv[2:]))
