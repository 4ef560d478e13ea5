"""`rbe serve`: models behind the HTTP APIs of OpenAI, Ollama and Anthropic."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rbe_edge.cli.chosen_model import WHAT, chosen_model
from rbe_edge.cli.list_command import models_directory
from rbe_edge.cli.model_arguments import add_force_argument, add_kv_argument, check_memory, memory_size
from rbe_edge.cli.output import note, printable
from rbe_edge.cli.power_arguments import add_power_arguments, measuring_sensors, power_choice, within_limits
from rbe_edge.errors import OptionError
from rbe_edge.runtime.chat_template import WITHOUT_TEMPLATE
from rbe_edge.runtime.options import SessionOptions
from rbe_edge.runtime.text_file import read_text
from rbe_edge.store.places import threads_file

if TYPE_CHECKING:
    from rbe_edge.cli.served_models import HowToServe
    from rbe_edge.machine.power import Power
    from rbe_edge.runtime.governor import Governor, PowerChoice
    from rbe_edge.runtime.model import Model
    from rbe_edge.server import serve
    from rbe_edge.server.service import Service, ServiceOptions
    from rbe_edge.server.shelf import Shelf

_KEY_VARIABLE = "RBE_API_KEY"
_SLOTS = 4

_EXAMPLE = """\
example:
  rbe serve smol.rbe
  curl http://127.0.0.1:8080/v1/chat/completions \\
    -H 'Content-Type: application/json' \\
    -d '{"model": "smol", "messages": [{"role": "user", "content": "Hello!"}]}'

Ctrl-C lets running answers end; a second Ctrl-C does not wait for them.
Needs: pip install 'rbe-edge[server]'
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve models over HTTP, as the APIs of OpenAI, Ollama and Anthropic do",
        description="Serves models over HTTP as the APIs of OpenAI, Ollama and Anthropic do (docs/server.md). "
        "Without MODEL: the demo model, and those of the model directory when they are asked for.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", nargs="?", metavar="MODEL", type=Path, help=WHAT)
    parser.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", metavar="N", type=int, default=8080, help="(%(default)s; 0: any free one)")
    parser.add_argument(
        "--api-key", metavar="KEY", help=f"what clients must send (default: the variable {_KEY_VARIABLE})"
    )
    parser.add_argument(
        "--cors-origin", metavar="URL", action="append", default=[], help="let web pages of this origin use the server"
    )
    parser.add_argument("--alias", metavar="NAME", help="its name (the file's: x-4bit.rbe is x:4bit)")
    parser.add_argument(
        "--models",
        metavar="DIRECTORY",
        type=Path,
        help="open its .rbe files when they are asked for by name (without MODEL: the model directory)",
    )
    parser.add_argument("--access-log", action="store_true", help="write a line for each request to standard error")
    _add_limits(parser.add_argument_group("limits"))
    _add_engine(parser.add_argument_group("engine"))
    add_power_arguments(parser, follows=True)
    parser.add_argument("--json", action="store_true", help="write where it listens as one JSON object")
    parser.add_argument(
        "--qr", action="store_true", help="show the chat page's address as a QR code for a phone, with the key"
    )
    parser.set_defaults(run=run)


def _add_limits(limits: argparse._ArgumentGroup) -> None:
    limits.add_argument(
        "--models-memory",
        metavar="SIZE",
        type=memory_size,
        default=0,
        help="of all models together, such as 2G; who was used longest ago goes (three quarters of what is free)",
    )
    limits.add_argument(
        "--slots", metavar="N", type=int, help=f"answers at the same time ({_SLOTS}; fewer to save power)"
    )
    limits.add_argument("--queue", metavar="N", type=int, default=32, help="requests that may wait (%(default)s)")
    limits.add_argument("--max-tokens", metavar="N", type=int, help="the most that one request gets (the context)")
    limits.add_argument("--max-body", metavar="BYTES", type=int, default=4 << 20, help="of a request (%(default)s)")
    limits.add_argument(
        "--stop-timeout", metavar="S", type=int, default=30, help="wait so long for answers when stopping (%(default)s)"
    )


def _add_engine(engine: argparse._ArgumentGroup) -> None:
    engine.add_argument(
        "-c", "--ctx-size", metavar="N", type=int, default=0, help="context of a slot (the model's own, at most 4096)"
    )
    engine.add_argument(
        "-t",
        "--threads",
        metavar="N",
        type=int,
        default=0,
        help="threads (found by rbe run or chat, or one per core)",
    )
    add_kv_argument(engine)
    engine.add_argument("--read-planes", metavar="N", type=int, default=0, help="read the first N planes (0: all)")
    add_force_argument(engine)
    engine.add_argument("--no-verify", action="store_true", help="skip the checksums of the tensors")
    engine.add_argument("--chat-template-file", metavar="FILE", type=Path, help="a Jinja template, not the model's")
    engine.add_argument(
        "--no-control-tokens", action="store_true", help="read a prompt of /v1/completions as plain text"
    )


def run(arguments: argparse.Namespace) -> int:
    from rbe_edge.server import serve

    place = serve.Place(arguments.host, arguments.port, arguments.stop_timeout)
    key = arguments.api_key if arguments.api_key is not None else os.environ.get(_KEY_VARIABLE)
    place.check_key(key)
    if arguments.qr:
        _check_qr(arguments, place)
    if arguments.max_body < 1024:
        raise OptionError(f"--max-body must be 1024 or more, not {arguments.max_body}")
    choice = power_choice(arguments)
    serve.check_extra()
    if arguments.file is not None:
        arguments.file = chosen_model(arguments.file)
    with measuring_sensors() as power:
        return _serve(arguments, place, key, choice, power)


def _serve(
    arguments: argparse.Namespace, place: serve.Place, key: str | None, choice: PowerChoice, power: Power
) -> int:
    from rbe_edge.cli.served_models import HowToServe
    from rbe_edge.runtime.fit import Wish
    from rbe_edge.runtime.governor import Governor
    from rbe_edge.runtime.model import Model, demo_path
    from rbe_edge.server import serve
    from rbe_edge.server.address import page_url, reachable_host
    from rbe_edge.server.app import AppOptions, make_app
    from rbe_edge.server.bodies import BodyLimits
    from rbe_edge.server.log import log_switch
    from rbe_edge.server.service import Service

    options = _service_options(arguments)
    session, options, limited = _limited(arguments, _session_options(arguments), options, choice, power)
    check_memory(arguments, arguments.file, Wish(session, options.slots, options.slots))
    limits, log = BodyLimits(largest=arguments.max_body), _write_line if arguments.access_log else None
    app_options = AppOptions(key, tuple(arguments.cors_origin), place.local, limits, log)

    def governed(model: Model) -> Governor:
        return Governor(model, power, choice.policy, choice.goals, log_switch)

    how = HowToServe(session, options, not arguments.no_verify, governed, _kept_threads)
    with (
        _log_to_standard_error(),
        contextlib.closing(serve.listen(place)) as listener,
        Model.open(arguments.file or demo_path(), verify=not arguments.no_verify) as model,
        governed(model) as governor,
        contextlib.closing(Service(model, _with_kept_threads(model, session), options, governor)) as service,
    ):
        model.verify()  # a server does not begin with a damaged model
        if limited:
            note(limited)
        if options.template is None and not model.metadata.get("chat_template") and not service.writes_nothing:
            note(WITHOUT_TEMPLATE)

        def started() -> None:
            host, port = listener.getsockname()[:2]
            if arguments.json:
                _write_json(page_url(host, port), service)
            else:
                _write_places(arguments, service, reachable_host(host), port, None if place.local else key)

        serve.run(make_app(_shelf(arguments, service, how), app_options), listener, place, started)
    note("stopped")
    return 0


def _check_qr(arguments: argparse.Namespace, place: serve.Place) -> None:
    from rbe_edge.cli.qr_code import check_qr

    if arguments.json:
        raise OptionError("--qr and --json exclude one another")
    if place.local:
        raise OptionError(f"no phone reaches {place.host}: for --qr give --host 0.0.0.0 and an --api-key")
    check_qr()


def _write_json(page: str, service: Service) -> None:
    told = {"url": f"{page}v1", "model": service.model_id, "context": service.scheduler.context, "page": page}
    print(json.dumps(told), flush=True)


def _write_places(arguments: argparse.Namespace, service: Service, host: str, port: int, key: str | None) -> None:
    """For a person. The key is written to a terminal, and where --qr asks for it, but not into the log of a service."""
    from rbe_edge.server.address import page_url

    is_terminal = sys.stdout.isatty()
    print(f"{printable(service.model_id)} at {page_url(host, port)}v1; Ctrl-C stops it")
    if service.writes_nothing:
        what = "rerank" if service.model.encoder_info.is_classes else "embeddings"
        print(f"an encoder, which answers no chat: POST {page_url(host, port)}v1/{what}")
    if service.writes_nothing and arguments.models is None:
        sys.stdout.flush()
        return
    print(f"chat in a browser: {page_url(host, port, key if is_terminal else None)}")
    if arguments.qr:
        from rbe_edge.cli.qr_code import qr_code

        print(qr_code(page_url(host, port, key), is_terminal))
    sys.stdout.flush()


def _shelf(arguments: argparse.Namespace, service: Service, how: HowToServe) -> Shelf:
    """The model that is open, and those that can be opened."""
    from rbe_edge.cli.served_models import ServedModels, memory_for_models, needed_bytes
    from rbe_edge.server.shelf import Shelf

    directory: Path | None = arguments.models
    if directory is not None and not directory.is_dir():
        raise OptionError(f"--models: {directory} is no directory")
    if directory is None and arguments.file is None:
        directory = models_directory()
    if directory is None:
        return Shelf(service)
    first = needed_bytes(service.path, how.session, how.service.slots)
    stock = ServedModels(directory, how, service.metrics)
    return Shelf(service, stock, arguments.models_memory or memory_for_models() + first, first)


def _write_line(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # nobody reads it any more
        pass


def _session_options(arguments: argparse.Namespace) -> SessionOptions:
    return SessionOptions(
        context=arguments.ctx_size,
        threads=arguments.threads,
        kv=arguments.kv,
        planes=arguments.read_planes,
        check_memory=not arguments.force_memory,
    )


def _service_options(arguments: argparse.Namespace) -> ServiceOptions:
    from rbe_edge.models.folder import name_of
    from rbe_edge.server.service import ServiceOptions

    file = arguments.chat_template_file
    return ServiceOptions(
        model_id=arguments.alias or (name_of(arguments.file) if arguments.file else None),
        slots=_SLOTS if arguments.slots is None else arguments.slots,
        queue_limit=arguments.queue,
        max_tokens=arguments.max_tokens,
        template=None if file is None else read_text(file, "chat template"),
        reads_control_tokens=not arguments.no_control_tokens,
    )


def _limited(
    arguments: argparse.Namespace, session: SessionOptions, options: ServiceOptions, choice: PowerChoice, power: Power
) -> tuple[SessionOptions, ServiceOptions, str]:
    """The same within the limits of the power mode that it is in now, where flags do not say otherwise, and a line
    about them; "" in performance."""
    from rbe_edge.machine.power import Decider
    from rbe_edge.runtime import fit
    from rbe_edge.runtime.governor import mode_limits
    from rbe_edge.runtime.model import demo_path

    decision = Decider(choice.policy).decide(power.sample())
    limits, words = mode_limits(decision.mode), []
    own = fit.estimate(arguments.file or demo_path(), fit.Wish(session)).context if limits.context else 0
    if arguments.slots is None and 0 < limits.sessions < options.slots:
        options = replace(options, slots=limits.sessions)
        words.append(f"--slots {limits.sessions}")
    session, of_session = within_limits(arguments, session, decision.mode, own)
    words += of_session
    line = f"power mode {decision.mode.label}: {decision.reason}" if decision.mode else ""
    return session, options, f"{line}; so {' '.join(words)} until the next start" if words else line


def _with_kept_threads(model: Model, session: SessionOptions) -> SessionOptions:
    """Those that answers on this machine found for models of this size, where -t is not given."""
    return session if session.threads else replace(session, threads=_kept_threads(model))


def _kept_threads(model: Model) -> int:
    return model.kept_threads(threads_file())


@contextlib.contextmanager
def _log_to_standard_error() -> Iterator[None]:
    from rbe_edge.server.log import RepeatedLines

    log = logging.getLogger("rbe_edge.server")
    handler = RepeatedLines(sys.stderr)
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
