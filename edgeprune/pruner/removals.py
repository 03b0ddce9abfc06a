"""The removals of a pruner: what the network learns until each, when it is due, and the keep-plans that were made."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgeprune.errors import TrainError
from edgeprune.learned.phase import PruningPhase
from edgeprune.methods.base import Method
from edgeprune.methods.course import Course
from edgeprune.methods.phase import Phase
from edgeprune.pruner.contexts import Contexts
from edgeprune.pruner.first_run import FirstRun
from edgeprune.pruner.networks import Networks
from edgeprune.pruner.running_phase import IDLE, NOT_STEERED, RunningPhase
from edgeprune.records.runs import KeepPlan


class Removals:
    """Goes through the course of a method, one phase after the other.

    Attributes:
        plans: the keep-plans so far, each for the network that the one before it left.
        made_at: the step of each.
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
        self._running: RunningPhase | None = None
        self.plans: list[KeepPlan] = []
        self.made_at: list[int] = []
        self._first_run = FirstRun(self._make_first).attach(networks.outermost)

    @property
    def phase(self) -> Phase | None:
        """The training up to the next removal; None where there is none to come."""
        return None if self._running is None else self._running.phase

    @property
    def fraction(self) -> float:
        """The remaining fraction of the target's quantity; while masks move, the active one."""
        callback = None if self._running is None else self._running.callback
        return callback.fraction() if isinstance(callback, PruningPhase) else self._contexts.remaining

    @property
    def steered(self) -> PruningPhase:
        """The learned method's phase; raises TrainError where it does not act."""
        if self._running is None:
            raise TrainError(NOT_STEERED)
        return self._running.steered

    # --- the loop --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin training up to the next removal, if there is one."""
        removal = self._course.next_after(self.made_at)
        started_at = self.made_at[-1] if self.made_at else 0
        self._running = None
        if removal is None:
            return
        context = self._contexts.of_phase(max(1, removal.step - started_at))
        with self._networks.on_cpu():
            phase = self._method.phase(context, removal)
        callback = phase.begin()
        with self._networks.on_cpu():
            callback.before_training()
        self._networks.remember()
        self._running = RunningPhase(phase, started_at, self._networks.link)

    def after_step(self, taken: int, loss: float) -> dict[str, Any]:
        """Let the phase act after a step of the optimizer, and make the removals that are due.

        Args:
            taken: steps so far.
            loss: of the last.

        Returns:
            Numbers to log.
        """
        numbers = {} if self._running is None else self._running.after_step(taken, loss)
        self._networks.link.next_step()
        before = len(self.plans)
        self.make_due(taken)
        removed = len(self.plans) > before
        # The learned method's callback has counted what is active.
        fraction = self.fraction if removed else numbers.get("target_fraction", self._contexts.remaining)
        return {**numbers, "fraction": fraction, "removed": removed}

    def _make_first(self) -> None:
        self.make_due(0)

    def make_due(self, taken: int) -> None:
        """Make the removals that are due after ``taken`` steps."""
        self._first_run.remove()
        while self._running is not None and self._running.is_due(taken):
            self.make(taken)
            self.begin()

    def make_last(self, taken: int) -> None:
        """Make all that remains in one removal, after ``taken`` steps.

        Raises:
            TrainError: the method learns from steps, and there were none.
        """
        self._first_run.remove()
        if self.phase is None:
            return
        if taken == 0 and self.phase.removal.step > 0:
            raise TrainError(
                f"step() was never called, and {self._method.name} prunes after {self.phase.removal.step} steps: "
                "call it after each optimizer.step()"
            )
        if self.phase.removal.step > taken:
            self._networks.notes.append(f"finished after {taken} steps, before the last removal was due")
        self.phase.removal = replace(self.phase.removal, progress=1.0)
        self.make(taken)

    def make(self, taken: int) -> None:
        """Make the removal at the end of the phase, after ``taken`` steps."""
        assert self._running is not None
        self._networks.link.check_steps(taken)
        self.plans.append(self._networks.remove(self._running.phase))
        self.made_at.append(taken)
        self._running.end()
        self._running = None
        self._contexts.note_size()

    # --- checkpoints -----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs: plans, and the state of the phase."""
        return {
            "plans": [plan.to_dict() for plan in self.plans],
            "removed_at": [*self.made_at],
            **(IDLE if self._running is None else self._running.state()),
        }

    def replay(self, state: Mapping[str, Any]) -> None:
        """Make the removals of a state again, in a network that has had none, and begin the phase after them."""
        self._first_run.remove()
        if self._running is not None:
            self._running.phase.abandon()
            self._running.end()
        self.plans = [KeepPlan.from_dict(plan) for plan in state["plans"]]
        for plan in self.plans:
            self._networks.replay(plan)
        self._contexts.note_size()
        self.made_at = [*state["removed_at"]]
        self.begin()

    def restore_phase(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the phase that is under way."""
        if self._running is not None:
            self._running.restore(state)
