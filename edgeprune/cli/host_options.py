"""The command line's options for a remote device, the same for every command."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import wraps
from typing import Any

import click

from edgeprune.bench.browser import Browser
from edgeprune.cli.base import echo
from edgeprune.cli.options import grouped, options_of
from edgeprune.devices import BROWSER
from edgeprune.options.fields import option_of
from edgeprune.train_prune.options import TargetOptions

HOST_OPTIONS: dict[str, dict[str, Any]] = {
    "--ssh-option": {
        "multiple": True,
        "metavar": "NAME=VALUE",
        "help": "Pass this to ssh -o, as Port=2222. May be repeated.",
    },
    "--host-folder": {
        "metavar": "DIR",
        "help": "Keep files there in this folder  [default: ~/.cache/edgeprune].",
    },
    "--host-python": {"metavar": "COMMAND", "help": "Run Python there by this command  [default: python3]."},
    "--host": {
        "metavar": "HOST",
        "main": True,
        "help": "Reach the device there: user@board by ssh, adb:SERIAL for a phone.",
    },
}


assume_device = options_of(TargetOptions, only=("assume_device",))


def host_words(*remote_hosts: Any) -> str:
    """Return the options for a command that resumes, as they are typed; '' for this machine."""
    import shlex

    hosts = [host for host in remote_hosts if host is not None]
    if not hosts:
        return ""
    words = [("--host", host.name) for host in hosts]
    words += [("--host-python", hosts[0].python), ("--host-folder", hosts[0].folder)]
    words += [("--ssh-option", option) for option in hosts[0].ssh_options]
    return "".join(f" {name} {shlex.quote(value)}" for name, value in words if value)


def reached(remote_hosts: tuple[Any, ...]) -> dict[str, Any]:
    """Return the options of a run for the boards that were typed: none for this machine."""
    hosts = [asdict(host) for host in remote_hosts]
    return {"host": hosts[0], "more_hosts": hosts[1:] or None} if hosts else {}


def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for a remote device; the command gets ``remote_host``, a Host or None."""

    @wraps(function)
    def command(*, host: str | None, **others: Any) -> Any:
        hosts, others = _hosts((host,) if host else (), others)
        return function(remote_host=hosts[0] if hosts else None, **others)

    return _with_host_options(command, {})


def on_hosts(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for several remote devices; the command gets ``remote_hosts``, a tuple of Hosts."""

    @wraps(function)
    def command(*, host: tuple[str, ...], **others: Any) -> Any:
        hosts, others = _hosts(host, others)
        return function(remote_hosts=hosts, **others)

    more = " May be repeated, for several boards; the other host options hold for each."
    return _with_host_options(command, {"multiple": True, "help": HOST_OPTIONS["--host"]["help"] + more})


def _hosts(names: tuple[str, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the hosts of these names, and the options of a command that are not theirs.

    Raises:
        click.UsageError: options of hosts, and no host.
    """
    others = dict(options)
    how = tuple(others.pop(name) for name in ("host_python", "host_folder", "ssh_option"))
    if not names and any(how):
        raise click.UsageError("--host-python, --host-folder and --ssh-option need --host")
    if not names:
        return (), others
    from edgeprune.bench import Host

    return tuple(Host(name, *how) for name in names), others


def _with_host_options(command: Callable[..., Any], of_host: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a command with the options for remote devices; ``of_host`` changes those of --host."""
    for name, settings in HOST_OPTIONS.items():
        own = of_host if name == "--host" else {}
        command = grouped(name, **{"group": "target", "main": False, **settings, **own})(command)
    return command


def in_browser(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the page that measures in a browser; the command gets ``browser``, a Browser or None."""
    names = [item.name for item in fields(Browser) if option_of(item)]

    @wraps(function)
    def command(*, device: str | None, remote_hosts: tuple[Any, ...], **others: Any) -> Any:
        chosen = {name: others.pop(name) for name in names}
        browser = Browser(**chosen, announce=_show_link(chosen)) if device == BROWSER else None
        if browser is None and Browser(**chosen) != Browser():
            raise click.UsageError(f"{', '.join(f'--{name}' for name in names)} need --device browser")
        if browser is not None and remote_hosts:
            raise click.UsageError("--host reaches a device with the runner, and --device browser needs none")
        return function(device=device, remote_hosts=remote_hosts, browser=browser, **others)

    return options_of(Browser)(command)


def _show_link(chosen: Mapping[str, Any]) -> Callable[[str], None]:
    """Return what shows the link to the page on stderr, in the network with a QR code."""

    def show(link: str) -> None:
        from edgeprune.browser.link import qr_code

        if not (chosen["lan"] or chosen["address"]):
            echo(f"open this link in a browser on this machine, while this command runs:\n{link}", err=True)
            return
        drawing = qr_code(link)
        if drawing is None:
            drawing = "(pip install 'edgeprune[browser]' draws the link as a QR code here)\n"
        echo(
            f"{drawing}open this link on the phone, in the same network, while this command runs:\n{link}\n"
            "anybody in the network who has the link before it is opened can read both models",
            err=True,
        )

    return show
