"""Reach the target-side runner on this machine; remote.py has the other transports."""

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from edgeprune_target.parent import VARIABLE

from edgeprune.bench.process import OnEvent, ask, ignore_event
from edgeprune.errors import BenchError

VERBS_WITH_ROOT = ("probe", "sensors", "build", "measure", "layers")


class Transport(Protocol):
    """Reaches a machine that has, or is sent, the runner."""

    def send(self, path: Path) -> str:
        """Make a file readable on the machine; return its path there."""

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        """Run the runner once, in a fresh process; return its result.

        Args:
            verb: of the runner's command line.
            arguments: after the verb.
            on_event: called with each progress event.

        Raises:
            BenchError: it gives no result.
        """

    def remove(self, remote: str) -> None:
        """Delete what ``send`` created, and no file that existed before."""


class LocalTransport:
    """Runs the runner as a child process."""

    def __init__(self, python: str = sys.executable, root: str = "/") -> None:
        """Take ``python``, the interpreter, and ``root``, a folder to read in place of ``/``."""
        self.python = python
        self.root = root

    def send(self, path: Path) -> str:
        """Return the path: the file is on this machine already."""
        return str(path.resolve())

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        """Run the runner in a fresh process; return its result.

        Args:
            verb: of the runner's command line.
            arguments: after the verb.
            on_event: called with each progress event.

        Raises:
            BenchError: it gives no result.
        """
        where = ["--root", self.root] if self.root != "/" and verb in VERBS_WITH_ROOT else []
        command = [self.python, "-m", "edgeprune_target", verb, *arguments, *where]
        return ask(command, env=runner_environment(), on_event=on_event)

    def remove(self, remote: str) -> None:
        """Do nothing: ``send`` created no file."""


def runner_environment() -> dict[str, str]:
    """Return this process's environment, with the runner's package on the path and the parent's id."""
    path = [str(runner_folder()), os.environ.get("PYTHONPATH", "")]
    joined = os.pathsep.join(part for part in path if part)
    return {**os.environ, "PYTHONPATH": joined, VARIABLE: str(os.getpid())}


def runner_folder() -> Path:
    """Return the folder that holds the package ``edgeprune_target``.

    Raises:
        BenchError: it is not installed.
    """
    spec = find_spec("edgeprune_target")
    if spec is None or spec.origin is None:
        raise BenchError("the runner package edgeprune_target is missing: install edgeprune again with pip")
    return Path(spec.origin).parent.parent
