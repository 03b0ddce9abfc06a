"""The command line's options for a remote device, the same for every command."""

from collections.abc import Callable, Mapping
from dataclasses import fields
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


def host_words(remote_host: Any) -> str:
    """Return the options for a command that resumes, as they are typed; '' for this machine."""
    import shlex

    if remote_host is None:
        return ""
    words = [
        ("--host", remote_host.name),
        ("--host-python", remote_host.python),
        ("--host-folder", remote_host.folder),
    ]
    words += [("--ssh-option", option) for option in remote_host.ssh_options]
    return "".join(f" {name} {shlex.quote(value)}" for name, value in words if value)


def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for a remote device; the command gets ``remote_host``, a Host or None."""

    @wraps(function)
    def command(
        *, host: str | None, host_python: str | None, host_folder: str | None, ssh_option: tuple[str, ...],
        **others: Any,
    ) -> Any:  # fmt: skip
        from edgeprune.bench import Host

        if host is None and (host_python or host_folder or ssh_option):
            raise click.UsageError("--host-python, --host-folder and --ssh-option need --host")
        remote_host = None if host is None else Host(host, host_python, host_folder, ssh_option)
        return function(remote_host=remote_host, **others)

    for name, settings in HOST_OPTIONS.items():
        command = grouped(name, **{"group": "target", "main": False, **settings})(command)
    return command


def in_browser(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for the page that measures in a browser; the command gets ``browser``, a Browser or None."""
    names = [item.name for item in fields(Browser) if option_of(item)]

    @wraps(function)
    def command(*, device: str | None, remote_host: Any, **others: Any) -> Any:
        chosen = {name: others.pop(name) for name in names}
        browser = Browser(**chosen, announce=_show_link(chosen)) if device == BROWSER else None
        if browser is None and Browser(**chosen) != Browser():
            raise click.UsageError(f"{', '.join(f'--{name}' for name in names)} need --device browser")
        if browser is not None and remote_host is not None:
            raise click.UsageError("--host reaches a device with the runner, and --device browser needs none")
        return function(device=device, remote_host=remote_host, browser=browser, **others)

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
