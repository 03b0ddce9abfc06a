"""What a removal changes together: the user's network, its copies, and the optimizer's state."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import ModelError, TrainError, known
from edgeprune.graph.arguments import check_unsharded
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.methods.phase import Phase
from edgeprune.methods.removal import Removed, cutter
from edgeprune.processes.distributed import world
from edgeprune.pruner.optimizers import STATES, OptimizerLink
from edgeprune.pruner.wrappers import Parallel, unwrapped
from edgeprune.records.runs import KeepPlan
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.inplace import move_into
from edgeprune.rewrite.rewritten_forward import RewrittenForward


class Networks:
    """A network that is trained, and all that must become smaller with it.

    Graphs are built, and channels removed, on the CPU; the networks go back to where they were.

    Args:
        model: the user's.
        example: an input of its forward, or a tuple of the arguments.
        copies: networks of the same make, such as averages.
        optimizer: the loop's, or None.
        scaler: the loop's GradScaler, or None.
        optimizer_state: after a removal: 'slice' it, or 'reset' it.
        opaque: modules that are kept whole.

    Raises:
        ModelError: another pruner is at work on the model.
        TrainError: the optimizer holds none of the model's parameters, or ``optimizer_state`` is something else.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        *,
        copies: Iterable[nn.Module],
        optimizer: Any,
        scaler: Any,
        optimizer_state: str,
        opaque: tuple[Any, ...],
    ) -> None:
        if optimizer_state not in STATES:
            raise TrainError(known("optimizer_state", optimizer_state, [*STATES]))
        self.model, self.opaque, self.optimizer_state = unwrapped(model), opaque, optimizer_state
        self.parallel = Parallel(model)
        self.copies = [unwrapped(other) for other in copies]
        self.link = OptimizerLink(optimizer, scaler, self.model)
        inputs = example if isinstance(example, tuple) else (example,)
        self.inputs = tuple(value.cpu() if isinstance(value, Tensor) else value for value in inputs)
        self.notes: list[str] = []
        self._known: dict[str, tuple[int, torch.Size]] = {}

    @property
    def outermost(self) -> nn.Module:
        """Return what the loop calls: the wrapper around the network, if there is one."""
        return self.parallel.wrapper or self.model

    @property
    def device(self) -> torch.device:
        """Return where the network is."""
        return device_of(self.model)

    @contextmanager
    def on_cpu(self) -> Iterator[None]:
        """Keep the network and its copies on the CPU in the block, in no mode that the loop may be in."""
        places = [(network, device_of(network)) for network in (self.model, *self.copies)]
        for network, _ in places:
            network.cpu()
        try:
            with (
                torch.inference_mode(False),
                torch.enable_grad(),
                torch.autocast("cpu", enabled=False),
                torch.autocast("cuda", enabled=False),
            ):
                yield
        finally:
            for network, place in places:
                network.to(place)
            if self.device.type != "cpu":  # a parameter that moved has lost the wrapper's hook
                self.parallel.follow()

    def graph(self) -> Graph:
        """Return the graph of the network as it is now."""
        with self.on_cpu():
            return build_graph(self.model, self.inputs, opaque=self.opaque)

    def remember(self) -> None:
        """Note which parameters the network has, for `check`."""
        self._known = {name: (id(p), p.shape) for name, p in self.model.named_parameters()}

    def check(self) -> None:
        """Raise ModelError if the network has other parameters than when `remember` was called, or of other sizes."""
        check_unsharded(self.model)
        now = dict(self.model.named_parameters())
        for name, (_, shape) in self._known.items():
            if name in now and now[name].shape != shape:
                raise ModelError(
                    f"{name} has shape {tuple(now[name].shape)}, and had {tuple(shape)} when the pruner was made: make "
                    "the pruner after the model is changed"
                )
        if not {number for number, _ in self._known.values()} & {id(parameter) for parameter in now.values()}:
            raise ModelError(
                "the model's parameters were replaced since the pruner was made: load weights into them "
                "(load_state_dict), or make the pruner after"
            )
        self.link.check(self.model)

    def remove(self, phase: Phase) -> KeepPlan:
        """Make the removal at the end of a phase, and return the keep-plan that was carried out."""
        self.check()
        with self.on_cpu():
            removed = phase.remove({})
            plan = removed.plan.record(phase.graph)
            if phase.removal.progress:
                self._carry_out(phase, removed, plan)
                self.notes += [note for note in removed.plan.notes if note not in self.notes]
        if phase.removal.progress:
            self._agree()
        return plan

    def _agree(self) -> None:
        """Give every process the main one's weights: fits may have seen other data on each."""
        for network in (self.model, *self.copies):
            world().share([*network.parameters(), *network.buffers()])
        self.parallel.follow()

    def _carry_out(self, phase: Phase, removed: Removed, plan: KeepPlan) -> None:
        named = dict(self.model.named_parameters())
        cut = cutter(phase.graph, removed.plan)
        states, anew = self.link.cut_states(named, lambda name, value: cut(name, value.cpu()))
        if self.optimizer_state == "reset":
            states, anew = {id(parameter): None for parameter in named.values()}, []
        if anew:
            self.notes.append(
                f"the optimizer's state of {len(anew)} parameters ({anew[0]} ...) has another shape and begins anew"
            )
        for other in self.copies:
            phase.follow(other)
            smaller = self._cut(other, plan)
            phase.restore_size(smaller)
            move_into(other, smaller)
        move_into(self.model, removed.model)
        self.link.put(states, named.values(), self.model)
        if phase.recalibrates:  # statistics under masks of other sizes would be averaged into a copy for long
            for other in self.copies:
                copy_buffers(self.model, other)

    def replay(self, plan: KeepPlan) -> None:
        """Carry out an earlier plan on the network, its copies and the optimizer's parameters."""
        before = [*self.model.parameters()]
        with self.on_cpu():
            for network in (self.model, *self.copies):
                move_into(network, self._cut(network, plan))
        self.link.put({}, before, self.model)
        self.parallel.follow()

    def _cut(self, network: nn.Module, plan: KeepPlan) -> nn.Module:
        """Return a cut copy of a network by a plan of one of its kind."""
        graph = build_graph(network, self.inputs, opaque=self.opaque)
        return compact(graph, Plan.of_record(graph, plan)).model

    def rewritten(self) -> tuple[str, ...]:
        """Return the modules whose forward had to be rewritten."""
        return tuple(
            name
            for name, part in self.model.named_modules()
            if isinstance(vars(part).get("forward"), RewrittenForward)
        )


def device_of(network: nn.Module) -> torch.device:
    """Return where a network's first parameter is; the CPU for a network without parameters."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def copy_buffers(source: nn.Module, target: nn.Module) -> None:
    """Copy a network's buffers, such as BatchNorm's statistics, into one of the same sizes."""
    buffers = dict(source.named_buffers())
    for name, buffer in target.named_buffers():
        if name in buffers and buffers[name].shape == buffer.shape:
            buffer.copy_(buffers[name])
