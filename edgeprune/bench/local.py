"""Transports: how the target-side runner is reached. This machine; remote.py has the others."""

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
    """A way to a machine that has, or is given, the runner."""

    def send(self, path: Path) -> str:
        """Make a file readable there; its path there."""

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        """Run the runner there once, in a fresh process; its result. BenchError when it gives none."""

    def remove(self, remote: str) -> None:
        """Delete what ``send`` made there, and nothing that was there before."""


class LocalTransport:
    """The runner as a child process of this one."""

    def __init__(self, python: str = sys.executable, root: str = "/") -> None:
        """``python`` is the interpreter that runs it; ``root`` stands for ``/`` (a stand-in board's tree)."""
        self.python = python
        self.root = root

    def send(self, path: Path) -> str:
        """The file is here already."""
        return str(path.resolve())

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        """One fresh process."""
        where = ["--root", self.root] if self.root != "/" and verb in VERBS_WITH_ROOT else []
        command = [self.python, "-m", "edgeprune_target", verb, *arguments, *where]
        return ask(command, env=runner_environment(), on_event=on_event)

    def remove(self, remote: str) -> None:
        """Nothing was made."""


def runner_environment() -> dict[str, str]:
    """This process's environment, with the runner's package found first, and whom it is to end with."""
    path = [str(runner_folder()), os.environ.get("PYTHONPATH", "")]
    joined = os.pathsep.join(part for part in path if part)
    return {**os.environ, "PYTHONPATH": joined, VARIABLE: str(os.getpid())}


def runner_folder() -> Path:
    """The folder that holds the package ``edgeprune_target``.

    Raises:
        BenchError: it is not installed.
    """
    spec = find_spec("edgeprune_target")
    if spec is None or spec.origin is None:
        raise BenchError("the runner package edgeprune_target is missing: install edgeprune again with pip")
    return Path(spec.origin).parent.parent
