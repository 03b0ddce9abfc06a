"""Prune in the user's own training loop."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.errors import TrainError
from edgeprune.graph.arguments import check_example, check_model, parts_of
from edgeprune.importance import Batches
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.pruner.arguments import (
    check_counts,
    checked_loss,
    course_of,
    method_of,
    method_options,
    read_plan,
)
from edgeprune.pruner.budgets import budget_for
from edgeprune.pruner.contexts import Contexts
from edgeprune.pruner.networks import Networks
from edgeprune.pruner.removals import Removals
from edgeprune.pruner.report import NetworkSize, Report
from edgeprune.pruner.state import PrunerState, reading_state
from edgeprune.records.runs import KeepPlan


class Pruner:
    """Prunes a network while any loop trains it; the network remains the user's object throughout.

    ::

        pruner = edgeprune.Pruner(model, example, target="flops=0.5", steps=4000, optimizer=optimizer)
        for x, y in loader:
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            pruner.step(loss)
        small = pruner.finish()

    Masks act on the network's own layers. When channels are removed, its parameters remain the same objects with fewer
    elements, and the optimizer's state is sliced too. The rest of the loop does not change: schedulers, AMP, clipping,
    accumulation (the pruner takes its step when the optimizer does). Pass averages of the weights as ``copies``.
    Under DistributedDataParallel pass the wrapper: the plan is the same on all processes, and the wrapper follows.

    Args:
        model: any network, on any device.
        example: an input of its forward, batch included, or a tuple of the arguments; on the model's device.
        method: a name in `edgeprune.methods.names()`.
        target: fraction to keep: 'flops=0.5', 'params=0.3', 'latency=0.5', or several with commas between.
        steps: of the pruning phase, for a method that takes time. The loop may go on after it: that is fine-tuning.
        optimizer: the loop's, of any kind; made before the pruner, of this model's parameters.
        scaler: the GradScaler, under AMP.
        copies: networks of the same architecture whose weights follow the model's, such as an average; also pruned.
        loss: of (the model's output, y), or of (model, batch), for a criterion that needs gradients; cross-entropy by
            default. See `edgeprune.importance.gradients.taylor`.
        batches: an iterable of (x, y), or a function that returns one, for criteria and fits that need data, and for
            the learned method to see what each layer may lose.
        device: to prune for, if the target is a latency: a profile's name, or an `edgeprune.latency.BenchTarget`.
        plan: a keep-plan, or the path of its file, in place of a method.
        align: widths become multiples of this; see `select`. None for what suits the device, or most of them.
        opaque: modules not to prune, by name or class.
        optimizer_state: 'slice' it with the channels at a removal, or 'reset' it.
        steps_per_epoch: for the soft schedule, and if ``moment`` counts epochs.
        total_steps: of the loop, for ``moment='end'`` or 'plateau'.
        seed: of criteria that use random numbers.
        plan_seconds: of measuring and correcting plans for a device, as for `edgeprune.prune`.
        progress: called with (done, total, text) while a device is timed.
        options: others of `edgeprune.methods.MethodOptions`, such as prune_steps, prune_schedule, floor, moment.

    Attributes:
        model: the user's.
        taken: steps so far.

    Raises:
        TrainError, ModelError, TraceError, TargetError: an argument that makes no sense, with what to do.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor | tuple[Any, ...],
        *,
        method: str = "learned",
        target: str = "flops=0.5",
        steps: int = 4000,
        optimizer: Any = None,
        scaler: Any = None,
        copies: Iterable[nn.Module] = (),
        loss: Callable[[Any, Any], Tensor] | None = None,
        batches: Batches | None = None,
        device: Any = None,
        plan: KeepPlan | Mapping[str, Any] | str | Path | None = None,
        align: int | None = None,
        opaque: Iterable[str | type[nn.Module]] = (),
        optimizer_state: str = "slice",
        steps_per_epoch: int | None = None,
        total_steps: int | None = None,
        seed: int = 0,
        plan_seconds: float | None = None,
        progress: ProgressCallback = no_progress,
        **options: Any,
    ) -> None:
        check_model(model)
        check_example(example)
        check_counts(steps=steps, steps_per_epoch=steps_per_epoch, total_steps=total_steps)
        opaque = tuple(parts_of(opaque))
        self.options = method_options(method, steps, has_plan=plan is not None, opaque=opaque, more=options)
        self.method = method_of(self.options, batches, optimizer)
        self.course = course_of(self.method, self.options, steps_per_epoch, total_steps)
        self.steps, self.target, self.taken, self._finished = steps, target, 0, False
        self._report: Report | None = None
        self._networks = Networks(
            model, example, copies=copies, optimizer=optimizer, scaler=scaler, optimizer_state=optimizer_state,
            opaque=opaque,
        )  # fmt: skip
        self.model, self._link = self._networks.model, self._networks.link
        graph = self._networks.graph()
        self._size = NetworkSize.of(graph)
        with self._networks.on_cpu():
            self.budget: Budget = budget_for(
                graph, target, device, plan=read_plan(plan), align=align, floor=self.options.floor,
                plan_seconds=plan_seconds, progress=progress,
            )  # fmt: skip
        self._contexts = Contexts(
            self._networks, graph, self.options, self.budget, batches=batches, loss=loss,
            per_epoch=steps_per_epoch or steps, seed=seed, progress=progress,
        )  # fmt: skip
        self._removals = Removals(self._networks, self.method, self.course, self._contexts)
        self._state = PrunerState(self._networks, self._removals, self.method.name, target, steps)
        self._removals.begin()

    def step(self, loss: Any = None) -> dict[str, Any]:
        """Note that the optimizer has taken a step: move the masks on, and remove what is due.

        Args:
            loss: of that step, a number or a tensor; it is only checked, and required by ``moment='plateau'``.

        Returns:
            Numbers to log; ``removed`` says whether the network has become smaller in this step.

        Raises:
            TrainError: the loss is not a finite number, `finish` was called, or the optimizer takes no steps.
            TargetError: the target cannot be reached.
        """
        self._check_open()
        followed, needed = self.options.moment == "plateau", not self._removals.plans
        value = checked_loss(loss, self.taken + 1, followed=followed, needed=needed)
        self._removals.make_due(self.taken)
        self.taken += 1
        return self._removals.after_step(self.taken, value)

    def finish(self) -> nn.Module:
        """Make the remaining removals, detach the pruner from the network, and return the network.

        Returns:
            The user's own object, of its own class, dense and smaller. `report` has the result.

        Raises:
            TrainError: it was called before, or the method learns from steps and there were none.
        """
        self._check_open()
        self._removals.make_last(self.taken)
        self._close()
        return self.model

    @property
    def report(self) -> Report:
        """Return target and result.

        Raises:
            TrainError: `finish` was not called yet.
        """
        if self._report is None:
            raise TrainError("there is no report yet: call finish() first, after the last step()")
        return self._report

    @property
    def fraction(self) -> float:
        """Return the remaining fraction of the target's quantity; while masks move, the active one."""
        return self._removals.fraction

    @property
    def pruning(self) -> bool:
        """Return whether removals are still to come."""
        return self._removals.phase is not None

    @property
    def stepped(self) -> bool:
        """Return whether the optimizer has taken a step that `step` was not yet called for."""
        return self._link.stepped

    @property
    def interacting(self) -> float:
        """Return the learned method's number of iterations ahead; setting it steers the phase by hand."""
        return self._removals.steered.analyser.interacting

    @interacting.setter
    def interacting(self, value: float) -> None:
        self._removals.steered.take_over(float(value))

    def auto(self) -> None:
        """Return control of `interacting` to the controller."""
        self._removals.steered.manual = False

    def _check_open(self) -> None:
        if self._finished:
            raise TrainError("this pruner has finished: make another one to prune further")

    def _close(self) -> None:
        self._finished = True
        self._link.close()
        self._report = self._size.report_on(self._networks, self._contexts.graph, self.budget)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides the model's, the optimizer's and the loop's own state.

        It holds tensors, numbers and text alone, as `torch.load` with ``weights_only=True`` takes them.
        """
        return self._state.of(self.taken, finished=self._finished)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state, and prune the network to its size then. Load weights and the optimizer's state after this.

        Args:
            state: of `state_dict`, of a pruner with the same arguments; this one was just made, of the unpruned
                network.

        Raises:
            TrainError: it is another pruner's state, or damaged. PlanError: it is of another network.
        """
        with reading_state():
            self._state.check(state)
            if self.taken or self._removals.plans or self._finished:
                raise TrainError("this pruner has taken steps: load a state into one that was just made")
            self.taken, finished = self._state.take_back(state)
            if finished:
                self._close()
