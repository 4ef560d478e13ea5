"""The picture of the client: what the demo model says, and nothing that a browser would fetch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rbe_edge.runtime.model import Model, demo_path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "client_picture.py"


def test_it_shows_a_real_answer(tmp_path: Path) -> None:
    out = tmp_path / "client.svg"
    subprocess.run([sys.executable, TOOL, out], cwd=tmp_path, check=True, timeout=120)
    image = out.read_text(encoding="utf-8").replace("&#160;", " ")
    with Model.open(demo_path()) as model:
        answer = model.chat("How does a battery age?")
    assert answer[:40] in image and "tokens/s" in image
    assert "@font-face" not in image and "url(http" not in image
