"""What a stage may add to the loop: the learned criterion's controller, a penalty, soft pruning."""

import math
from typing import Any

from torch import Tensor


class Extra:
    """Adds nothing; others override what they need. Every hook runs on every rank."""

    def leaves(self) -> list[Tensor]:
        """Tensors outside the model that take gradients; ranks average them as they do the model's."""
        return []

    def before_update(self, rate: float) -> None:
        """After the gradients are there, before the optimizer takes its step at learning rate ``rate``."""

    def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:  # noqa: ARG002
        """After each optimizer step; what it returns is logged every REPORT_EVERY steps."""
        return {}

    def finished(self) -> bool:
        """Whether the stage may end before its steps are taken."""
        return False

    def state(self) -> dict[str, Any]:
        """State for the checkpoint: tensors, and whatever else JSON can hold."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take `state` back."""


class Plateau(Extra):
    """Ends a stage once the loss levels off: an epoch's mean is less than ``least`` below the one before.

    The moment at which methods.md's third method prunes ("when the model begins to stabilise").

    Args:
        per_epoch: steps of an epoch.
        least: fall of the mean loss from one epoch to the next that still counts as falling, as a share.
        patience: epochs in a row that must not fall.
    """

    def __init__(self, per_epoch: int, least: float = 0.05, patience: int = 1) -> None:
        self.per_epoch, self.least, self.patience = per_epoch, least, patience
        self._sum, self._before, self._flat = 0.0, math.inf, 0

    def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:
        """Take one step's loss."""
        self._sum += loss
        if step % self.per_epoch == 0:
            mean = self._sum / self.per_epoch
            self._flat = self._flat + 1 if mean > (1 - self.least) * self._before else 0
            self._sum, self._before = 0.0, mean
        return {}

    def finished(self) -> bool:
        """Whether it has levelled off."""
        return self._flat >= self.patience

    def state(self) -> dict[str, Any]:
        """Sums so far; None stands for "no epoch yet"."""
        before = None if math.isinf(self._before) else self._before
        return {"sum": self._sum, "before": before, "flat": self._flat}

    def restore(self, state: dict[str, Any]) -> None:
        """Take `state` back."""
        self._sum, self._flat = state["sum"], state["flat"]
        self._before = math.inf if state["before"] is None else state["before"]
