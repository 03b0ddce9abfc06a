"""The pruning phase as a callback of the training loop: steering, the controller, active counts."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from edgeprune.budget import Budget
from edgeprune.graph.cost import Floats
from edgeprune.learned.allocation import Allocation
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
        allocation: by which each group has a share of its own; None where the masks of all are steered together.
    """

    def __init__(
        self,
        analyser: OutputAnalyser,
        budget: Budget | None,
        run: TrainingState | None = None,
        budget_for: BudgetFor = lambda target: None,  # noqa: ARG005
        *,
        tracked: Budget | None = None,
        allocate: Callable[[], Allocation | None] = lambda: None,
    ) -> None:
        """Begin with all channels on.

        Args:
            analyser: the network with its masks.
            budget: to be met; None without one.
            run: the folder through which the phase is steered.
            budget_for: returns the budget of another target; None for one that cannot be met.
            tracked: what the controller follows, where it is not the budget; see `Budget.tracking_budget`.
            allocate: called before the first step, while the network is as it was.
        """
        self.analyser, self.budget, self.run = analyser, budget, run
        self.tracked = tracked or budget
        self.target: str | None = None
        self._budget_for, self._allocate = budget_for, allocate
        self.allocation: Allocation | None = None
        self.leads = np.zeros(1)
        self.controller = None if budget is None else self._new_controller()
        self.manual = False
        self.taken = 0
        self.read = 0  # bytes of steering commands seen
        self.started = False
        analyser.next_step()  # masks move once for each step of the optimizer, however many calls it takes

    def _new_controller(self) -> Controller:
        return Controller(self._goals(), self.analyser.max_iter)

    def _goals(self) -> Floats:
        """Return the active fractions at the end: of each group, or of the whole network."""
        assert self.budget is not None and self.tracked is not None
        if self.allocation is None:
            return np.array([self.tracked.fraction()])
        return self.allocation.shares(self.budget)

    def fraction(self) -> float:
        """Return the active fraction of the target's quantity; of the FLOPs without a target."""
        if self.tracked is None:
            return self.analyser.active()["flops_fraction"]
        return self.tracked.remaining(self.analyser.graph, self.analyser.keep)

    def before_training(self) -> None:
        """Allocate the target to the groups."""
        allocation = None if self.budget is None else self._allocate()
        if allocation is not None:
            self._divide(allocation)

    def _divide(self, allocation: Allocation) -> None:
        """Steer each group by its own share from here on."""
        self.allocation, self.leads = allocation, np.zeros(len(allocation.levels))
        self.controller = self._new_controller()

    def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:  # noqa: ARG002
        """Apply steering commands, update `interacting`, and return the values to log."""
        self.analyser.next_step()
        self._steer()
        active = self.analyser.active()
        if self.controller is not None:
            active["target_fraction"] = fraction = self.fraction()
            fractions = self._fractions(fraction)
            if not self.started:
                self.controller.start, self.started = fractions, True
            if not self.manual:
                interacting = self.controller.interacting(step, fractions)
                self._set(float(interacting.mean()), interacting - interacting.mean())
        if world().size > 1:  # a steering command may reach one process a step before another
            self._agree()
        return {
            **active,
            "interacting": self.analyser.interacting,
            "mask_mean": float(self.analyser.cm.mean()),
            "manual": self.manual,
            **({"target": self.target} if self.target is not None else {}),
        }

    def _fractions(self, fraction: float) -> Floats:
        """Return the active fractions that the controller follows; ``fraction`` is the whole network's."""
        if self.allocation is None:
            return np.array([fraction])
        return self.allocation.shares_of(self.analyser.keep)

    def _set(self, interacting: float, leads: Floats) -> None:
        """Set `interacting`, and the iterations by which each group's masks lead it or lag behind it."""
        self.analyser.interacting, self.leads = interacting, leads
        if self.allocation is not None:
            self.analyser.lead(self.allocation.by_class(leads))

    def _agree(self) -> None:
        """Take over the progress of the main process's masks."""
        values = torch.tensor([self.analyser.interacting, *self.leads], dtype=torch.float64)
        interacting, *leads = world().broadcast(values.to(self.analyser.cm.device)).tolist()
        self._set(interacting, np.array(leads))

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
        """Let the user set `interacting`; the controller rests until ``manual`` is False again.

        Groups keep what they lead or lag by.
        """
        self.manual = True
        self.analyser.interacting = interacting
        if self.controller is not None:
            # Enabled again later, it starts from here, not from where it left off.
            self.controller.progress = self._masks_progress()

    def aim_for(self, target: str) -> None:
        """Let the controller follow another target from here on, unless that cannot be met."""
        budget = self._budget_for(target)
        if budget is None:
            return
        self.target, self.budget, self.tracked, self.manual = target, budget, budget, False
        if self.controller is None:
            self.controller = self._new_controller()
            self.controller.progress = self._masks_progress()
        else:
            self.controller.target = self._goals()

    def _masks_progress(self) -> Floats:
        """Return the progress of each group's masks now."""
        return self.analyser.progress + self.leads / self.analyser.max_iter

    def state(self) -> dict[str, Any]:
        """Return the state for the checkpoint."""
        controller, allocation = self.controller, self.allocation
        return {
            "iteration": self.analyser.iteration,
            "interacting": self.analyser.interacting,
            "manual": self.manual,
            "taken": self.taken,
            "started": self.started,
            "target": self.target,
            "controller": None
            if controller is None
            else [controller.start.tolist(), controller.progress.tolist()],
            "leads": self.leads.tolist(),
            "allocation": None if allocation is None else allocation.scores.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned, and set the masks that the loaded model holds."""
        analyser = self.analyser
        if state.get("allocation") is not None:  # a checkpoint of an earlier version has none
            self._divide(Allocation(analyser.graph, np.array(state["allocation"])))
        if state.get("target") is not None:
            self.aim_for(state["target"])
        analyser.iteration = state["iteration"]
        self._set(state["interacting"], np.array(state.get("leads", self.leads)))
        self.manual, self.taken, self.started = state["manual"], state["taken"], state["started"]
        if self.controller is not None and state["controller"] is not None:
            start, progress = state["controller"]
            self.controller.start, self.controller.progress = np.atleast_1d(start), np.atleast_1d(progress)
        analyser.restore()
