"""Prune in the user's own training loop."""

import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.errors import TrainError
from edgeprune.graph.arguments import check_example, check_model, parts_of
from edgeprune.importance import Batches
from edgeprune.learned.phase import PruningPhase
from edgeprune.methods import chosen_method
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.pruner.arguments import check_counts, check_needs, course_of, method_options, read_plan
from edgeprune.pruner.budgets import budget_for
from edgeprune.pruner.contexts import Contexts
from edgeprune.pruner.networks import Networks
from edgeprune.pruner.removals import Removals
from edgeprune.pruner.report import NetworkSize, Report, part_of
from edgeprune.records.runs import KeepPlan
from edgeprune.training import Callback

SCHEMA = 1


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
        batches: an iterable of (x, y), or a function that returns one, for criteria and fits that need data.
        device: the one to prune for, if the target is a latency; a profile's name or an
            `edgeprune.latency.BenchTarget`.
        plan: a keep-plan, or the path of its file, in place of a method.
        align: widths become multiples of this.
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
        report: target and result; set by `finish`.

    Raises:
        TrainError, ModelError, TraceError, TargetError: an argument that makes no sense, with what to do.
    """

    report: Report

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
        align: int = 1,
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
        self.method = chosen_method(self.options)
        check_needs(
            self.method, self.options, has_batches=batches is not None, has_optimizer=optimizer is not None
        )
        self.course = course_of(self.method, self.options, steps_per_epoch, total_steps)
        self.steps, self.target = steps, target
        self._networks = Networks(
            model,
            example,
            copies=copies,
            optimizer=optimizer,
            scaler=scaler,
            optimizer_state=optimizer_state,
            opaque=opaque,
        )
        self.model, self._link = self._networks.model, self._networks.link
        self._link.before_step = self._before_update
        graph = self._networks.graph()
        self._size = NetworkSize.of(graph)
        with self._networks.on_cpu():
            floor, keep_plan = self.options.floor, read_plan(plan)
            self.budget: Budget = budget_for(
                graph, target, device, plan=keep_plan, align=align, floor=floor, plan_seconds=plan_seconds,
                progress=progress,
            )  # fmt: skip
        self._contexts = Contexts(
            self._networks,
            graph,
            self.options,
            self.budget,
            batches=batches,
            loss=loss,
            per_epoch=steps_per_epoch or steps,
            seed=seed,
            progress=progress,
        )
        self._removals = Removals(self._networks, self.method, self.course, self._contexts)
        self.taken = 0  # steps so far
        self._finished = False
        self._removals.begin()
        # So that a state can be loaded before the removals that come before the first step.
        self._first_run = self._networks.outermost.register_forward_pre_hook(_FirstRun(self), prepend=True)

    # --- the loop ------------------------------------------------------------------------------------

    def step(self, loss: Any = None) -> dict[str, Any]:
        """Note that the optimizer has taken a step: move the masks on, and remove what is due.

        Args:
            loss: of that step, a number or a tensor; it is only checked, and required by ``moment='plateau'``.

        Returns:
            Numbers to log; ``removed`` says whether the network has become smaller in this step.

        Raises:
            TrainError: the loss is not a number, or `finish` was called. TargetError: the target cannot be reached.
        """
        self._check_open()
        value = math.nan if loss is None else float(loss.detach() if isinstance(loss, Tensor) else loss)
        if loss is not None and not math.isfinite(value):
            raise TrainError(f"the loss became {value} in step {self.taken + 1}: lower the learning rate")
        if loss is None and self.options.moment == "plateau" and not self._removals.plans:
            raise TrainError("moment='plateau' follows the loss: call step(loss)")
        value = self._mean_loss(value)
        self._remove_due()
        self.taken += 1
        removals = self._removals
        if removals.phase is None:
            self._link.next_step()
            return {"fraction": self.fraction, "removed": False}
        if removals.own_optimizer is not None:
            self._link.update(removals.own_optimizer)
        assert removals.phase.callback is not None
        numbers = removals.phase.callback.after_step(self.taken - removals.started_at, value)
        self._link.next_step()
        before = len(removals.plans)
        self._remove_due()
        removed = len(removals.plans) > before
        # The learned method's callback has counted what is active.
        fraction = self.fraction if removed else numbers.get("target_fraction", self._contexts.remaining)
        return {**numbers, "fraction": fraction, "removed": removed}

    def finish(self) -> nn.Module:
        """Make the remaining removals, detach the pruner from the network, and return the network.

        Returns:
            The user's own object, of its own class, dense and smaller. `report` has the result.

        Raises:
            TrainError: it was called before, or the method learns from steps and there were none.
        """
        self._check_open()
        self._first_run.remove()
        phase = self._removals.phase
        if self.taken == 0 and phase is not None and phase.removal.step > 0:
            raise TrainError(
                f"step() was never called, and {self.method.name} prunes after {phase.removal.step} steps: call "
                "it after each optimizer.step()"
            )
        self._removals.make_last(self.taken)
        self._close()
        return self.model

    @property
    def fraction(self) -> float:
        """Return the remaining fraction of the target's quantity; while masks move, the active one."""
        callback = self._callback
        return callback.fraction() if isinstance(callback, PruningPhase) else self._contexts.remaining

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
        return self._steered().analyser.interacting

    @interacting.setter
    def interacting(self, value: float) -> None:
        self._steered().take_over(float(value))

    def auto(self) -> None:
        """Return control of `interacting` to the controller."""
        self._steered().manual = False

    def _steered(self) -> PruningPhase:
        callback = self._callback
        if not isinstance(callback, PruningPhase):
            raise TrainError("only the learned method is steered, and only while its phase lasts")
        return callback

    @property
    def _callback(self) -> Callback | None:
        return None if self._removals.phase is None else self._removals.phase.callback

    def _check_open(self) -> None:
        if self._finished:
            raise TrainError("this pruner has finished: make another one to prune further")

    def _mean_loss(self, value: float) -> float:
        """Return the mean of all processes' losses where it decides when channels go."""
        if self.options.moment != "plateau" or math.isnan(value):
            return value
        mean = torch.tensor([value])
        world().average([mean])
        return float(mean)

    def _before_update(self) -> None:
        """Add penalties to the gradients, between the backward pass and the optimizer's step."""
        callback = self._callback
        if callback is None:
            return
        for leaf in callback.leaves():
            if leaf.grad is not None and self._link.scale != 1.0:
                leaf.grad /= self._link.scale
        callback.before_update(self._link.rate)

    # --- the network's size ------------------------------------------------------------------------

    def _remove_due(self) -> None:
        """Make the removals that are due."""
        self._first_run.remove()
        self._removals.make_due(self.taken)

    def _close(self) -> None:
        self._finished = True
        self._link.close()
        target = self.budget.targets[0]
        cost = self.budget.resource(target.kind).cost(self._contexts.graph)
        self.report = self._size.report(
            self.model,
            self._contexts.graph.flops(),
            target=",".join(map(str, self.budget.targets)),
            got=part_of(cost, self.budget.originals.get(target.kind, cost)),
            notes=tuple(
                dict.fromkeys([*self._networks.notes, *self.budget.remarks(), *self._contexts.graph.notes])
            ),
            rewritten=self._networks.rewritten(),
        )

    # --- resuming ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides the model's, the optimizer's and the loop's own state.

        It holds tensors, numbers and text alone, as `torch.load` with ``weights_only=True`` takes them.
        """
        return {
            "schema": SCHEMA,
            "method": self.method.name,
            "target": self.target,
            "steps": self.steps,
            "taken": self.taken,
            "notes": [*self._networks.notes],
            "finished": self._finished,
            **self._removals.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state, and prune the network to its size then. Load weights and the optimizer's state after this.

        Args:
            state: of `state_dict`, of a pruner with the same arguments; this one was just made, of the unpruned
                network.

        Raises:
            TrainError: it is another pruner's state, or damaged. PlanError: it is of another network.
        """
        try:
            same = (state["schema"], state["method"], state["target"], state["steps"])
            if same != (SCHEMA, self.method.name, self.target, self.steps):
                raise TrainError(
                    f"this state is of a pruner with method {state['method']!r}, target {state['target']!r} and "
                    f"{state['steps']} steps: make this one with the same"
                )
            self._check_fresh()
            self._take_back(state)
        except (KeyError, AttributeError, ValueError, IndexError, RuntimeError) as error:
            raise TrainError(
                f"this is not the state of a pruner, or it is damaged ({type(error).__name__}: "
                f"{(str(error).splitlines() or [''])[0]})"
            ) from error

    def _check_fresh(self) -> None:
        if self.taken or self._removals.plans or self._finished:
            raise TrainError("this pruner has taken steps: load a state into one that was just made")

    def _take_back(self, state: Mapping[str, Any]) -> None:
        if state["plans"] or state["finished"]:
            self._first_run.remove()
            self._removals.replay(state)
        self.taken, self._networks.notes = int(state["taken"]), [*state["notes"]]
        self._removals.restore_phase(state)
        if state["finished"]:
            self._close()


class _FirstRun:
    """Lets a pruner make the removals before the first step; a copy of the network does not trigger them."""

    def __init__(self, pruner: Pruner | None = None) -> None:
        self._pruner = None if pruner is None else weakref.ref(pruner)

    def __call__(self, *_: Any) -> None:
        pruner = None if self._pruner is None else self._pruner()
        if pruner is not None:
            pruner._remove_due()

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _FirstRun, ()
