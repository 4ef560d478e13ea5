"""JSON files as people have them: also with a byte order mark, which Windows' editors write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rbe_edge.errors import RbeError
from rbe_edge.terminal_text import one_line


def read_json(path: Path, failed: type[RbeError]) -> Any:
    """What a JSON file holds. Raises `failed` where it cannot be read or is no JSON, which includes nesting deeper than
    Python's stack and integers of more digits than Python reads (4300)."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise failed(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except (ValueError, RecursionError) as error:
        raise failed(f"{path}: not valid JSON ({one_line(str(error), 120)}); download the file again") from None
