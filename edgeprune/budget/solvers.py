"""Solvers: what turns a budget and scores into a keep-plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan

if TYPE_CHECKING:
    from edgeprune.budget.budgets import Budget

Floats = NDArray[np.float64]


class Solver:
    """How a budget turns scores into a plan.

    Attributes:
        takes_ratios: whether shares to keep can be given for single groups.
    """

    takes_ratios: ClassVar[bool] = False

    def select(self, budget: "Budget", graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:
        """Choose what stays.

        Args:
            budget: what may remain.
            graph: of the model as it is now.
            scores: (classes,) numbers, higher is more important.
            ratios: share to keep for single groups, by name.

        Raises:
            TargetError: the goals cannot be met.
        """
        raise NotImplementedError

    def settle(self, budget: "Budget", graph: Graph, scores: Floats) -> Plan:
        """Choose for the last time, after which nothing is removed any more.

        Args:
            budget: what may remain.
            graph: of the model as it is now.
            scores: (classes,) numbers, higher is more important.
        """
        return self.select(budget, graph, scores, {})

    def pace(self, budget: "Budget", graph: Graph, scores: Floats) -> "Budget":  # noqa: ARG002
        """Return what a controller follows while channels go one by one.

        Args:
            budget: what may remain in the end.
            graph: of the model as it is now.
            scores: (classes,) numbers, higher is more important.
        """
        return budget

    def record(self, budget: "Budget") -> dict[str, Any] | None:  # noqa: ARG002
        """Return what the last settling measured, for the run folder; None where it measured nothing."""
        return None

    def remarks(self) -> list[str]:
        """Return what a reader of this solver's plans should know."""
        return []


@dataclass(frozen=True)
class PlanSolver(Solver):
    """A plan that somebody made, in the place of a choice.

    Attributes:
        plan: as `Plan.to_dict` writes it.
    """

    plan: Mapping[str, Any]

    def select(self, budget: "Budget", graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:  # noqa: ARG002
        """Return that plan; raises PlanError where it is another model's."""
        return Plan.from_dict(graph, dict(self.plan))
