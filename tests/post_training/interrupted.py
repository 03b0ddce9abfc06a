"""A training that stops, as by Ctrl-C, after some checkpoints."""

from collections.abc import Iterator
from typing import Any

from edgeprune.training import Interrupted, loop


def stopping(steps: Iterator[int]) -> Any:
    """Return what stands in for a stage's checkpoint: it saves and stops when ``steps`` are at their end."""

    def checkpoint(stage: loop.Stage, _: bool) -> None:
        if next(steps, None) is None:
            stage.save()
            raise Interrupted

    return checkpoint
