"""OutputAnalyser: wraps a model so that it learns, from the task's loss alone, which channels to keep.

Source: G. Calleris, Structured Pruning for Efficient Convolutional Networks, Politecnico di Torino, 2023.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from edgeprune.budget import Budget, evened
from edgeprune.errors import ModelError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.flow import Consumer
from edgeprune.graph.plan import Plan
from edgeprune.learned.conv import ChannelGate, PruningConv2d, is_prunable
from edgeprune.learned.mask import OFFSET, continuous_mask, evidence, shared_mask, with_floor
from edgeprune.learned.pruning_model import SIDE, PruningModelBank, multiply_adds, own_side
from edgeprune.processes.distributed import world
from edgeprune.recording.record import CALL
from edgeprune.recording.taps import TapMode, Taps, tapping
from edgeprune.rewrite.compaction import Compacted, compact
from edgeprune.rewrite.duplicate import duplicate
from edgeprune.rewrite.masking import parts_of

ModelFactory = Callable[[int], nn.Module]

COSTLY = 2.0  # times the network's own multiply-adds, from which on small maps are judged at their own size


@dataclass(frozen=True)
class MaskedConv:
    """One masked convolution: the class of each of its input channels (-1: always read)."""

    name: str
    classes: NDArray[np.int64]
    group: int
    side: int = SIDE  # of the maps that its pruning-model sees


class OutputAnalyser(nn.Module):
    """A model whose convolutions learn which of their input channels to keep.

    ``forward`` is the model's own, and ``fixed`` has the masks by convolution after `finish`.
    In training mode and in the pruning phase each call first lets every
    pruning-model evaluate the feature maps of the first ``images`` images of the batch and moves the
    masks one iteration on; they are fixed otherwise. ``interacting`` may be changed at any time.

    Everything acts through the network's own modules: its convolutions get another class for the time (see
    `PruningConv2d`), and hooks at its top move the masks and close the gates, so that the network itself may be called
    in place of the analyser. `detach` takes all of it away.

    Args:
        model: any network; it is copied, unless ``graph`` is of it.
        example: an input, batch included, or a tuple of the arguments of forward.
        max_iter: iterations of the pruning phase.
        offset: see `continuous_mask`.
        pruning_model: channels -> module mapping (N, C, H, W) to (N, C); None takes the source's own,
            all of one width computed together.
        images: number of images of a batch that the pruning-models see; they average over them.
        floor: no set of coupled channels falls below this.
        autocast: dtype in which the pruning-models compute (None: that of the input).
        opaque: modules that are not pruned.
        graph: of ``model``, which is then worked on in place; None to copy it.

    Raises:
        ModelError: no convolution of the model can be pruned.
        TraceError: the model cannot be traced.
    """

    last: Tensor
    cm: Tensor
    recent: Tensor
    _columns: Tensor
    _gate_columns: Tensor

    def __init__(
        self,
        model: nn.Module,
        example: Tensor | tuple[Any, ...],
        *,
        max_iter: int = 4000,
        offset: float = OFFSET,
        pruning_model: ModelFactory | None = None,
        images: int = 8,
        floor: int = 2,
        autocast: torch.dtype | None = None,
        opaque: Iterable[str | type] = (),
        graph: Graph | None = None,
    ) -> None:
        super().__init__()
        self.graph = graph or build_graph(duplicate(model), example, opaque=opaque)
        self.model = self.graph.model
        self.max_iter, self.offset, self.images, self.floor = max_iter, offset, images, floor
        self.autocast = autocast
        self.interacting = 0.0
        self.iteration = 0
        self.pruning = True
        self.masked_convs = self._masked_convolutions(pruning_model)
        self.gates = self._gate_other_readers()
        self.coupled_masks = nn.ModuleList(self._make_coupled_masks())
        self.banks, self._bank_order = self._make_banks(pruning_model)
        self.register_buffer("cm", torch.ones(self.graph.classes), persistent=True)
        self.register_buffer("recent", torch.ones(self.graph.classes), persistent=True)
        self.register_buffer("_columns", _columns([r.classes for r in self.masked_convs]), persistent=False)
        self.register_buffer("_gate_columns", _columns([c for _, c in self.gates]), persistent=False)
        width = sum(len(r.classes) for r in self.masked_convs)
        # Before the first step every mask stands at its steady value for average evidence: 2 * offset.
        self.register_buffer("last", torch.full((width,), 2 * offset), persistent=True)
        self.fixed: dict[str, Tensor] = {}
        self._probing = False
        self._holds = False
        self._moved = False  # whether the masks have moved since `next_step`
        self._running: list[tuple[ExitStack, TapMode | None]] = []  # taps of the calls that are under way
        self._hooks = self._hook()

    # --- building --------------------------------------------------------------------------------

    def _masked_convolutions(self, factory: ModelFactory | None) -> list[MaskedConv]:
        masked_convs: list[MaskedConv] = []
        shapes: list[torch.Size] = []
        for consumer in self.graph.flow.consumers:
            name = _layer_of(consumer)
            if name is None or not is_prunable(self.model.get_submodule(name)):
                continue
            classes = self.graph.classes_of(consumer.labels)
            groups = np.unique(self.graph.group_of[classes[classes >= 0]])
            # A consumer of several groups (after a concat) has a mask for each class all the same; the first
            # group only names where its masks are shared.
            if len(groups) == 0 or any(r.name == name for r in masked_convs):
                continue
            conv = self.model.get_submodule(name)
            made = factory(conv.in_channels) if factory else None  # type: ignore[arg-type]
            PruningConv2d.attach(conv, made)  # type: ignore[arg-type]
            masked_convs.append(MaskedConv(name, classes, int(groups[0])))
            shapes.append(self.graph.flow.values[consumer.source].shape)
        if not masked_convs:
            raise ModelError("no convolution of this model reads channels that may be pruned")
        return masked_convs if factory else self._affordable(masked_convs, shapes)

    def _affordable(self, masked_convs: list[MaskedConv], shapes: list[torch.Size]) -> list[MaskedConv]:
        """Let pruning-models see small maps at their own size where they would take far more than the network.

        A wide network on small images, as a detector with its maps of 3x3 and 1x1, has so many channels for its size
        that enlarging each map to 16x16 would take several times what the network itself does.
        """
        cost = sum(multiply_adds(len(masked.classes)) for masked in masked_convs)
        if cost <= COSTLY * self.graph.flops() / shapes[0][0]:
            return masked_convs
        sided = [
            replace(masked, side=own_side(shape)) for masked, shape in zip(masked_convs, shapes, strict=True)
        ]
        for masked in sided:
            self._conv(masked).side = masked.side
        return sided

    def _gate_other_readers(self) -> list[tuple[ChannelGate, NDArray[np.int64]]]:
        """Gate the other consumers: linear layers, shortcuts and grouped convolutions see dropped channels as zero."""
        masked_names = {masked.name for masked in self.masked_convs}
        gates: list[tuple[ChannelGate, NDArray[np.int64]]] = []
        self._taps = []
        for flow in self.graph.flows:
            taps = Taps(parts=parts_of(flow))
            for consumer in flow.consumers:
                classes = self.graph.classes_of(consumer.labels)
                if _layer_of(consumer) in masked_names or not (classes >= 0).any():
                    continue
                gate = ChannelGate(len(classes), consumer.axis, flow.values[consumer.source].dim())
                taps.add_before(consumer.node, gate)
                gates.append((gate, classes))
            self._taps.append(taps)
        self._gate_modules = nn.ModuleList(gate for gate, _ in gates)
        return gates

    def _make_coupled_masks(self) -> "list[CoupledMask]":
        """Return one for each set of coupled channels that some masked convolution reads."""
        by_group: dict[int, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = defaultdict(list)
        start = 0
        for masked in self.masked_convs:
            groups = self.graph.group_of[np.maximum(masked.classes, 0)]
            for group in np.unique(groups[masked.classes >= 0]):
                positions = np.flatnonzero((groups == group) & (masked.classes >= 0))
                by_group[int(group)].append((start + positions, masked.classes[positions]))
            start += len(masked.classes)
        return [CoupledMask(by_group[g], self.graph.groups[g].least(self.floor)) for g in sorted(by_group)]

    def _make_banks(self, factory: ModelFactory | None) -> tuple[nn.ModuleDict, dict[str, list[int]]]:
        """Return a bank for all pruning-models of one width and size of map, and the masked convolutions of each."""
        order: dict[str, list[int]] = defaultdict(list)
        for index, masked in enumerate(self.masked_convs):
            at_side = "" if masked.side == SIDE else f" at {masked.side}"
            order[f"{len(masked.classes)}{at_side}"].append(index)
        if factory is not None:
            return nn.ModuleDict(), order
        firsts = {key: self.masked_convs[members[0]] for key, members in order.items()}
        banks = {
            key: PruningModelBank(len(members), len(firsts[key].classes), firsts[key].side)
            for key, members in order.items()
        }
        return nn.ModuleDict(banks), order

    # --- one step --------------------------------------------------------------------------------

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the network through its masks, as a call of the network itself does."""
        return self.model(*inputs, **named)

    def _before_forward(self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Move the masks in training, and close the gates for this call."""
        if self.model.training and self.pruning and not self._probing:
            self.advance(*inputs, **named)
        taps, block = self._taps[-1] if self.model.training else self._taps[0], ExitStack()
        mode = block.enter_context(tapping(self.model, taps)) if taps.ops else None
        self._running.append((block, mode))

    def _after_forward(self, _: nn.Module, inputs: Any, output: Any) -> Any:  # noqa: ARG002
        if not self._running:  # the call failed before it began
            return output
        block, mode = self._running.pop()
        block.close()
        return output if mode is None else mode.current(output)

    def _hook(self) -> list[RemovableHandle]:
        return [
            self.model.register_forward_pre_hook(self._before_forward, prepend=True, with_kwargs=True),
            self.model.register_forward_hook(self._after_forward, always_call=True),
        ]

    @contextlib.contextmanager
    def _set_aside(self) -> Iterator[None]:
        """Leave the network plain in the block."""
        convs = [self._conv(masked) for masked in self.masked_convs]
        parts = [(conv.pruning_model, conv.mask, conv.side) for conv in convs]
        self.detach()
        try:
            yield
        finally:
            for conv, (pruning_model, mask, side) in zip(convs, parts, strict=True):
                PruningConv2d.attach(conv, pruning_model, side)
                conv.mask = mask
            self._hooks = self._hook()

    def detach(self) -> None:
        """Remove masks, gates and hooks; the network is then a plain one, with its current weights."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        for masked in self.masked_convs:
            if isinstance(conv := self.model.get_submodule(masked.name), PruningConv2d):
                conv.detach()

    @property
    def progress(self) -> float:
        """Progress of the masks: (iteration + interacting) / max_iter."""
        return (self.iteration + self.interacting) / self.max_iter

    def next_step(self) -> None:
        """Let the masks move again, once for each step of the optimizer, however many calls it takes.

        If this is never called (as in a loop with one call for each step), they move at every call.
        """
        self._moved = False
        self._holds = True

    def advance(self, *inputs: Any, **named: Any) -> None:
        """Move every mask one iteration on, with gradient to the pruning-models."""
        if self._holds and self._moved:
            self._hand_out(self.cm)
            return
        self._moved = True
        judged = self._evidence(*inputs, **named)
        before = continuous_mask(self.last, judged, progress=self.progress, offset=self.offset)
        masks = torch.relu(before)
        self.last = masks.detach()
        cm = self._combine(masks, before)
        self._hand_out(cm)
        self.cm = cm.detach()
        self.recent = self.recent * 0.9 + self.cm * 0.1
        self.iteration += 1

    def _evidence(self, *inputs: Any, **named: Any) -> Tensor:
        """Return every pruning-model's evidence, side by side as in ``last``."""
        maps = self._probe(*inputs, **named)
        if self.autocast is None:
            maps = [m.float() for m in maps]  # the caller may compute in lower precision
        parts: list[Tensor] = [torch.empty(0)] * len(self.masked_convs)
        device = self.cm.device.type
        with torch.autocast(device, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            for key, members in self._bank_order.items():
                for index, y in zip(members, self._judge(key, members, maps), strict=True):
                    parts[index] = y
        return torch.cat([evidence(y.float()) for y in parts])

    def _judge(self, key: str, members: list[int], maps: list[Tensor]) -> Iterator[Tensor]:
        if self.banks:
            yield from self.banks[key](torch.cat([maps[i] for i in members], 1))
            return
        for index in members:
            conv = self._conv(self.masked_convs[index])
            yield conv.pruning_model(maps[index])  # type: ignore[misc]

    def _conv(self, masked: MaskedConv) -> PruningConv2d:
        return self.model.get_submodule(masked.name)  # type: ignore[return-value]

    def _probe(self, *inputs: Any, **named: Any) -> list[Tensor]:
        """Return the maps that reach each masked convolution now, for the first images of the batch.

        Convolutions that read the same stream share a mask, which needs all of their maps: this takes a separate pass.
        BatchNorm uses these images' statistics and does not update its own.
        """
        convs = [self._conv(masked) for masked in self.masked_convs]
        for conv in convs:
            conv.probe = []
        self._probing = True
        try:
            with torch.no_grad(), _statistics_untouched(self.model):
                self.model(*self._first(inputs), **self._first(named))
            missed = next(
                (r.name for r, c in zip(self.masked_convs, convs, strict=True) if not c.probe), None
            )
            if missed is not None:
                raise ModelError(
                    f"{missed} did not run in a step of training, though it did when the network was watched: "
                    "keep it whole by opaque="
                )
            return [conv.probe[0] for conv in convs]  # type: ignore[index]
        finally:
            self._probing = False
            for conv in convs:
                conv.probe = None

    def _first(self, value: Any) -> Any:
        """Return the first images of a batch: of each tensor, and of each list of tensors in what forward is given."""
        if isinstance(value, Tensor):
            return world().broadcast(value[: self.images]) if value.dim() else value
        if isinstance(value, dict):
            return {key: self._first(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return tuple(self._first(item) for item in value)
        return value[: self.images] if isinstance(value, list) else value

    def _combine(self, masks: Tensor, before: Tensor) -> Tensor:
        """Return the mask by class from those of single convolutions: its consumer's own, or the shared one."""
        every = torch.cat([coupled(masks, before) for coupled in self.coupled_masks])
        where = torch.cat([coupled.classes for coupled in self.coupled_masks])  # type: ignore[misc]
        return torch.ones_like(self.cm).index_copy(0, where, every)

    def _hand_out(self, cm: Tensor) -> None:
        """Set the mask of every convolution and gate."""
        every = torch.cat([cm, cm.new_ones(1)])
        masks = every[self._columns].split([len(r.classes) for r in self.masked_convs])
        for masked, mask in zip(self.masked_convs, masks, strict=True):
            self._conv(masked).mask = mask
        alive = (every.detach() > 0).to(cm.dtype)[self._gate_columns].split([len(c) for _, c in self.gates])
        for (gate, _), open_ in zip(self.gates, alive, strict=True):
            gate.gate = open_

    # --- results -----------------------------------------------------------------------------------

    @property
    def keep(self) -> NDArray[np.bool_]:
        """(classes,) whether each class is on now."""
        return (self.cm > 0).cpu().numpy()

    def active(self) -> dict[str, float]:
        """Return the active parameters and FLOPs, as numbers and as fractions of the unpruned model."""
        keep = self.keep
        params, flops = self.graph.params(keep), self.graph.flops(keep)
        return {
            "params": params,
            "flops": flops,
            "params_fraction": params / self._unpruned_size[0],
            "flops_fraction": flops / self._unpruned_size[1],
        }

    @cached_property
    def _unpruned_size(self) -> tuple[int, int]:
        return self.graph.params(), self.graph.flops()

    def model_parameters(self) -> list[nn.Parameter]:
        """Return the model's own parameters."""
        own = {id(p) for p in self.pruning_parameters()}
        return [p for p in self.model.parameters() if id(p) not in own]

    def pruning_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the pruning-models, which are not part of the final model."""
        return [p for module in self.pruning_modules() for p in module.parameters(recurse=False)]

    def pruning_modules(self) -> list[nn.Module]:
        """Return every module inside the pruning-models."""
        convs = [self._conv(masked) for masked in self.masked_convs]
        single = [conv.pruning_model for conv in convs if conv.pruning_model is not None]
        return [module for top in [self.banks, *single] for module in top.modules()]

    def restore(self) -> None:
        """Set the masks that a loaded state dict holds."""
        self._hand_out(self.cm)

    def freeze(self, budget: Budget | None = None) -> Plan:
        """Freeze the masks at the end of the phase, trimmed to ``budget`` if there is one.

        Channels that are off are dropped first, then those with the smallest masks until the budget is met. Equal
        pieces of a tensor are evened out only here: while masks move, no channel waits for another.
        """
        self.pruning = False
        cm, recent = self.cm.cpu().numpy(), self.recent.cpu().numpy()
        scores = np.where(cm > 0, 1 + cm, recent / (1 + recent))
        scores[~self._judged()] = scores.max() + 1  # never scored, so kept
        if budget is None:
            plan = Plan.of(self.graph, evened(self.graph, self.keep, scores))
        else:
            with self._set_aside():  # a device's budget cuts the network to time it
                plan = budget.finalize(self.graph, scores)
        keep = torch.from_numpy(plan.keep).to(self.cm.device)
        held = torch.where(self.cm > 0, self.cm, self.recent.clamp(min=1e-3))
        self.cm = torch.where(keep, held, torch.zeros_like(held))
        self._hand_out(self.cm)
        return plan

    def _judged(self) -> NDArray[np.bool_]:
        judged = np.zeros(self.graph.classes, dtype=bool)
        for masked in self.masked_convs:
            judged[masked.classes[masked.classes >= 0]] = True
        return judged

    def finish(self, plan: Plan) -> Compacted:
        """Multiply the frozen masks into the weights, detach from the network, and return a compacted copy."""
        self.fixed = {masked.name: self._conv(masked).mask.detach().clone() for masked in self.masked_convs}
        self.detach()
        multiply(self.model, self.fixed)
        return compact(self.graph, plan)


def multiply(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Multiply masks into the weights of convolutions.

    Args:
        model: changed in place.
        masks: (C_in,) by the name of a convolution.
    """
    with torch.no_grad():
        for name, mask in masks.items():
            weight = model.get_submodule(name).weight
            weight.mul_(mask.to(weight).view(1, -1, 1, 1))  # type: ignore[operator, arg-type]


class CoupledMask(nn.Module):
    """The mask of one set of coupled channels, from its consumers' entries in the side-by-side masks.

    Args:
        members: for each convolution that reads the set: (indices into the masks, classes of those entries).
        floor: number of channels that stay on.
    """

    classes: Tensor

    def __init__(self, members: list[tuple[NDArray[np.int64], NDArray[np.int64]]], floor: int) -> None:
        super().__init__()
        classes = np.unique(members[0][1])
        self.consumers, self.floor = len(members), floor
        self.register_buffer("classes", torch.from_numpy(classes), persistent=False)
        for number, (index, entries) in enumerate(members):
            place = torch.from_numpy(np.searchsorted(classes, entries))
            self.register_buffer(f"index_{number}", torch.from_numpy(index), persistent=False)
            self.register_buffer(f"place_{number}", place, persistent=False)

    def forward(self, masks: Tensor, before: Tensor) -> Tensor:
        """Return the set's mask: that of its only consumer, or `shared_mask` of all its consumers.

        Args:
            masks: all convolutions' masks side by side, after their ReLU.
            before: the same before their ReLU.

        Returns:
            (channels of the set,).
        """
        if self.consumers == 1:
            return with_floor(self._row(before, 0), self.floor)
        rows = torch.stack([self._row(masks, number) for number in range(self.consumers)])
        return with_floor(shared_mask(rows), self.floor)

    def _row(self, values: Tensor, number: int) -> Tensor:
        """Return a consumer's entries by class; their mean where it reads a class more than once."""
        values, place = values[getattr(self, f"index_{number}")], getattr(self, f"place_{number}")
        if len(place) == len(self.classes):
            return torch.zeros_like(values).index_copy(0, place, values)
        total = values.new_zeros(len(self.classes)).index_add(0, place, values)
        return total / torch.zeros_like(total).index_add(0, place, torch.ones_like(values))


def _layer_of(consumer: Consumer) -> str | None:
    """Return the name of the layer that reads the channels; None where other code does."""
    site = consumer.node.meta.get(CALL)
    return site.path if site is not None and site.in_layer else None


def _columns(vectors: list[NDArray[np.int64]]) -> Tensor:
    """Concatenate class vectors."""
    return torch.from_numpy(np.concatenate([*vectors, np.zeros(0, dtype=np.int64)]))


@contextlib.contextmanager
def _statistics_untouched(model: nn.Module) -> Iterator[None]:
    """Keep BatchNorm's running statistics unchanged in training mode."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(n.momentum, n.num_batches_tracked) for n in norms]
    for norm in norms:
        norm.momentum = 0.0
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked = norm.num_batches_tracked.clone()
    try:
        yield
    finally:
        for norm, (momentum, seen) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, seen
