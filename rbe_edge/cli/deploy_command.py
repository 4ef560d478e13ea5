"""`rbe deploy`: puts a model, and the program that runs it, onto another machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
from pathlib import Path

from rbe_edge.cli.model_arguments import add_kv_argument, add_memory_argument
from rbe_edge.cli.output import ProgressBar, ended_in_order, note, printable
from rbe_edge.errors import OptionError
from rbe_edge.models.find import here

_SERVE_PORT = 8080

_EXAMPLE = """\
example:
  rbe deploy pi@raspberrypi.local smol.rbe
  rbe deploy pi@raspberrypi.local:/mnt/ssd/rbe smol.rbe --serve
  rbe deploy adb smol.rbe

The device is asked first for its processor, memory and disk. Only what differs
there is copied; a copy that broke off goes on where it was. Then the device
proves that it answers as this machine does, token by token.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "deploy",
        help="put a model onto another machine, by ssh or adb",
        description="Puts a model and the program that runs it onto a board, a PC or a phone, and tests them there.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "device",
        metavar="DEVICE",
        help="user@host[:directory], in ~/rbe without one; or adb[:directory] for a phone on the cable",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="a .rbe file, or `demo` for the demo model")
    parser.add_argument("-p", "--port", metavar="N", type=int, help="of ssh (your ssh configuration's)")
    parser.add_argument(
        "--ssh-option", metavar="KEY=VALUE", action="append", default=[], help="as `ssh -o`; may be given several times"
    )
    parser.add_argument("--serial", metavar="SERIAL", help="which phone, of those that `adb devices` shows")
    parser.add_argument("--program", metavar="PATH", type=Path, help="take this program of `rbe build`; build none")
    parser.add_argument("--no-self-test", action="store_true", help="copy only, and run nothing on the device")
    parser.add_argument(
        "--serve", action="store_true", help="install and start `rbe serve` there too (Python, systemd)"
    )
    parser.add_argument(
        "--serve-port", metavar="N", type=int, default=_SERVE_PORT, help="where the service listens (%(default)s)"
    )
    engine = parser.add_argument_group("how it is to run there")
    engine.add_argument(
        "-c", "--ctx-size", metavar="N", type=int, default=0, help="context in tokens (the model's own, at most 4096)"
    )
    add_kv_argument(engine)
    add_memory_argument(engine)
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.deployment.address import parse
    from rbe_edge.deployment.deploy import DeployOptions, deploy
    from rbe_edge.deployment.room import Settings

    for name, port in (("-p", arguments.port), ("--serve-port", arguments.serve_port)):
        if port is not None and not 0 < port < 65536:
            raise OptionError(f"{name} must be from 1 to 65535, not {port}")
    if arguments.serve and arguments.max_memory:
        raise OptionError("--serve keeps all of the model in memory; leave out --max-memory")
    model = here(arguments.file)
    options = DeployOptions(
        address=parse(arguments.device),
        model=model,
        settings=Settings(arguments.ctx_size, arguments.kv, arguments.max_memory),
        port=arguments.port,
        ssh_options=tuple(arguments.ssh_option),
        serial=arguments.serial,
        program=arguments.program,
        self_test=not arguments.no_self_test,
        serve_port=arguments.serve_port if arguments.serve else None,
        again=_again(arguments),
    )
    with ended_in_order(), ProgressBar() as bar:

        def told(line: str) -> None:
            bar.pause()
            note(line)

        try:
            deployed = deploy(options, bar.show, told)
        except KeyboardInterrupt:
            bar.close()
            note("stopped; what was copied stays on the device, and the same line goes on from there")
            raise
    if arguments.json:
        print(json.dumps(dataclasses.asdict(deployed)))
    else:
        print(printable(deployed.start))
    return 0


def _again(arguments: argparse.Namespace) -> str:
    """The command line once more."""
    words = ["rbe", "deploy", arguments.device, str(arguments.file)]
    words += ["-p", str(arguments.port)] if arguments.port is not None else []
    for option in arguments.ssh_option:
        words += ["--ssh-option", option]
    words += ["--serial", arguments.serial] if arguments.serial is not None else []
    words += ["--program", str(arguments.program)] if arguments.program is not None else []
    words += ["--no-self-test"] if arguments.no_self_test else []
    words += ["--serve"] if arguments.serve else []
    words += ["--serve-port", str(arguments.serve_port)] if arguments.serve_port != _SERVE_PORT else []
    words += ["-c", str(arguments.ctx_size)] if arguments.ctx_size else []
    words += ["--kv", arguments.kv] if arguments.kv != "auto" else []
    words += ["--max-memory", str(arguments.max_memory)] if arguments.max_memory else []
    return shlex.join(words)
