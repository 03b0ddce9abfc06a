"""Solvers, which turn a budget and scores into a keep-plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.records.runs import KeepPlan

if TYPE_CHECKING:
    from edgeprune.budget.budgets import Budget

Floats = NDArray[np.float64]


class Solver:
    """Turns scores into a plan within a budget.

    Attributes:
        takes_ratios: whether it supports shares to keep of single groups.
    """

    takes_ratios: ClassVar[bool] = False

    def select(self, budget: "Budget", graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:
        """Choose what is kept.

        Args:
            budget: limits of what remains.
            graph: of the model as it is now.
            scores: (classes,) numbers, higher is more important.
            ratios: share to keep of single groups, by name.

        Raises:
            TargetError: the goals cannot be met.
        """
        raise NotImplementedError

    def finalize(self, budget: "Budget", graph: Graph, scores: Floats) -> Plan:
        """Choose the final plan of a run; nothing is removed after it.

        Args:
            budget: limits of what remains.
            graph: of the model as it is now.
            scores: (classes,) numbers, higher is more important.
        """
        return self.select(budget, graph, scores, {})

    def tracking_budget(self, budget: "Budget", graph: Graph, scores: Floats) -> "Budget":  # noqa: ARG002
        """Return the budget that a controller tracks while single channels are removed.

        Args:
            budget: limits of what finally remains.
            graph: of the model as it is now.
            scores: (classes,) numbers, higher is more important.
        """
        return budget

    def record(self, budget: "Budget") -> dict[str, Any] | None:  # noqa: ARG002
        """Return what `finalize` measured last, for the run folder; None if it measured nothing."""
        return None

    def remarks(self) -> list[str]:
        """Return notes on this solver's plans."""
        return []


@dataclass(frozen=True)
class PlanSolver(Solver):
    """Returns an existing plan instead of choosing one.

    Attributes:
        plan: as it is written.
    """

    plan: KeepPlan

    def select(self, budget: "Budget", graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:  # noqa: ARG002
        """Return the plan, whatever the budget and the scores.

        Args:
            budget: not used.
            graph: of the model as it is now.
            scores: not used.
            ratios: not used.

        Raises:
            PlanError: the plan is of another model.
        """
        return Plan.of_record(graph, self.plan)
