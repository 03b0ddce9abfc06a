"""The learned method's phase: the network is trained with masks, which decide what is pruned."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgeprune import tasks
from edgeprune.budget import Budget
from edgeprune.errors import PlanError, TargetError, TrainError
from edgeprune.graph.classes import Graph
from edgeprune.importance import score
from edgeprune.learned.allocation import Allocation
from edgeprune.learned.analyser import OutputAnalyser, multiply
from edgeprune.learned.phase import PruningPhase
from edgeprune.learned.scale import restore_scale
from edgeprune.methods.options import MASKS
from edgeprune.methods.phase import Phase
from edgeprune.methods.removal import Removed, agreed
from edgeprune.methods.sensitive import worth_to_outputs
from edgeprune.training import PRECISIONS, Callback

_log = logging.getLogger(__name__)
BY_MASKS = "masks alone decided what each layer loses"


class MaskedPhase(Phase):
    """Training with masks that learn from the task's loss; a controller steers them to the budget."""

    recalibrates = True  # masks change faster than running statistics
    _without = ""  # why nothing is allocated, though nothing forbids it

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
            graph=context.graph,
        )
        if context.graph is not None:  # inputs have the network's device and memory layout
            layout = torch.channels_last if _is_channels_last(context.model) else torch.preserve_format
            self.analyser.to(context.device).to(memory_format=layout)
        return self.analyser.graph

    @property
    def model(self) -> nn.Module:
        """The network with its masks and pruning-models."""
        return self.analyser

    def begin(self) -> Callback:
        """Return the controller of `interacting`, which a user may steer."""
        own = self.context.budget()
        self.callback = self.controlled = PruningPhase(
            self.analyser, own, self.context.run, self._budget_for,
            tracked=own.tracking_budget(self.graph, score(self.graph, "l2")), allocate=self._allocate,
        )  # fmt: skip
        return self.callback

    def _allocate(self) -> Allocation | None:
        """Return how much each group is to lose, by the network as it is now; None where its masks say so.

        Raises:
            PlanError: the user asked for it, and the outputs cannot be compared.
        """
        context, chosen = self.context, self.context.options.allocation
        boxes = tasks.get(getattr(context.options, "task", "classification")).loss_in_model
        if chosen == MASKS or (chosen is None and boxes):
            return None
        if chosen is None and next(iter(context.batches()), None) is None:
            self._without = (
                f"{BY_MASKS}: give batches= to see what the outputs lose without a layer's channels"
            )
            return None
        try:
            with self.analyser.set_aside():
                order = agreed(score(self.graph, "thinet", batches=context.batches))
                return Allocation(self.graph, worth_to_outputs(self.graph, context, order))
        except PlanError as error:
            if chosen is not None:
                raise
            self._without = f"{BY_MASKS}: {error}"
            return None

    def _budget_for(self, target: str) -> Budget | None:
        """Return the budget of a target that a user sets while the phase runs; None where no plan meets it."""
        own = self.context.budget()
        try:
            budget = Budget.of(target, self.graph, own.align, own.floor)
            budget.select(self.graph, score(self.graph, "l2"))
        except TargetError as error:
            _log.warning("the target stays as it is: %s", error)
            return None
        return budget

    def remove(self, momenta: Mapping[str, Tensor]) -> Removed:  # noqa: ARG002
        """Freeze the masks and multiply them into the weights; the optimizer's state is reset."""
        manual, target = self.controlled.manual, self.controlled.target
        own = self.context.budget()
        budget = own if target is None else self.controlled.budget or own
        plan = self.analyser.freeze(None if manual else budget, self.controlled.allocation)
        if self._without:
            plan = replace(plan, notes=(*plan.notes, self._without))
        targets = ",".join(map(str, budget.targets))
        if target is not None:
            first = ",".join(map(str, own.targets))
            note = f"steered by hand: the target was set to {targets} while pruning, in place of {first}"
            plan = replace(plan, notes=(*plan.notes, note))
        if manual:
            note = f"steered by hand to the end: the masks are as they were then, {targets} was not enforced"
            plan = replace(plan, notes=(*plan.notes, note))
        done = self.analyser.finish(plan)
        self.restore_size(done.model)
        return Removed(done.model, done.plan, {})

    def restore_size(self, smaller: nn.Module) -> None:
        """Restore the scale of masked weights."""
        restore_scale(smaller, self.context.example, dict(self.context.original()))

    def own_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the pruning-models."""
        return self.analyser.pruning_parameters()

    def own_state(self) -> dict[str, Tensor]:
        """Return the pruning-models' weights and the masks."""
        state = self.analyser.state_dict()
        return {name: tensor for name, tensor in state.items() if not name.startswith("model.")}

    def restore_own(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the pruning-models' weights and the masks."""
        own = self.own_state()
        if {name: value.shape for name, value in own.items()} != {n: v.shape for n, v in tensors.items()}:
            raise TrainError(
                "the pruner's state is of another network or another method: give the one it was saved of"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])

    def abandon(self) -> None:
        """Remove masks and hooks from the network."""
        self.analyser.detach()

    def follow(self, other: nn.Module) -> None:
        """Multiply the masks into a copy's weights."""
        multiply(other, self.analyser.fixed)


def _is_channels_last(model: nn.Module) -> bool:
    """Return whether the convolutions' weights are in channels-last memory format."""
    weights = [
        parameter for parameter in model.parameters() if parameter.dim() == 4 and parameter.shape[1] > 1
    ]
    return any(
        weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        for weight in weights
    )
