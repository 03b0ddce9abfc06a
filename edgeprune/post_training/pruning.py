"""The steps of `prune` on any network: scores, widths, fits, and what they do to the outputs."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.budget import Budget, parse_targets
from edgeprune.effects.agreement import compare, outputs_of
from edgeprune.effects.selection import masked_outputs, sensitivity_scores
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import needs_batches, needs_loss, score
from edgeprune.post_training.fits import Fits
from edgeprune.post_training.inputs import Inputs
from edgeprune.post_training.latency import BoardsLatency, DeviceLatency
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.result import held_out
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.pruning import Agreement, HeldOut

BATCH = 64
SENSED = 64  # inputs on which the effect of each group is seen
STEPS = 7  # of a search for the smallest network within a largest change
SMALLEST_SHARE = 0.05


class PostTraining:
    """Prunes one network by unlabelled inputs.

    Args:
        graph: of the network, whose weights are changed within `Fits.fitted` alone.
        inputs: all of them; None to choose by weights alone.
        options: what is asked for.
        batch: number of inputs that the network takes at once; None for any.
        device: plans for one; None for budgets of costs alone.
        joins: whether the network takes any number of inputs at once, which fits in sequence need.
        progress: called with (done, total, text).
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Inputs | None,
        options: PruneOptions,
        *,
        batch: int | None = None,
        joins: bool = True,
        device: DeviceLatency | BoardsLatency | None = None,
        progress: ProgressCallback = no_progress,
    ) -> None:
        self.graph, self.inputs, self.options, self._device = graph, inputs, options, device
        self._batch, self._unit, self._progress = batch or BATCH, batch or 1, progress
        assert options.criterion is not None and options.refit is not None  # the effort fills them in
        self._criterion = options.criterion
        self.fit = "none" if inputs is None else options.refit
        if self.fit == "sequential" and not joins:
            self.fit = "kernel"
        self.times: dict[str, Any] | None = None  # of the plans that were measured
        self._split()
        self._scores: NDArray[np.float64] | None = None
        self.fits = Fits(graph, inputs, self.calibration, options, progress)

    def _split(self) -> None:
        """Set apart the held-out inputs, by which results are reported."""
        self.calibration: list[tuple[Tensor, ...]] = []
        self._held_out: list[tuple[Tensor, ...]] = []
        if self.inputs is None:
            return
        count, unit = len(self.inputs) // self._unit * self._unit, self._unit
        held_out = max(unit, round(self.options.held_out * count) // unit * unit)
        self.held_out_from = count - held_out
        self.calibration = self.inputs.batches(self._batch, 0, self.held_out_from)
        self._held_out = self.inputs.batches(self._batch, self.held_out_from, count)
        if not self.calibration or not self._held_out:
            raise TargetError(
                f"{count} inputs are too few to hold some out: give more, 200 to 1,000 are good"
            )

    @cached_property
    def _reference(self) -> list[Tensor]:
        """What the original gives for the held-out inputs."""
        return outputs_of(self.graph.model, self._held_out)

    # --- choosing ------------------------------------------------------------------------------------

    def scores(self) -> NDArray[np.float64]:
        """Return the scores of all classes, computed once."""
        if self._scores is None:
            self._scores = self._computed_scores()
        return self._scores

    def _computed_scores(self) -> NDArray[np.float64]:
        name = self._criterion
        if self.inputs is None:
            return score(self.graph, "l1" if needs_batches(name) else name)
        self._progress(0, 1, f"scoring channels by {name}")
        data = {"batches": self.calibration} if needs_batches(name) else {}
        scores = score(self.graph, name, **data)
        if not self.options.sensitivity:
            return scores
        few = self.calibration[: max(1, SENSED // self._batch)]
        return sensitivity_scores(
            self.graph,
            scores,
            self.fits.grams(),
            few,
            floor=self.options.floor,
            per_flop=self._device is None,
            progress=self._progress,
        )

    def check(self) -> None:
        """Check what can be checked before minutes of work.

        Raises:
            TargetError: the target cannot be reached, nothing can be pruned, or something needs inputs.
        """
        self._check_prunable()
        if self.inputs is None and self.options.distills:
            name = "effort=hours" if self.options.distill_epochs is None else "distill_epochs"
            raise TargetError(f"`{name}` learns from inputs: give some with `images`")
        if self.inputs is None and self.options.curve:
            raise TargetError("`curve` compares outputs on held-out inputs: give some with `images`")
        if self.inputs is None and self.options.max_change is not None:
            raise TargetError("`max_change` compares outputs on held-out inputs: give some with `images`")
        if needs_loss(self._criterion):
            raise TargetError(
                f"`criterion={self._criterion}` needs labels: choose one that does without, such as thinet or l1"
            )
        if self.options.target is not None and (self._device or not self.options.on_device):
            invented = np.arange(self.graph.classes, dtype=float)
            self._budget(self.options.target, measured=False).select(self.graph, invented)

    def _budget(self, target: str, *, measured: bool = True) -> Budget:
        if self._device is not None:
            return self._device.budget(target, measured=measured)
        return Budget.of(parse_targets(target), self.graph, self.options.align, self.options.floor)

    def _check_prunable(self) -> None:
        if self.graph.classes == 0:
            raise TargetError(f"nothing of this network can be pruned{self.graph.why_protected}")

    def plan(self, target: str) -> Plan:
        """Return the keep-plan for a target.

        Raises:
            TargetError: it cannot be reached, or needs a device.
        """
        budget = self._budget(target)
        self._check_prunable()
        plan = budget.finalize(self.graph, self.scores())
        self.times = budget.record()
        return plan

    def plan_by_costs(self, target: str) -> Plan:
        """Return the keep-plan for a target of costs alone, whatever the device; raises TargetError."""
        budget = Budget.of(parse_targets(target), self.graph, self.options.align, self.options.floor)
        return budget.select(self.graph, self.scores())

    def latency_share(self, keep: Bools) -> float | None:
        """Return the share of the original's time that remains, by the device's table; None without a device.

        Of several boards it is the largest of their shares.
        """
        return None if self._device is None else self._device.share(self.graph, keep)

    def smallest_plan(self) -> Plan:
        """Return the plan of the fewest FLOPs whose change on held-out inputs stays within the largest allowed.

        Raises:
            TargetError: there are no inputs, or the least pruning changes more.
        """
        limit = float(self.options.max_change or 0)
        low, high, best = SMALLEST_SHARE, 1.0, None
        for number in range(STEPS):
            share = (low + high) / 2
            self._progress(number, STEPS, f"how far it can go: flops={share:.3f}")
            try:
                plan = self.plan(f"flops={share}")
                change = self.agreement(plan.keep, "kernel" if self.fit != "none" else "none").loss
            except TargetError:
                low = share
                continue
            if change <= limit:
                high, best = share, plan
            else:
                low = share
        if best is None:
            raise TargetError(
                f"no pruning keeps the change of held-out outputs within {limit:g}: allow more with `max_change`, "
                "or give more inputs"
            )
        return best

    # --- fitting -------------------------------------------------------------------------------------

    def agreement(self, keep: Bools, fit: str) -> Agreement:
        """Return how far the network pruned by ``keep`` gives what the original gives, on held-out inputs.

        Args:
            keep: (classes,) mask of kept classes.
            fit: as for `Fits.fitted`.
        """
        reference = self._reference  # of the original: computed before its weights change
        with self.fits.fitted(keep, fit):
            return compare(reference, masked_outputs(self.graph, keep, self._held_out))

    def steps(self, keep: Bools) -> tuple[list[HeldOut], str]:
        """Return the agreement after each step, and the fit that is best: none where fits make it worse."""
        if self.inputs is None:
            return [], "none"
        steps = [held_out("cut", self.agreement(keep, "none"))]
        if self.fit == "kernel" and self.fits.grams() is None:
            self.fits.notes = (*self.fits.notes, "no layer was fitted: the fits need too much memory")
            return steps, "none"
        if self.fit == "none":
            return steps, "none"
        steps.append(held_out(f"fitted ({self.fit})", self.agreement(keep, self.fit)))
        return steps, self.fit if steps[1].relative_error <= steps[0].relative_error else "none"

    def of(self, network: nn.Module) -> Agreement:
        """Return the agreement of a cut network with the original on held-out inputs."""
        return compare(self._reference, outputs_of(network, self._held_out))
