"""Soft filter pruning: channels are set to zero, and may recover."""

import math
from typing import Any

import numpy as np
import torch

from edgeprune.budget import Budget
from edgeprune.graph.classes import Bools, Graph
from edgeprune.methods.removal import Scorer
from edgeprune.training import Callback


class SoftPruning(Callback):
    """Zeroes, after each epoch, the channels that would be removed if training ended there; all train on.

    Source: He et al., Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks, 2018 (FPGM,
    2019, the same with another criterion). It zeroes filters of single layers; here every weight, bias and
    normalisation that writes a dropped class goes to zero, so that the network at the end of an epoch
    computes what its compacted form would (but for what a zero-padding shortcut brings to such a class).

    Args:
        graph: of the model in training, whose parameters it shares.
        score: criterion on that graph.
        budget: selects the channels to keep.
        per_epoch: steps of an epoch.
    """

    def __init__(self, graph: Graph, score: Scorer, budget: Budget, per_epoch: int) -> None:
        self.graph, self.score, self.budget, self.per_epoch = graph, score, budget, per_epoch
        self.zeroed = 0

    def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:  # noqa: ARG002
        """Choose channels anew at the end of an epoch, and set them to zero."""
        if step % self.per_epoch == 0:
            plan = self.budget.select(self.graph, self.score(self.graph))
            self.zeroed = int((~plan.keep).sum())
            zero(self.graph, plan.keep)
        return {"zeroed": self.zeroed}

    def state(self) -> dict[str, Any]:
        """Return the number of channels that the last epoch set to zero."""
        return {"zeroed": self.zeroed}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.zeroed = state["zeroed"]


def zero(graph: Graph, keep: Bools) -> None:
    """Set every parameter that writes a dropped class to zero, in place.

    Weights that read such a class stay, so that it can recover.
    """
    alive = np.append(keep, True)  # class -1 stays
    named = dict(graph.model.named_parameters())
    with torch.no_grad():
        for (name, axis), classes in graph.param_axes.items():
            parameter = named.get(name)
            reads = parameter is not None and parameter.dim() > 1 and graph.flow.outputs.get(name) != axis
            if parameter is None or reads:
                continue
            gone = torch.from_numpy(np.flatnonzero(~alive[classes])).to(parameter.device)
            parameter.index_fill_(axis, gone, 0.0)
