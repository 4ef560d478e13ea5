"""tools/fuzz.py: its targets have names of their own and beginnings; what libFuzzer prints is understood; a finding is
kept and told. What the targets find is the matter of tests/fuzz and of tools/fuzz.py itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools import fuzz

LOG = """INFO: seed corpus: files: 3 min: 1b max: 4b total: 7b rss: 30Mb
#4\tINITED cov: 120 ft: 300 corp: 3/7b exec/s: 0 rss: 40Mb
#90\tNEW    cov: 125 ft: 310 corp: 4/9b lim: 4 exec/s: 0 rss: 40Mb L: 2/4 MS: 1 EraseBytes-
#1234\tDONE   cov: 131 ft: 333 corp: 9/20b lim: 8 exec/s: 617 rss: 44Mb
Done 1234 runs in 2 second(s)
"""
# In the place of a fuzzer: it takes the options of one, and finds something in the end.
STAND_IN = """#!{python}
import sys
if "-runs=0" in sys.argv:
    sys.exit()
prefix = next(one for one in sys.argv if one.startswith("-artifact_prefix=")).partition("=")[2]
print({log!r}, end="")
if {finds}:
    open(prefix + "crash-1", "wb").close()
    print("demanded: a message")
    sys.exit(77)
"""


def test_targets_have_names_of_their_own() -> None:
    found = [target.name for target in fuzz.targets()]
    assert len(set(found)) == len(found) and {target.kind for target in fuzz.targets()} == set(fuzz.KINDS)
    corpus = Path(fuzz.REPOSITORY) / "tests" / "fuzz" / "corpus"
    assert {path.name for path in corpus.iterdir()} <= set(found)
    assert sum(path.stat().st_size for path in corpus.rglob("*") if path.is_file()) < 300_000


def test_logs_are_understood() -> None:
    assert fuzz.numbers_of(LOG) == (1234, 131, 333, 120, 300)
    assert fuzz.numbers_of("Traceback (most recent call last):\n") == (0, 0, 0, 0, 0)


def test_names_that_are_none() -> None:
    with pytest.raises(SystemExit, match="there is no target king; there are "):
        fuzz.chosen(["king"], None)
    assert fuzz.chosen(["policy", "store"], "python") == [fuzz.Target("store", "python")]


@pytest.mark.parametrize("finds", [False, True])
def test_findings_are_kept_and_told(
    finds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "native" / "fuzz_policy"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable, log=LOG, finds=finds))
    program.chmod(0o700)
    monkeypatch.setattr(fuzz, "build", lambda folder, names, jobs: None)
    assert fuzz.main(["--target", "policy", "--seconds", "1", "--build", str(tmp_path)]) == int(finds)
    said = capsys.readouterr().out
    assert "policy     c              1234    1    131    +11     333     +33" in said
    assert ("crash-1" in said and "demanded: a message" in said) == finds
    assert (tmp_path / "findings" / "policy-crash-1").exists() == finds
    assert (tmp_path / "corpus" / "policy" / "all-keys").exists()


def test_without_clang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(SystemExit, match="are needed"):
        fuzz.main(["--target", "policy", "--build", str(tmp_path)])
