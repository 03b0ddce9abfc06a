"""Checkpoints of a stage: when one is due, and what is wrong with one that does not load."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from edgeprune.errors import RunError, TrainError
from edgeprune.runs.training_state import TrainingState


def checkpoint_seconds() -> float:
    """Return the seconds between checkpoints: EDGEPRUNE_CHECKPOINT_SECONDS, or 60 (0: every step)."""
    text = os.environ.get("EDGEPRUNE_CHECKPOINT_SECONDS", "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise TrainError(
            f"the environment's EDGEPRUNE_CHECKPOINT_SECONDS is {text!r}: write seconds, such as 60, or "
            "unset it"
        )
    return seconds


@dataclass
class StageCheckpoints:
    """The checkpoints of one stage in a run folder; without one, none is written.

    Attributes:
        stage: its name.
        run: the training state of the folder; None without one.
        seconds: between checkpoints.
    """

    stage: str
    run: TrainingState | None
    seconds: float
    _saved_at: float = field(default_factory=lambda: time.monotonic())

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        return time.monotonic() - self._saved_at >= self.seconds

    def restart_clock(self) -> None:
        """Count the time to the next checkpoint from now."""
        self._saved_at = time.monotonic()

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write a checkpoint.

        Args:
            tensors: by name.
            state: beside them.
        """
        assert self.run is not None
        self.run.save_checkpoint(tensors, {"stage": self.stage, **state})

    def load(self, restore: Callable[[dict[str, Tensor], dict[str, Any]], None]) -> None:
        """Restore the stage's checkpoint, if there is one.

        Args:
            restore: takes its tensors and state.

        Raises:
            RunError: it is damaged, or of another model.
        """
        checkpoint = self.run.load_checkpoint(self.stage) if self.run is not None else None
        if checkpoint is None:
            return
        try:
            restore(*checkpoint)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = (str(error).splitlines() or [""])[-1].strip()
            raise RunError(
                f"{self.run.path if self.run else ''}/checkpoint.safetensors is damaged, or of another model "
                f"({type(error).__name__}: {reason}): delete it, and --resume starts this stage again"
            ) from error
