"""Choose widths and precisions together: one latency, one error at the network's output.

In turn: widths by the knapsack for given precisions, precisions by a minimum cut for given widths. Both take time off
at the price of an error at the output, which is measured on the same images: a layer goes to int8 where that is
cheaper, by the millisecond, than the channels that are pruned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeprune.budget import Budget
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.plan import Plan
from edgeprune.latency.calibrate import Attempt
from edgeprune.latency.device import TimeSolver
from edgeprune.latency.estimator import LatencyOn
from edgeprune.latency.mixed import FP32, INT8, MixedEstimator, Precisions, layer_costs
from edgeprune.latency.precision_choice import choose_precisions, total_ms, within
from edgeprune.latency.predict import MsByWidths
from edgeprune.quantization.sensitivity import relative_error
from edgeprune.resources.latency import LATENCY
from edgeprune.rewrite.compaction import compact

Floats = np.ndarray[Any, np.dtype[np.float64]]
TURNS = 4  # of widths and precisions; two are mostly enough
NO_ERROR = 1e-9
SHOWN = 6  # names in a note
OutputError = Callable[[Graph, Plan], float]


class LatencyIn(LatencyOn):
    """Milliseconds on one device of a network in some precisions.

    Args:
        estimator: predicts them.
        precisions: layer -> precision.
    """

    estimator: MixedEstimator

    def __init__(self, estimator: MixedEstimator, precisions: Precisions) -> None:
        super().__init__(estimator)
        self.precisions = precisions

    def cost(self, graph: Graph, keep: Bools | None = None) -> float:
        """Return the ms of what (classes,) ``keep`` leave."""
        return self.estimator.ms(graph, self.precisions, keep)

    def by_widths(self, graph: Graph) -> MsByWidths:
        """Return the ms as a function of the groups' widths."""
        return self.estimator.mixed(graph, self.precisions).by_widths()

    def steps(self, graph: Graph) -> Ints:
        """Return the device's own steps."""
        return self.estimator.mixed(graph, self.precisions).steps()


@dataclass(frozen=True)
class JointSolver(TimeSolver):
    """Solves the knapsack of widths, and the precision of each layer, in turn; measures the final plan.

    Attributes:
        estimator: predicts the latency in any precisions; the unpruned network's is of float32.
        errors: layer -> relative error at the output that its int8 adds.
        output_error: returns the relative error that a plan's widths add, before any training; None takes the fastest
            precisions.
    """

    estimator: MixedEstimator
    errors: Mapping[str, float] = field(default_factory=dict)
    output_error: OutputError | None = None

    def select(self, budget: Budget, graph: Graph, scores: Floats, ratios: Mapping[str, float]) -> Plan:
        """Select widths within the goals, by the tables, in the fastest precisions: no network is cut for it.

        Args:
            budget: with the goals.
            graph: of the model, which may be in training.
            scores: (graph.classes,), higher is more important.
            ratios: unused.

        Raises:
            TargetError: the fewest channels, steps and protected channels do not allow it.
        """
        fastest = replace(self, output_error=None)
        return super(JointSolver, fastest).select(budget, graph, scores, ratios)

    def _chosen(self, budget: Budget, graph: Graph, scores: Floats, share: float) -> Plan:
        """Select widths and precisions within the goals, and within that fraction of the time by the tables."""
        goals = {**budget.goals, LATENCY: share * budget.originals[LATENCY]}
        alone = self._precisions_alone(budget, graph, goals)
        if alone is not None:
            return replace(Plan.everything(graph), precisions=alone)
        precisions = choose_precisions(layer_costs(self.estimator, graph), self.errors, 0.0)
        candidates: list[tuple[float, Plan]] = []
        for _ in range(TURNS):
            try:
                plan = self._widths(budget, graph, scores, goals, precisions)
            except TargetError:
                if not candidates:
                    raise
                break
            if self.output_error is None:
                return plan
            added = self.output_error(graph, plan)
            candidates.append((added + self._int8_error(plan), plan))
            again = self._repriced(graph, plan, added)
            if again == plan.precisions:
                break
            precisions = {**precisions, **again}
        return min(candidates, key=lambda candidate: candidate[0])[1]

    def _precisions_alone(
        self, budget: Budget, graph: Graph, goals: Mapping[str, float]
    ) -> dict[str, str] | None:
        """Return the precisions of least error that meet the goals at full widths; None where none do."""
        if any(budget.cost(kind, graph) > goal for kind, goal in goals.items() if kind != LATENCY):
            return None
        costs = layer_costs(self.estimator, graph)
        nothing = dict.fromkeys(costs.float_ms, FP32)
        others_ms = self.estimator.ms(graph, nothing) - total_ms(costs, nothing)
        return within(costs, self.errors, goals[LATENCY], others_ms)

    def _widths(
        self, budget: Budget, graph: Graph, scores: Floats, goals: dict[str, float], precisions: Precisions
    ) -> Plan:
        """Select widths for given precisions, which the plan has of the layers that it leaves."""
        bound = {**budget.bound, LATENCY: LatencyIn(self.estimator, precisions)}
        plan = self._knapsack(replace(budget, bound=bound), graph, scores, goals)
        left = layer_costs(self.estimator, graph, plan.keep).float_ms
        return replace(plan, precisions={name: precisions[name] for name in left})

    def _repriced(self, graph: Graph, plan: Plan, error: float) -> dict[str, str]:
        """Return the precisions at a plan's widths, an error being worth the time that pruning gains by it.

        Args:
            graph: of the model.
            plan: with precisions.
            error: that its widths add.
        """
        precisions = plan.precisions or {}
        saved_ms = self.estimator.ms(graph, precisions) - self.estimator.ms(graph, precisions, plan.keep)
        price = max(0.0, saved_ms) / max(NO_ERROR, error)
        return choose_precisions(layer_costs(self.estimator, graph, plan.keep), self.errors, price)

    def _int8_error(self, plan: Plan) -> float:
        """Return the error at the output that the layers in int8 add, each measured alone."""
        precisions = (plan.precisions or {}).items()
        return sum(self.errors[name] for name, precision in precisions if precision == INT8)

    def _share(self, budget: Budget, graph: Graph, plan: Plan, kind: str = LATENCY) -> float:  # noqa: ARG002
        """Return the plan's fraction of the unpruned float32 network's time by the tables."""
        return self.estimator.ms(graph, plan.precisions or {}, plan.keep) / budget.originals[LATENCY]

    def finalize(self, budget: Budget, graph: Graph, scores: Floats) -> Plan:
        """Select the final plan: measured end to end on the device, and corrected, until it meets the target.

        Args:
            budget: with the goals.
            graph: of the model.
            scores: (graph.classes,), higher is more important.

        Raises:
            TargetError: as `select`; or the measured plan is no faster than the baseline.
        """
        plan = super().finalize(budget, graph, scores)
        return replace(plan, notes=(*plan.notes, precision_note(plan.precisions or {})))

    def _record_of(self, budget: Budget, graph: Graph, attempt: Attempt, chosen: bool) -> dict[str, Any]:
        """Return an attempt as JSON, for the record."""
        record = super()._record_of(budget, graph, attempt, chosen)
        return {**record, "precisions": dict(attempt.plan.precisions or {})}


def precision_note(precisions: Precisions) -> str:
    """Return a line that says which layers are in int8."""
    by_name = {kind: [name for name, own in precisions.items() if own == kind] for kind in (FP32, INT8)}
    counts = f"{len(by_name[INT8])} of {len(precisions)} layers in int8"
    fewer = min(by_name, key=lambda kind: len(by_name[kind]))
    names = by_name[fewer]
    if not names:
        return counts
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{counts}; in {fewer}: {', '.join(names[:SHOWN])}{more}"


class MeasuredError:
    """The relative square error at a network's outputs that pruning causes, before any training.

    Args:
        images: float32 (N, C, H, W).
    """

    def __init__(self, images: Floats) -> None:
        self.images = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))
        self._known: dict[tuple[int, bytes], float] = {}
        self._expected: tuple[nn.Module, Sequence[Floats]] | None = None

    def __call__(self, graph: Graph, plan: Plan) -> float:
        """Return the error of a plan.

        Args:
            graph: of the model.
            plan: for it.
        """
        if plan.keep.all():
            return 0.0
        key = id(graph), plan.keep.tobytes()
        if key not in self._known:
            if self._expected is None or self._expected[0] is not graph.model:
                self._expected = graph.model, self._outputs(graph.model)
            self._known[key] = relative_error(self._expected[1], self._outputs(compact(graph, plan).model))
        return self._known[key]

    def _outputs(self, model: nn.Module) -> list[Floats]:
        """Return a model's outputs, in eval mode, on the CPU."""
        training, device = model.training, next(model.parameters()).device
        with torch.no_grad():
            output = model.cpu().eval()(self.images)
        model.to(device).train(training)
        outputs = [output] if isinstance(output, torch.Tensor) else list(output)
        return [item.numpy() for item in outputs]
