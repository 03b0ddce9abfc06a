"""The masks at the end of the phase: which channels stay, and with which masks they are frozen."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgeprune.budget import Budget, evened
from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.cost import Floats
from edgeprune.graph.plan import Plan
from edgeprune.learned.allocation import Allocation


@dataclass(frozen=True)
class FinalMasks:
    """The masks of a graph's classes when they move no more.

    Attributes:
        graph: of the network.
        masks: (classes,), 0 for channels that are off.
        recent: (classes,) their recent average.
        scored: (classes,) whether a layer scores them.
    """

    graph: Graph
    masks: Tensor
    recent: Tensor
    scored: Bools

    @property
    def scores(self) -> Floats:
        """(classes,) higher is more important: channels that are off come last, those never scored first."""
        masks, recent = self.masks.cpu().numpy(), self.recent.cpu().numpy()
        scores = np.where(masks > 0, 1 + masks, recent / (1 + recent))
        scores[~self.scored] = scores.max() + 1
        return scores

    def plan(self) -> Plan:
        """Return the plan that keeps what is on, evened out."""
        keep = (self.masks > 0).cpu().numpy()
        return Plan.of(self.graph, evened(self.graph, keep, self.scores))

    def plan_within(self, budget: Budget, allocation: Allocation | None = None) -> Plan:
        """Return the plan that meets a budget.

        Args:
            budget: of the unpruned network.
            allocation: says how much each group loses; None for the masks.
        """
        scores = self.scores if allocation is None else allocation.in_order(self.scores)
        return budget.finalize(self.graph, scores)

    def frozen(self, plan: Plan) -> Tensor:
        """Return the masks of a plan: a channel that it keeps though it was off has its recent average."""
        keep = torch.from_numpy(plan.keep).to(self.masks.device)
        held = torch.where(self.masks > 0, self.masks, self.recent.clamp(min=1e-3))
        return torch.where(keep, held, torch.zeros_like(held))
