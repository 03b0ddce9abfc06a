"""The command line's options for a remote device, the same for every command."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from edgeprune.cli.options import grouped, options_of
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
