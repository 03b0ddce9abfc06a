"""Budgets: turn class scores into a keep-plan at a share of the FLOPs, parameters, memory, latency or energy."""

from typing import TYPE_CHECKING

from edgeprune.budget.targets import Target, need_device, need_load, parse_targets
from edgeprune.registry import import_on_first_use

if TYPE_CHECKING:
    from edgeprune.budget.budgets import Budget
    from edgeprune.budget.greedy import TOLERANCE, Greedy, evened, floors_of, level_scores
    from edgeprune.budget.scores import as_scores, checked_scores
    from edgeprune.budget.selection import select
    from edgeprune.budget.solvers import PlanSolver, Solver

__all__ = [
    "TOLERANCE", "Budget", "PlanSolver", "Greedy", "Solver", "Target", "as_scores", "checked_scores", "evened",
    "floors_of", "level_scores", "need_device", "need_load", "parse_targets", "select",
]  # fmt: skip

__getattr__ = import_on_first_use(
    __name__,
    {
        "budgets": ("Budget",),
        "greedy": ("TOLERANCE", "Greedy", "evened", "floors_of", "level_scores"),
        "scores": ("as_scores", "checked_scores"),
        "selection": ("select",),
        "solvers": ("PlanSolver", "Solver"),
    },
)
