"""A budget: targets, their resources, and a solver that turns scores into a keep-plan."""

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
from edgeprune.options.bounds import CHANNELS
from edgeprune.resources import Resource


@dataclass(frozen=True)
class Budget:
    """Upper limits of what remains of a model, and a solver that chooses its widths by scores.

    Attributes:
        targets: what the user set.
        originals: kind -> cost of the unpruned model, in the resource's unit.
        align: widths become multiples of this; None for 8, or less in narrow layers.
        floor: no layer keeps fewer channels.
        progress: position between the unpruned model (0) and the targets (1) that the goals are set to.
        bound: by kind, the resources that are bound to a device; the others come from the registry.
        solver: turns scores into a plan.
    """

    targets: tuple[Target, ...]
    originals: Mapping[str, float]
    align: int | None = 1
    floor: int = 2
    progress: float = 1.0
    bound: Mapping[str, Resource] = field(default_factory=dict)
    solver: Solver = field(default_factory=Greedy)

    def __post_init__(self) -> None:
        for name in ("align", "floor"):
            if getattr(self, name) is not None:
                CHANNELS(f"`{name}`", getattr(self, name), TargetError)

    @classmethod
    def of(
        cls, targets: "str | Target | tuple[Target, ...]", graph: Graph, align: int | None = 1, floor: int = 2
    ) -> "Budget":
        """Return the budget of an unpruned model.

        Args:
            targets: one or several, in the form of `parse_targets`.
            graph: of the unpruned model.
            align: widths become multiples of this; None for 8, or less in narrow layers.
            floor: no layer keeps fewer channels.

        Raises:
            TargetError: a target needs a device, as latency does.
        """
        targets = targets if isinstance(targets, tuple) else parse_targets(targets)
        for target in targets:
            if target.resource.needs_device:
                raise TargetError(
                    f"{target} needs a device's {target.kind} table: use edgeprune.latency.device_budget, or "
                    "train-prune with `target_device`"
                )
        return cls(targets, {target.kind: target.resource.cost(graph) for target in targets}, align, floor)

    @property
    def goals(self) -> dict[str, float]:
        """Upper limit of each kind of cost at the current `progress`."""
        return {
            target.kind: original - (original - min(original, target.goal(original))) * self.progress
            for target in self.targets
            for original in [self.originals[target.kind]]
        }

    def at_progress(self, progress: float) -> "Budget":
        """Return this budget with its goals at a position from the unpruned model (0) to the targets (1)."""
        return replace(self, progress=progress)

    def resource(self, kind: str) -> Resource:
        """Return the resource of that name, bound to the budget's device if it needs one."""
        return self.bound[kind] if kind in self.bound else resources.get(kind)

    def cost(self, kind: str, graph: Graph, keep: Bools | None = None) -> float:
        """Return the cost of a model, pruned before or not, at ``keep``.

        Args:
            kind: name of the resource.
            graph: of the model as it is now.
            keep: (classes,) mask of kept classes; None for all.

        Returns:
            In the resource's unit.
        """
        return self.resource(kind).cost(graph, keep)

    def share(self, kind: str, graph: Graph, keep: Bools | None = None) -> float:
        """Return the cost of a model at ``keep`` as a fraction of the unpruned model's.

        Args:
            kind: name of the resource.
            graph: of the model as it is now.
            keep: (classes,) mask of kept classes; None for all.
        """
        return self.cost(kind, graph, keep) / self.originals[kind]

    def fraction(self) -> float:
        """Return the fraction of the first target's resource that remains when the target is met."""
        kind = self.targets[0].kind
        return self.goals[kind] / self.originals[kind]

    def by_widths(self, graph: Graph) -> dict[str, Callable[[Ints], float]]:
        """Return for each goal its cost as a function of the groups' widths, which a search evaluates often."""
        return {kind: self.resource(kind).by_widths(graph) for kind in self.goals}

    def steps(self, graph: Graph) -> Ints:
        """Return for each group the step of its widths: a multiple of the alignment and of each resource's step."""
        steps = np.array([group.step(self.align) for group in graph.groups], dtype=np.int64)
        for kind in dict.fromkeys([*self.goals, *self.bound]):
            own = self.resource(kind).steps(graph)
            steps = steps if own is None else np.lcm(own, steps)
        return steps

    def remaining(self, graph: Graph, keep: Bools) -> float:
        """Return how much remains at ``keep``: 1 for all, `fraction` where every target is met.

        With one target, the fraction of its resource that remains. With several, that of the target which is
        furthest from its goal, on the scale of the first.
        """
        parts = []
        for kind, goal in self.goals.items():
            original = self.originals[kind]
            parts.append((original - self.cost(kind, graph, keep)) / max(original - goal, 1e-9 * original))
        return 1 - min(parts) * (1 - self.fraction())

    def select(
        self, graph: Graph, scores: NDArray[np.float64], ratios: Mapping[str, float] | None = None
    ) -> Plan:
        """Choose what is kept, by the solver.

        Args:
            graph: of the model as it is now.
            scores: (classes,), higher is more important.
            ratios: share to keep of single groups, by name.

        Raises:
            TargetError: the goals cannot be met, or the solver does not support ratios.
        """
        if ratios and not self.solver.takes_ratios:
            raise TargetError("ratios of single layers and a device's budget exclude each other")
        return self.solver.select(self, graph, checked_scores(graph, scores), ratios or {})

    def finalize(self, graph: Graph, scores: NDArray[np.float64]) -> Plan:
        """Choose the final plan of a run; nothing is removed after it."""
        return self.solver.finalize(self, graph, checked_scores(graph, scores))

    def tracking_budget(self, graph: Graph, scores: NDArray[np.float64]) -> "Budget":
        """Return the budget that the learned method's controller tracks while single channels are removed."""
        return self.solver.tracking_budget(self, graph, scores)

    def record(self) -> dict[str, Any] | None:
        """Return what `finalize` measured, for the run folder; None if it measured nothing."""
        return self.solver.record(self)

    def remarks(self) -> list[str]:
        """Return notes on this budget's plans."""
        return self.solver.remarks()
