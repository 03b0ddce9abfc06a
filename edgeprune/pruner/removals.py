"""The removals of a pruner: what the network learns until each, when it is due, and the keep-plans that were made."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from edgeprune.methods.base import Method
from edgeprune.methods.course import Course
from edgeprune.methods.phase import Phase
from edgeprune.pruner.contexts import Contexts
from edgeprune.pruner.networks import Networks
from edgeprune.records.runs import KeepPlan


class Removals:
    """Goes through the course of a method, one phase after the other.

    Attributes:
        phase: the training up to the next removal; None where there is none to come.
        plans: the keep-plans so far, each for the network that the one before it left.
        made_at: the step of each.
        started_at: the step at which the phase began.
        own_optimizer: of parameters that belong to the method and not to the network.
    """

    def __init__(
        self,
        networks: Networks,
        method: Method,
        course: Course,
        contexts: Contexts,
    ) -> None:
        """Prepare the removals; `begin` starts the first phase.

        Args:
            networks: the user's network, its copies and its optimizer.
            method: makes the phases.
            course: when removals happen.
            contexts: of the phases; they note the network's size.
        """
        self._networks, self._method, self._course = networks, method, course
        self._contexts = contexts
        self.phase: Phase | None = None
        self.own_optimizer: torch.optim.Optimizer | None = None
        self.plans: list[KeepPlan] = []
        self.made_at: list[int] = []
        self.started_at = 0

    def begin(self) -> None:
        """Begin training up to the next removal, if there is one."""
        removal = self._course.next_after(self.made_at)
        self.started_at = self.made_at[-1] if self.made_at else 0
        self.phase, self.own_optimizer = None, None
        if removal is None:
            return
        context = self._contexts.of_phase(max(1, removal.step - self.started_at))
        with self._networks.on_cpu():
            self.phase = self._method.phase(context, removal)
        self.phase.begin()
        self._networks.remember()
        self.own_optimizer = self._networks.link.another(self.phase.own_parameters())

    def make_due(self, taken: int) -> None:
        """Make the removals that are due after ``taken`` steps."""
        while self.phase is not None:
            callback = self.phase.callback
            over = taken > self.started_at and callback is not None and callback.finished()
            if self.phase.removal.step > taken and not over:
                return
            self.make(taken)
            self.begin()

    def make_last(self, taken: int) -> None:
        """Make all that remains in one removal, after ``taken`` steps."""
        if self.phase is None:
            return
        if self.phase.removal.step > taken:
            self._networks.notes.append(f"finished after {taken} steps, before the last removal was due")
        self.phase.removal = replace(self.phase.removal, progress=1.0)
        self.make(taken)

    def make(self, taken: int) -> None:
        """Make the removal at the end of the phase, after ``taken`` steps."""
        assert self.phase is not None
        self.plans.append(self._networks.remove(self.phase))
        self.made_at.append(taken)
        self.phase = None
        self._contexts.note_size()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs: plans, and the state of the phase."""
        phase = self.phase
        return {
            "plans": [plan.to_dict() for plan in self.plans],
            "removed_at": [*self.made_at],
            "callback": None if phase is None or phase.callback is None else phase.callback.state(),
            "own": {}
            if phase is None
            else {name: value.clone() for name, value in phase.own_state().items()},
            "own_optimizer": None if self.own_optimizer is None else self.own_optimizer.state_dict(),
        }

    def replay(self, state: Mapping[str, Any]) -> None:
        """Make the removals of a state again, in a network that has had none, and begin the phase after them."""
        if self.phase is not None:
            self.phase.abandon()
        self.plans = [KeepPlan.from_dict(plan) for plan in state["plans"]]
        for plan in self.plans:
            self._networks.replay(plan)
        self._contexts.note_size()
        self.made_at = [*state["removed_at"]]
        self.begin()

    def restore_phase(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the phase that is under way."""
        if self.phase is None or state["callback"] is None:
            return
        self.phase.restore_own(state["own"])
        assert self.phase.callback is not None
        self.phase.callback.restore(dict(state["callback"]))
        if self.own_optimizer is not None:
            self.own_optimizer.load_state_dict(state["own_optimizer"])
