"""The learned method's phase: the network with its masks is trained, and the masks decide what goes."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from edgeprune.graph.classes import Graph
from edgeprune.importance import score
from edgeprune.learned.analyser import OutputAnalyser
from edgeprune.learned.phase import PruningPhase
from edgeprune.learned.scale import restore_scale
from edgeprune.methods.phase import Phase
from edgeprune.methods.removal import Removed
from edgeprune.training import PRECISIONS, Extra


class MaskedPhase(Phase):
    """Training with masks that move by the task's loss, at a pace that follows the budget."""

    recalibrates = True  # masks move faster than running statistics follow

    def _graph(self) -> Graph:
        context, options = self.context, self.context.options
        self.analyser = OutputAnalyser(
            context.model,
            context.example,
            max_iter=context.steps,
            offset=options.offset,
            images=options.mask_images,
            floor=options.floor,
            autocast=PRECISIONS[context.precision],
            opaque=options.opaque or (),
        )
        return self.analyser.graph

    @property
    def model(self) -> nn.Module:
        """The network with its masks and pruning-models."""
        return self.analyser

    def begin(self) -> Extra:
        """Return the controller of `interacting`, which a user may steer."""
        tracked = self.context.budget().tracking_budget(self.graph, score(self.graph, "l2"))
        self.callback = self.controlled = PruningPhase(self.analyser, tracked, self.context.run)
        return self.callback

    def remove(self, momenta: Mapping[str, Tensor]) -> Removed:  # noqa: ARG002
        """Fix the masks and multiply them into the weights; the optimizer begins anew."""
        context, manual = self.context, self.controlled.manual
        plan = self.analyser.settle(None if manual else context.budget())
        if manual:
            targets = ",".join(map(str, context.budget().targets))
            note = f"steered by hand to the end: the masks are as they came out, {targets} was not enforced"
            plan = replace(plan, notes=(*plan.notes, note))
        done = self.analyser.finish(plan)
        restore_scale(done.model, context.example, dict(context.original()))
        return Removed(done.model, done.plan, {})
