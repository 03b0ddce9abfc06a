"""The learned method: pruning-models in the network learn from the task's loss which channels to keep."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from edgeprune.errors import TrainError
from edgeprune.methods.base import MOST_STEPS, NOT_SCORED, Method
from edgeprune.methods.course import Course, Removal
from edgeprune.methods.options import MASKS, MethodOptions
from edgeprune.methods.schedules import Schedule

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.graph.classes import Graph
    from edgeprune.methods.phase import Context, Phase

PHASE_SHARE, FEWEST_STEPS = MOST_STEPS / 39_100, 400  # the source: 100 epochs of 391 steps
MANY_EPOCHS = 20  # from which on the source's rates are used
# Options that only criteria and their schedules use; each with its default.
OF_CRITERIA = {
    "prune_schedule": None, "reconstruct": None, "reduction": None, "normalise": None,
    "moment": "start", "optimizer_state": "reset",
}  # fmt: skip


class Learned(Method):
    """One phase of learned masks, which are frozen at its end."""

    name = "learned"
    help = "masks that small pruning-models learn from the task's loss"
    steerable = True

    def defaults(self, options: MethodOptions) -> dict[str, Any]:  # noqa: ARG002
        """Fill in nothing: there is no schedule and no fit."""
        return {}

    def check(self, options: MethodOptions, *, pretrained: bool = True) -> None:
        """Refuse options of criteria, and an untrained network."""
        for name, default in OF_CRITERIA.items():
            if getattr(options, name) != default:
                raise TrainError(
                    f"`{name}` is for criteria; the learned method has a phase of its own: leave it "
                    "out, or choose another `method`"
                )
        if not pretrained:
            raise TrainError("`init=random` is for criteria: the learned method prunes a trained network")

    def training_defaults(self, options: MethodOptions) -> dict[str, Any]:
        """Return the rate of few epochs, which was measured; for more the source's own stays."""
        from edgeprune.methods.auto import recipe_rates

        epochs = getattr(options, "epochs", None)
        return recipe_rates(options) if epochs is not None and epochs < MANY_EPOCHS else {}

    def idle(self, options: MethodOptions) -> dict[str, str]:
        """Return the options of schedules, and of scores where there are none."""
        idle = dict.fromkeys(("prune_steps", "switch", "shrink"), "the learned method has a phase of its own")
        return {**idle, **NOT_SCORED} if options.allocation == MASKS else idle

    def phase_steps(self, total: int) -> int:
        """Return a tenth of the steps, as in the source; more where those are too few for masks to learn.

        A step of the phase takes longer than one of fine-tuning, and recovers less.
        """
        return min(MOST_STEPS, max(round(PHASE_SHARE * total), min(FEWEST_STEPS, super().phase_steps(total))))

    def course(self, options: MethodOptions, *, per_epoch: int, total: int) -> Course:
        """Return the course: one removal, at the end of the phase.

        Args:
            options: resolved ones.
            per_epoch: steps of an epoch.
            total: steps of the run, fine-tuning included.

        Raises:
            TrainError: the phase does not fit into the run.
        """
        window = options.prune_iterations or 1
        return Course((self.name,), Schedule(), "start", per_epoch, total, window, count=1, switch=1.0)

    def prunable(self, model: "nn.Module", example: "Tensor", opaque: Iterable[str] = ()) -> "Graph":
        """Return the graph of what the masks may prune.

        Args:
            model: any network; it is not changed.
            example: an input, batch included.
            opaque: modules that are not pruned.

        Raises:
            TraceError, ModelError: this method cannot prune it.
        """
        from edgeprune.learned.analyser import OutputAnalyser

        analyser = OutputAnalyser(model, example, opaque=tuple(opaque))
        analyser.detach()
        return analyser.graph

    def phase(self, context: "Context", removal: Removal) -> "Phase":
        """Return the phase of learned masks."""
        from edgeprune.methods.masked import MaskedPhase

        return MaskedPhase(self, context, removal)
