"""A budget: targets, the resources they are of, and a solver that turns scores into a keep-plan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune import resources
from edgeprune.budget.greedy import Greedy
from edgeprune.budget.scores import checked_scores
from edgeprune.budget.solvers import Solver
from edgeprune.budget.targets import Target, parse_targets
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.plan import Plan
from edgeprune.options.bounds import check_count
from edgeprune.resources import Resource


@dataclass(frozen=True)
class Budget:
    """The most that may remain of a model, and how its widths are chosen by scores.

    Attributes:
        targets: as they were asked for.
        originals: kind -> what the unpruned model takes, in the resource's unit.
        align: widths become multiples of this.
        floor: no layer keeps fewer channels.
        way: the share of the way from the unpruned model that is to be gone; 1 is all of it.
        bound: by kind, the resources that were bound to a device; the others are those of the registry.
        solver: chooses by scores.
    """

    targets: tuple[Target, ...]
    originals: Mapping[str, float]
    align: int = 1
    floor: int = 2
    way: float = 1.0
    bound: Mapping[str, Resource] = field(default_factory=dict)
    solver: Solver = field(default_factory=Greedy)

    def __post_init__(self) -> None:
        for name in ("align", "floor"):
            check_count(name, getattr(self, name), TargetError, option=name)

    @classmethod
    def of(
        cls, targets: "str | Target | tuple[Target, ...]", graph: Graph, align: int = 1, floor: int = 2
    ) -> "Budget":
        """Return the budget of an unpruned model.

        Args:
            targets: one or several, as `parse_targets` reads them.
            graph: of the unpruned model.
            align: widths become multiples of this.
            floor: no layer keeps fewer channels.

        Raises:
            TargetError: one of them is of latency, say, which only a device tells.
        """
        targets = targets if isinstance(targets, tuple) else parse_targets(targets)
        for target in targets:
            if target.resource.needs_device:
                raise TargetError(
                    f"{target} needs a device's {target.kind} table: use edgeprune.latency.device_budget, or "
                    "train-prune with --target-device"
                )
        return cls(targets, {target.kind: target.resource.cost(graph) for target in targets}, align, floor)

    @property
    def goals(self) -> dict[str, float]:
        """The most of each kind, so far on the way."""
        return {
            one.kind: original - (original - min(original, one.goal(original))) * self.way
            for one in self.targets
            for original in [self.originals[one.kind]]
        }

    def at(self, way: float) -> "Budget":
        """The same, so far on the way."""
        return replace(self, way=way)

    def resource(self, kind: str) -> Resource:
        """Return what is counted under that name, bound to the budget's device where it needs one."""
        return self.bound[kind] if kind in self.bound else resources.get(kind)

    def cost(self, kind: str, graph: Graph, keep: Bools | None = None) -> float:
        """What a (perhaps already pruned) model takes at ``keep``."""
        return self.resource(kind).cost(graph, keep)

    def share(self, kind: str, graph: Graph, keep: Bools | None = None) -> float:
        """The same, of what the unpruned model takes."""
        return self.cost(kind, graph, keep) / self.originals[kind]

    def fraction(self) -> float:
        """What remains of the first target's quantity when it is met."""
        kind = self.targets[0].kind
        return self.goals[kind] / self.originals[kind]

    def by_widths(self, graph: Graph) -> dict[str, Callable[[Ints], float]]:
        """Each goal's quantity as a function of the groups' widths, for a search that asks often."""
        return {kind: self.resource(kind).by_widths(graph) for kind in self.goals}

    def steps(self, graph: Graph) -> Ints:
        """For each group, the multiple that its widths are best kept at: the alignment's, and each resource's."""
        steps = np.array([group.step(self.align) for group in graph.groups], dtype=np.int64)
        for kind in dict.fromkeys([*self.goals, *self.bound]):
            own = self.resource(kind).steps(graph)
            steps = steps if own is None else np.lcm(own, steps)
        return steps

    def remaining(self, graph: Graph, keep: Bools) -> float:
        """How far ``keep`` is: 1 for all, `fraction` where every target is met.

        With one target, the share of its quantity that remains. With several, the same for the one that has
        come the smallest part of its way, on the scale of the first.
        """
        parts = []
        for kind, goal in self.goals.items():
            original = self.originals[kind]
            parts.append((original - self.cost(kind, graph, keep)) / max(original - goal, 1e-9 * original))
        return 1 - min(parts) * (1 - self.fraction())

    def select(
        self, graph: Graph, scores: NDArray[np.float64], ratios: Mapping[str, float] | None = None
    ) -> Plan:
        """Choose what stays by the solver.

        Args:
            graph: of the model as it is now.
            scores: (classes,), higher is more important.
            ratios: share to keep for single groups, by name.

        Raises:
            TargetError: the goals cannot be met, or ratios are given that the solver does not take.
        """
        if ratios and not self.solver.takes_ratios:
            raise TargetError("ratios of single layers and a device's budget exclude each other")
        return self.solver.select(self, graph, checked_scores(graph, scores), ratios or {})

    def settle(self, graph: Graph, scores: NDArray[np.float64]) -> Plan:
        """The last choice, after which nothing is removed any more."""
        return self.solver.settle(self, graph, checked_scores(graph, scores))

    def pace(self, graph: Graph, scores: NDArray[np.float64]) -> "Budget":
        """What the learned method's controller follows while channels go one by one."""
        return self.solver.pace(self, graph, scores)

    def record(self) -> dict[str, Any] | None:
        """Return what settling measured, for the run folder; None where it measured nothing."""
        return self.solver.record(self)

    def remarks(self) -> list[str]:
        """Return what a reader of this budget's plans should know."""
        return self.solver.remarks()
