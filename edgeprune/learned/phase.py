"""The pruning phase as a callback of the training loop: steering, the controller, active counts."""

import math
from collections.abc import Callable
from typing import Any

import torch

from edgeprune.budget import Budget
from edgeprune.learned.analyser import OutputAnalyser
from edgeprune.learned.controller import Controller
from edgeprune.processes.distributed import world
from edgeprune.runs.training_state import TrainingState
from edgeprune.training.callbacks import Callback

BudgetFor = Callable[[str], Budget | None]


class PruningPhase(Callback):
    """Reads steering commands after each step, then lets the controller set `interacting`.

    Without a budget, only the user changes `interacting`. A steering command disables the controller
    until {"auto": true} enables it again. A new target takes the place of the budget's, and enables it, too.

    Attributes:
        target: that a steering command set; None while it is the budget's own.
    """

    def __init__(
        self,
        analyser: OutputAnalyser,
        budget: Budget | None,
        run: TrainingState | None = None,
        budget_for: BudgetFor = lambda target: None,  # noqa: ARG005
    ) -> None:
        """Begin with all channels on.

        Args:
            analyser: the network with its masks.
            budget: that the controller follows; None without one.
            run: the folder through which the phase is steered.
            budget_for: returns the budget of another target; None for one that cannot be met.
        """
        self.analyser, self.budget, self.run = analyser, budget, run
        self.target: str | None = None
        self._budget_for = budget_for
        self.controller = None if budget is None else Controller(budget.fraction(), analyser.max_iter)
        self.manual = False
        self.taken = 0
        self.read = 0  # bytes of steering commands seen
        self.started = False
        analyser.next_step()  # masks move once for each step of the optimizer, however many calls it takes

    def fraction(self) -> float:
        """Return the active fraction of the target's quantity; of the FLOPs without a target."""
        if self.budget is None:
            return self.analyser.active()["flops_fraction"]
        return self.budget.remaining(self.analyser.graph, self.analyser.keep)

    def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:  # noqa: ARG002
        """Apply steering commands, update `interacting`, and return the values to log."""
        self.analyser.next_step()
        self._steer()
        active = self.analyser.active()
        if self.controller is not None:
            active["target_fraction"] = fraction = self.fraction()
            if not self.started:
                self.controller.start, self.started = fraction, True
            if not self.manual:
                self.analyser.interacting = self.controller.interacting(step, fraction)
        if world().size > 1:  # a steering command may reach one process a step before another
            value = torch.tensor(
                [self.analyser.interacting], dtype=torch.float64, device=self.analyser.cm.device
            )
            self.analyser.interacting = float(world().broadcast(value))
        return {
            **active,
            "interacting": self.analyser.interacting,
            "mask_mean": float(self.analyser.cm.mean()),
            "manual": self.manual,
            **({"target": self.target} if self.target is not None else {}),
        }

    def _steer(self) -> None:
        size = self.run.steering_bytes() if self.run is not None else 0
        if self.run is None or size == self.read:
            return
        self.read = size
        commands = self.run.steering()
        for command in commands[self.taken :]:
            if "auto" in command:
                self.manual = False
            elif "interacting" in command:
                base = self.analyser.interacting if command.get("relative") else 0.0
                self.take_over(base + float(command["interacting"]))
            elif "target" in command:
                self.aim_for(command["target"])
        self.taken = len(commands)

    def take_over(self, interacting: float) -> None:
        """Let the user set `interacting`; the controller rests until ``manual`` is False again."""
        self.manual = True
        self.analyser.interacting = interacting
        if self.controller is not None:
            # Enabled again later, it starts from here, not from where it left off.
            self.controller.progress = self.analyser.progress

    def aim_for(self, target: str) -> None:
        """Let the controller follow another target from here on, unless that cannot be met."""
        budget = self._budget_for(target)
        if budget is None:
            return
        self.target, self.budget, self.manual = target, budget, False
        if self.controller is None:
            self.controller = Controller(budget.fraction(), self.analyser.max_iter)
            self.controller.progress = self.analyser.progress
        self.controller.target = budget.fraction()

    def state(self) -> dict[str, Any]:
        """Return the state for the checkpoint."""
        controller = self.controller
        return {
            "iteration": self.analyser.iteration,
            "interacting": self.analyser.interacting,
            "manual": self.manual,
            "taken": self.taken,
            "started": self.started,
            "target": self.target,
            "controller": None if controller is None else [controller.start, controller.progress],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned, and set the masks that the loaded model holds."""
        if state.get("target") is not None:  # a checkpoint of an earlier version has none
            self.aim_for(state["target"])
        self.analyser.iteration, self.analyser.interacting = state["iteration"], state["interacting"]
        self.manual, self.taken, self.started = state["manual"], state["taken"], state["started"]
        if self.controller is not None and state["controller"] is not None:
            self.controller.start, self.controller.progress = state["controller"]
        self.analyser.restore()
