"""Puts a model and its program onto a device: asks, refuses, copies, proves."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rbe_edge.deployment.adb import AdbChannel
from rbe_edge.deployment.address import Address
from rbe_edge.deployment.channel import Channel, Link
from rbe_edge.deployment.copying import Copy, Item, item, missing_bytes, presence
from rbe_edge.deployment.device import Device, probe
from rbe_edge.deployment.program import Maker, target_for
from rbe_edge.deployment.room import Settings, check_directory, check_disk, check_memory, needs
from rbe_edge.deployment.self_test import Proof, expected, prove
from rbe_edge.deployment.service import Service, install
from rbe_edge.deployment.ssh import SshChannel
from rbe_edge.errors import OptionError
from rbe_edge.progress import Listener, Progress
from rbe_edge.terminal_text import size

Told = Callable[[str], object]
"""told(line): one line for the person about what was done."""


@dataclass(frozen=True)
class DeployOptions:
    """port: of ssh. ssh_options: KEY=VALUE, as of `ssh -o`. serial: of the phone. program: one for the device that is
    there already, None: it is built. serve_port: None for no service. again: the command line that goes on after a
    broken connection."""

    address: Address
    model: Path
    settings: Settings = field(default_factory=Settings)
    port: int | None = None
    ssh_options: tuple[str, ...] = ()
    serial: str | None = None
    program: Path | None = None
    self_test: bool = True
    serve_port: int | None = None
    again: str = ""


@dataclass(frozen=True)
class Deployed:
    """sent_bytes: handed over, those of broken tries too. copied, unchanged: names of files. resumed_bytes: of earlier
    tries, which were not sent again. start: the line that chats with the model. service: None without --serve."""

    device: Device
    target: str
    sent_bytes: int
    resumed_bytes: int
    copied: tuple[str, ...]
    unchanged: tuple[str, ...]
    proof: Proof | None
    start: str
    service: Service | None = None


def deploy(options: DeployOptions, listener: Listener | None, told: Told) -> Deployed:
    """Does all of it. listener: bytes of reading, copying and building. Raises DeployError and other RbeErrors with one
    line; what was copied so far stays on the device, also after Ctrl-C, and is not sent again."""
    name = options.model.name
    if name == "rbe" or name.startswith((".", "-")):
        raise OptionError(
            f"{name}: the program on the device, or hidden files, are called so; give the file another name"
        )
    needed = needs(options.model, options.settings)
    channel = _channel(options)
    try:
        channel.open()
        link = Link(channel, options.again, told)
        device = probe(link, options.address.directory)
        told(f"{device.name}: {device.line()}")
        check_directory(device)
        target = target_for(device)
        check_memory(device, options.model, options.settings, needed)
        model = item(options.model, name, "644", Progress(listener))
        check_disk(device, options.model, needed, missing_bytes([model], [presence(link, device, model)]))
        maker = Maker(target, options.program, listener, told)
        program = item(maker.program(), "rbe", "755", Progress(listener))
        return _deploy(options, device, link, maker, [program, model], listener, told)
    finally:
        channel.close()


def _channel(options: DeployOptions) -> Channel:
    if options.address.is_adb:
        if options.port is not None or options.ssh_options:
            raise OptionError("-p and --ssh-option are for ssh; adb takes --serial")
        if options.serve_port is not None:
            raise OptionError("--serve needs systemd, which Android does not have; leave it out")
        return AdbChannel(options.serial)
    if options.serial is not None:
        raise OptionError("--serial is for adb; give `adb` instead of a host")
    return SshChannel(options.address.host, options.port, options.ssh_options)


def _deploy(
    options: DeployOptions,
    device: Device,
    link: Link,
    maker: Maker,
    items: list[Item],
    listener: Listener | None,
    told: Told,
) -> Deployed:
    """What stands behind the refusals. items: the program and the model."""
    wanted = expected(options.model, options.settings) if options.self_test else None
    copy, unchanged = _copy(items, device, link, listener)
    copied = tuple(what.name for what in items if what.name not in unchanged)
    told(_copied_line(device, copy, copied, unchanged))
    proof = None
    if wanted is not None:
        proof = prove(link, device, options.model, options.settings, wanted, Progress(listener))
        told(
            f"{device.name}: kernels {', '.join(proof.kernel_sets)} and an answer of {proof.equal_tokens} tokens equal "
            f"this machine's; {proof.tokens_per_second:.1f} tokens/s"
        )
    service = None
    if options.serve_port is not None:
        name, settings, port = options.model.name, options.settings, options.serve_port
        service = install(link, device, maker, name, settings, port, listener, told)
        told(f"{device.name}: {service.unit} answers at {service.url}{f'; {service.remark}' if service.remark else ''}")
    return Deployed(
        device=device,
        target=maker.target_name,
        sent_bytes=copy.sent + (service.sent_bytes if service else 0),
        resumed_bytes=copy.resumed,
        copied=copied,
        unchanged=unchanged,
        proof=proof,
        start=_start(options, device),
        service=service,
    )


def _copy(items: list[Item], device: Device, link: Link, listener: Listener | None) -> tuple[Copy, tuple[str, ...]]:
    """Copies what differs. Gives the names of the others too."""
    missing = [what for what in items if not presence(link, device, what).is_there]
    copy = Copy(link, device, Progress(listener, total=sum(what.size for what in missing)))
    for what in missing:
        copy.copy(what)
    return copy, tuple(what.name for what in items if what not in missing)


def _copied_line(device: Device, copy: Copy, copied: tuple[str, ...], unchanged: tuple[str, ...]) -> str:
    parts = []
    if copied:
        parts.append(f"copied {' and '.join(copied)}, {size(copy.sent)} sent")
    if copy.resumed:
        parts.append(f"{size(copy.resumed)} of an earlier try were there")
    if unchanged:
        parts.append(f"{' and '.join(unchanged)} {'were' if len(unchanged) > 1 else 'was'} there already")
    if not copied:
        parts.append("0 bytes sent")
    checked = (
        "" if device.hash else "; no tool for SHA-256 there: the size was compared, and the program checks the model"
    )
    return f"{device.name}: {'; '.join(parts)}{checked}"


def _start(options: DeployOptions, device: Device) -> str:
    """What a person types to chat."""
    there = [device.path("rbe"), "chat", device.path(options.model.name), *options.settings.flags()]
    if options.address.is_adb:
        return shlex.join(
            ["adb", *(["-s", options.serial] if options.serial else []), "shell", "-t", shlex.join(there)]
        )
    ssh = ["ssh", "-t", *(["-p", str(options.port)] if options.port else [])]
    for option in options.ssh_options:
        ssh += ["-o", option]
    return shlex.join([*ssh, options.address.host, shlex.join(there)])
