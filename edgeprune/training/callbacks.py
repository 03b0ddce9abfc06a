"""Callbacks of the training loop: what the learned method's controller, a penalty or soft pruning derive from."""

import math
from typing import Any

from torch import Tensor


class Callback:
    """Does nothing; a subclass overrides the hooks it needs. Every hook runs on every rank."""

    def leaves(self) -> list[Tensor]:
        """Return tensors outside the model that get gradients; ranks average these like the model's gradients."""
        return []

    def before_training(self) -> None:
        """Act before the first step, while the network is as it was; not where training is resumed."""

    def before_update(self, rate: float) -> None:
        """Act once gradients are computed, before the optimizer's step at learning rate ``rate``."""

    def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:  # noqa: ARG002
        """Act after an optimizer step; return values to log every REPORT_EVERY steps."""
        return {}

    def finished(self) -> bool:
        """Return whether the stage may end before its last step."""
        return False

    def state(self) -> dict[str, Any]:
        """Return the state for the checkpoint: tensors, and values that JSON can hold."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""


class Plateau(Callback):
    """Ends a stage once the loss levels off: an epoch's mean is less than ``least`` below the one before.

    This is the moment at which methods.md's third method prunes ("when the model begins to stabilise").

    Args:
        per_epoch: steps of an epoch.
        least: smallest relative decrease of the mean loss per epoch that still counts as progress.
        patience: consecutive epochs without progress after which the stage ends.
    """

    def __init__(self, per_epoch: int, least: float = 0.05, patience: int = 1) -> None:
        self.per_epoch, self.least, self.patience = per_epoch, least, patience
        self._sum, self._before, self._flat = 0.0, math.inf, 0

    def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:
        """Add one step's loss to the mean of its epoch."""
        self._sum += loss
        if step % self.per_epoch == 0:
            mean = self._sum / self.per_epoch
            self._flat = self._flat + 1 if mean > (1 - self.least) * self._before else 0
            self._sum, self._before = 0.0, mean
        return {}

    def finished(self) -> bool:
        """Return whether the loss has levelled off."""
        return self._flat >= self.patience

    def state(self) -> dict[str, Any]:
        """Return the sums so far; None stands for "no epoch yet"."""
        before = None if math.isinf(self._before) else self._before
        return {"sum": self._sum, "before": before, "flat": self._flat}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self._sum, self._flat = state["sum"], state["flat"]
        self._before = math.inf if state["before"] is None else state["before"]
