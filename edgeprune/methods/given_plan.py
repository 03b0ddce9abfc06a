"""A keep-plan from a file, in place of a method: no channels are scored."""

from typing import TYPE_CHECKING

from edgeprune.errors import TrainError
from edgeprune.methods.base import LEARNED_ONLY, NOT_SCORED, Method
from edgeprune.methods.options import MethodOptions

if TYPE_CHECKING:
    from edgeprune.methods.phase import Phase
    from edgeprune.methods.removal import Scores

PLAN = "plan"
DECIDED = ("method", "target", "align", "floor", "prune_steps", "switch", "shrink", *LEARNED_ONLY)


class GivenPlan(Method):
    """Carries out a plan from a file in one removal; only --plan selects it."""

    name = PLAN
    help = "what a file says, as 'edgeprune search' writes it"

    def check(self, options: MethodOptions, *, pretrained: bool = True) -> None:  # noqa: ARG002
        """Refuse options that choose channels: the plan has decided that."""
        if options.method not in (MethodOptions.method, PLAN):
            raise TrainError(f"`plan` says what goes: leave `method={options.method}` out")
        if options.prune_schedule not in (None, self.schedule):
            raise TrainError(
                f"`plan` is carried out at once: leave `prune_schedule={options.prune_schedule}` out"
            )
        for name in ("reduction", "normalise", "target_device", "host"):
            if getattr(options, name, None) is not None:
                raise TrainError(f"`plan` says what goes: leave `{name}` out")

    def idle(self, options: MethodOptions) -> dict[str, str]:
        """Return the options that choose channels."""
        idle = dict.fromkeys(DECIDED, "`plan` says what is pruned")
        return idle if self.reads_batches(options) else {**idle, **NOT_SCORED}

    def scores(self, phase: "Phase") -> "Scores":
        """Return zeros: the budget holds the plan."""
        import numpy as np

        return np.zeros(phase.graph.classes)
