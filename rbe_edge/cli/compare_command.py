"""`rbe compare`: one model through llama.cpp and through this project, side by side."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rbe_edge.cli.output import ProgressBar, printable
from rbe_edge.errors import OptionError
from rbe_edge.files.new_file import check_place, write_file
from rbe_edge.files.scratch import scratch_directory
from rbe_edge.runtime.text_file import read_text

_EXAMPLE = """\
example:
  rbe compare ./SmolLM2-135M-Instruct --text wiki.test.raw \\
    --calibrate wiki.valid.raw --windows 24 --out comparison
  rbe compare ./wiki18m --text wiki.test.raw --calibrate wiki.valid.raw \\
    --bits 3,4 --types Q4_K_M,IQ4_XS --markdown
  rbe compare ./wiki18m --text wiki.test.raw --calibrate wiki.valid.raw \\
    --projections
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "compare",
        help="what llama.cpp's quantiser makes of the same model (needs the extra `compare`)",
        description="Quantises a model with llama.cpp (with an importance matrix) and packs it, both calibrated on the "
        "same text, and measures size, perplexity and KL divergence of every file on another text. Takes disk space "
        "for all the files in the temporary directory.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", metavar="SRC", help="a model directory, a .gguf or llama2.c .bin file, or org/name of the hub"
    )
    parser.add_argument("--text", metavar="T", type=Path, required=True, help="the text to measure on, in UTF-8")
    parser.add_argument(
        "--calibrate", metavar="C", type=Path, help="another text, to calibrate both on (one that comes with rbe)"
    )
    parser.add_argument("--bits", metavar="B,B", help="of `rbe pack`, separated by commas (2.5,3.2,4.25,5)")
    parser.add_argument("--types", metavar="T,T", help="of llama.cpp, separated by commas (a choice over all sizes)")
    parser.add_argument(
        "--rbe", metavar="FILE", type=Path, action="append", default=[], help="measure this .rbe file too; repeatable"
    )
    parser.add_argument(
        "--projections",
        action="store_true",
        help="compare the codes alone: only the matrices of the layers are quantised; whole --bits (2,3,4)",
    )
    parser.add_argument("--window", metavar="N", type=int, default=0, help="tokens per window (1024, or the context)")
    parser.add_argument("--windows", metavar="N", type=int, help="only the first N windows (all)")
    parser.add_argument("-t", "--threads", metavar="N", type=int, default=0, help="threads (one per core)")
    parser.add_argument("--tokenizer", metavar="FILE", type=Path, help="tokenizer of a llama2.c checkpoint")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="write comparison.md, comparison.json and comparison.svg there"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="write one JSON object")
    form.add_argument("--markdown", action="store_true", help="write a Markdown table (the default)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.comparison import report
    from rbe_edge.comparison.compare import DEFAULT_BITS, CompareOptions, compare
    from rbe_edge.comparison.projections import DEFAULT_BITS as WHOLE_BITS
    from rbe_edge.comparison.projections import compare_projections
    from rbe_edge.packing import calibration
    from rbe_edge.packing.report import require_matplotlib

    if arguments.window < 0 or (arguments.windows is not None and arguments.windows < 1) or arguments.threads < 0:
        raise OptionError("--window, --windows and --threads are counts, 1 or more")
    given = [path for path in (arguments.text, arguments.calibrate) if path is not None and path.exists()]
    if len(given) == 2 and given[0].samefile(given[1]):
        raise OptionError("--text and --calibrate are the same file; measure on another text than that of calibration")
    options = CompareOptions(
        calibrate=arguments.calibrate,
        bits=(WHOLE_BITS if arguments.projections else DEFAULT_BITS)
        if arguments.bits is None
        else _numbers(arguments.bits),
        types=None if arguments.types is None else tuple(_words(arguments.types)),
        files=tuple(arguments.rbe),
        window=arguments.window,
        n_windows=arguments.windows,
        threads=arguments.threads,
        tokenizer=arguments.tokenizer,
    )
    text = read_text(arguments.text)
    calibration.read_text(options.calibrate)  # before work of minutes
    outputs: list[Path] = []
    if arguments.out is not None:
        require_matplotlib()
        try:
            arguments.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"--out {arguments.out} cannot be made ({error.strerror}); name another") from None
        name = "projections" if arguments.projections else "comparison"
        outputs = [arguments.out / f"{name}.{kind}" for kind in ("md", "json", "svg")]
        for path in outputs:
            check_place(path, OptionError, replace=True)
    how = compare_projections if arguments.projections else compare
    with scratch_directory("compare") as directory, ProgressBar() as bar:
        found = how(arguments.source, text, options, directory, bar.show)
    if outputs:
        for path, content in zip(
            outputs,
            (f"{report.markdown(found)}\n", f"{json.dumps(report.as_json(found), indent=1)}\n", report.plot(found)),
            strict=True,
        ):
            write_file(path, content.encode(), OptionError, replace=True)
    print(json.dumps(report.as_json(found)) if arguments.json else printable(report.markdown(found)))
    return 0


def _words(value: str) -> list[str]:
    return [word.strip().upper() for word in value.split(",") if word.strip()]


def _numbers(value: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, _words(value)))
    except ValueError:
        raise OptionError(f"--bits {value} are no numbers separated by commas, such as 2.5,3.2") from None
