"""The command line's options for a device that is reached from here, the same for every command."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

HOST_OPTIONS: dict[str, dict[str, Any]] = {
    "--ssh-option": {"multiple": True, "help": "As of ssh -o: Port=2222; may be repeated."},
    "--host-folder": {"help": "For files there  [default: ~/.cache/edgeprune]."},
    "--host-python": {"help": "The command for Python there  [default: python3]."},
    "--host": {"help": "The device is there: user@board by ssh, adb:SERIAL for a phone."},
}


assume_device = click.option(
    "--assume-device",
    is_flag=True,
    help="Take the device's profile even if the machine says that it is another; every result then says so.",
)


def host_words(there: Any) -> str:
    """Return the same options, to be typed again for a command that goes on; '' for this machine."""
    import shlex

    if there is None:
        return ""
    words = [("--host", there.name), ("--host-python", there.python), ("--host-folder", there.folder)]
    words += [("--ssh-option", option) for option in there.ssh_options]
    return "".join(f" {name} {shlex.quote(value)}" for name, value in words if value)


def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options for a device that is reached from here; the command gets one `there`, a Host or None."""

    @wraps(function)
    def command(
        *, host: str | None, host_python: str | None, host_folder: str | None, ssh_option: tuple[str, ...],
        **others: Any,
    ) -> Any:  # fmt: skip
        from edgeprune.bench import Host

        if host is None and (host_python or host_folder or ssh_option):
            raise click.UsageError("--host-python, --host-folder and --ssh-option need --host")
        there = None if host is None else Host(host, host_python, host_folder, ssh_option)
        return function(there=there, **others)

    for name, settings in HOST_OPTIONS.items():
        command = click.option(name, **settings)(command)
    return command
