"""A phase while the steps of the loop go by: what acts in them, and how far it has come."""

from collections.abc import Mapping
from typing import Any

from edgeprune.errors import TrainError
from edgeprune.learned.phase import PruningPhase
from edgeprune.methods.phase import Phase
from edgeprune.pruner.optimizers import OptimizerLink
from edgeprune.training import Callback


class RunningPhase:
    """Lets a phase act in the user's loop, from its beginning to `end`.

    Attributes:
        phase: the training up to the next removal.
        started_at: the step at which it began.
    """

    def __init__(self, phase: Phase, started_at: int, link: OptimizerLink) -> None:
        """Begin to act before each step of the optimizer.

        Args:
            phase: begun.
            started_at: steps of the loop so far.
            link: to the optimizer.
        """
        self.phase, self.started_at, self._link = phase, started_at, link
        self._own_optimizer = link.another(phase.own_parameters())  # of what belongs to the method
        link.before_step = self._before_update

    def end(self) -> None:
        """Act no more."""
        self._link.before_step = lambda: None

    @property
    def callback(self) -> Callback | None:
        """What acts in the training; None where nothing does."""
        return self.phase.callback

    @property
    def steered(self) -> PruningPhase:
        """The learned method's phase; raises TrainError where another method acts."""
        if not isinstance(self.callback, PruningPhase):
            raise TrainError(NOT_STEERED)
        return self.callback

    def is_due(self, taken: int) -> bool:
        """Return whether the removal at its end is due after ``taken`` steps."""
        callback = self.callback
        over = taken > self.started_at and callback is not None and callback.finished()
        return self.phase.removal.step <= taken or over

    def after_step(self, taken: int, loss: float) -> dict[str, Any]:
        """Train what belongs to the method, and return numbers to log.

        Args:
            taken: steps of the loop so far.
            loss: of the last.
        """
        if self._own_optimizer is not None:
            self._link.update(self._own_optimizer)
        assert self.callback is not None
        return self.callback.after_step(taken - self.started_at, loss)

    def _before_update(self) -> None:
        """Add penalties to the gradients, between the backward pass and the optimizer's step."""
        if self.callback is None:
            return
        for leaf in self.callback.leaves():
            if leaf.grad is not None and self._link.scale != 1.0:
                leaf.grad /= self._link.scale
        self.callback.before_update(self._link.rate)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        own = self._own_optimizer
        return {
            "callback": None if self.callback is None else self.callback.state(),
            "own": {name: value.clone() for name, value in self.phase.own_state().items()},
            "own_optimizer": None if own is None else own.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        if state["callback"] is None:
            return
        self.phase.restore_own(state["own"])
        assert self.callback is not None
        self.callback.restore(dict(state["callback"]))
        if self._own_optimizer is not None:
            self._own_optimizer.load_state_dict(state["own_optimizer"])


NOT_STEERED = "only the learned method is steered, and only while its phase lasts"
IDLE: dict[str, Any] = {
    "callback": None,
    "own": {},
    "own_optimizer": None,
}  # the state where no phase is running
