"""OutputAnalyser: wraps a model so that it learns, from the task's loss alone, which channels to keep.

Source: G. Calleris, Structured Pruning for Efficient Convolutional Networks, Politecnico di Torino, 2023.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.graph.classes import Bools, Graph, build_graph
from edgeprune.graph.cost import Floats
from edgeprune.graph.plan import Plan
from edgeprune.learned.active import ActiveSize
from edgeprune.learned.allocation import Allocation
from edgeprune.learned.banks import PruningModelBanks
from edgeprune.learned.coupled_mask import CoupledMasks, coupled_masks
from edgeprune.learned.final_masks import FinalMasks
from edgeprune.learned.gates import ChannelGates
from edgeprune.learned.hooks import ForwardHooks
from edgeprune.learned.mask import OFFSET, continuous_mask
from edgeprune.learned.masked_layers import MaskedLayers, ModelFactory, columns_of, statistics_untouched
from edgeprune.learned.pruning_layer import along_inputs
from edgeprune.processes.distributed import world
from edgeprune.rewrite.compaction import Compacted, compact
from edgeprune.rewrite.duplicate import duplicate


class OutputAnalyser(nn.Module):
    """A model whose layers learn which of their input channels to keep.

    ``forward`` is the model's own, and ``fixed`` has the masks by layer after `finish`.
    In training mode and in the pruning phase each call first lets every
    pruning-model evaluate the feature maps of the first ``images`` images of the batch and moves the
    masks one iteration on; they are fixed otherwise. ``interacting`` may be changed at any time.

    Everything acts through the network's own modules: its layers get another class for the time (see `PruningLayer`),
    and hooks at its top move the masks and close the gates, so that the network itself may be called in place of the
    analyser. `detach` takes all of it away.

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
        ModelError: no layer of the model reads channels that may be pruned.
        TraceError: the model cannot be traced.
    """

    last: Tensor
    cm: Tensor
    recent: Tensor
    _columns: Tensor

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
        self.interacting, self.iteration = 0.0, 0
        self.leads: Tensor | None = None  # see `lead`
        self.pruning = True
        self.masked_layers = MaskedLayers(self.graph, pruning_model)
        self.gates = ChannelGates(self.graph, {masked.name for masked in self.masked_layers})
        self.coupled_masks = CoupledMasks(coupled_masks(self.graph, self.masked_layers, floor))
        self.banks = PruningModelBanks(self.masked_layers, together=pruning_model is None)
        self.register_buffer("cm", torch.ones(self.graph.classes), persistent=True)
        self.register_buffer("recent", torch.ones(self.graph.classes), persistent=True)
        self.register_buffer(
            "_columns", columns_of([r.channels for r in self.masked_layers]), persistent=False
        )
        self._classes = np.concatenate([masked.classes for masked in self.masked_layers])
        width = len(self._classes)
        # Before the first step every mask stands at its steady value for average evidence: 2 * offset.
        self.register_buffer("last", torch.full((width,), 2 * offset), persistent=True)
        self.fixed: dict[str, Tensor] = {}
        self._holds = False
        self._moved = False  # whether the masks have moved since `next_step`
        self._judged_by: tuple[list[Tensor], Tensor, float | Tensor] | None = (
            None  # maps, last masks and progress of the step
        )
        self._hooks = ForwardHooks(self.model, self._before_forward, self._after_forward)
        self._size = ActiveSize(self.graph)

    # --- one step --------------------------------------------------------------------------------

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Run the network through its masks, as a call of the network itself does."""
        return self.model(*inputs, **named)

    def _before_forward(self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Move the masks in training, and close the gates for this call."""
        if self.model.training and self.pruning and not self.masked_layers.probing:
            self.advance(*inputs, **named)
        self.gates.begin_call(self.model)

    def _after_forward(self, _: nn.Module, inputs: Any, output: Any) -> Any:  # noqa: ARG002
        return self.gates.end_call(output)

    @contextlib.contextmanager
    def set_aside(self) -> Iterator[None]:
        """Leave the network plain in the block."""
        self._hooks.remove()
        try:
            with self.masked_layers.set_aside():
                yield
        finally:
            self._hooks.attach()

    def detach(self) -> None:
        """Remove masks, gates and hooks; the network is then a plain one, with its current weights."""
        self._hooks.remove()
        self.masked_layers.detach()

    @property
    def progress(self) -> float:
        """Progress of the masks: (iteration + interacting) / max_iter."""
        return (self.iteration + self.interacting) / self.max_iter

    def lead(self, leads: Floats) -> None:
        """Let the masks of some classes be further than others', from the next iteration on.

        Args:
            leads: (classes,) iterations that are added to `interacting`.
        """
        entries = np.where(self._classes >= 0, leads[np.maximum(self._classes, 0)], 0.0)
        self.leads = torch.from_numpy(entries).to(self.last)

    def _progress(self) -> float | Tensor:
        """Return the progress of all masks, or of each entry where some lead."""
        return self.progress if self.leads is None else self.progress + self.leads / self.max_iter

    def next_step(self) -> None:
        """Let the masks move again, once for each step of the optimizer, however many calls it takes.

        The later calls of a step, as those of a batch that is computed in parts, have the masks of the first, and the
        loss of each has a gradient to the pruning-models. If this is never called (as in a loop with one call for
        each step), masks move at every call.
        """
        self._moved, self._judged_by = False, None
        self._holds = True

    def advance(self, *inputs: Any, **named: Any) -> None:
        """Move every mask one iteration on, with gradient to the pruning-models."""
        if self._holds and self._moved:
            self._hand_out(self._again())
            return
        self._moved = True
        maps = self.masked_layers.probe(inputs, named, self.images)
        if self._holds:
            self._judged_by = maps, self.last, self._progress()
        masks, cm = self._judged(maps, self.last, self._progress())
        self.last = masks.detach()
        self._hand_out(cm)
        self.cm = cm.detach()
        self.recent = self.recent * 0.9 + self.cm * 0.1
        self.iteration += 1

    def _judged(self, maps: list[Tensor], last: Tensor, progress: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return the masks that follow the pruning-models' evidence: side by side as in ``last``, and by class.

        Args:
            maps: of each layer.
            last: masks of the step before.
            progress: of the masks, one for all or one for each.
        """
        judged = self.banks.evidence(maps, self.autocast)
        before = continuous_mask(last, judged, progress=progress, offset=self.offset)
        masks = torch.relu(before)
        return masks, self.coupled_masks(masks, before, self.graph.classes)

    def _again(self) -> Tensor:
        """Return the masks of this step once more, with a gradient of their own to the pruning-models.

        A call's backward pass frees what it went through, so that each call needs its own; gradients add up to that
        of the sum of the losses.
        """
        if self._judged_by is None or not torch.is_grad_enabled():
            return self.cm
        with statistics_untouched(self):
            _, cm = self._judged(*self._judged_by)
        return cm + (self.cm - cm).detach()  # the same numbers, even if a pruning-model draws random ones

    def _hand_out(self, cm: Tensor) -> None:
        """Set the mask of every layer and gate."""
        every = torch.cat([cm, cm.new_ones(1)])
        masks = every[self._columns].split([len(r.channels) for r in self.masked_layers])
        self.masked_layers.set_masks(masks)
        self.gates.close(every)

    # --- results -----------------------------------------------------------------------------------

    @property
    def keep(self) -> Bools:
        """(classes,) whether each class is on now."""
        return (self.cm > 0).cpu().numpy()

    def active(self) -> dict[str, float]:
        """Return the active parameters and FLOPs, as numbers and as fractions of the unpruned model."""
        return self._size.of(self.keep)

    def model_parameters(self) -> list[nn.Parameter]:
        """Return the model's own parameters."""
        own = {id(p) for p in self.pruning_parameters()}
        return [p for p in self.model.parameters() if id(p) not in own]

    def pruning_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the pruning-models, which are not part of the final model."""
        return [p for module in self.pruning_modules() for p in module.parameters(recurse=False)]

    def pruning_modules(self) -> list[nn.Module]:
        """Return every module inside the pruning-models."""
        return self.banks.all_modules()

    def restore(self) -> None:
        """Set the masks that a loaded state dict holds."""
        self._hand_out(self.cm)

    def freeze(self, budget: Budget | None = None, allocation: Allocation | None = None) -> Plan:
        """Freeze the masks at the end of the phase, trimmed to ``budget`` if there is one.

        Channels that are off are dropped first, then those with the smallest masks until the budget is met. Equal
        pieces of a tensor are evened out only here: while masks move, no channel waits for another.

        Args:
            budget: to be met; None for the masks as they are.
            allocation: how much each group loses to meet it; None for as much as its masks say.
        """
        self.pruning = False
        self.cm, self.recent = world().broadcast(self.cm), world().broadcast(self.recent)
        final = FinalMasks(self.graph, self.cm, self.recent, self.masked_layers.scored)
        if budget is None:
            plan = final.plan()
        else:
            with self.set_aside():  # a device's budget cuts the network to time it
                plan = final.plan_within(budget, allocation)
        self.cm = final.frozen(plan)
        self._hand_out(self.cm)
        return plan

    def finish(self, plan: Plan) -> Compacted:
        """Multiply the frozen masks into the weights, detach from the network, and return a compacted copy."""
        self.fixed = {
            masked.name: self.masked_layers.layer(masked).mask.detach().clone()
            for masked in self.masked_layers
        }
        self.detach()
        multiply(self.model, self.fixed)
        return compact(self.graph, plan)


def multiply(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Multiply masks into the weights of layers.

    Args:
        model: changed in place.
        masks: (C_in,) by the name of a layer.
    """
    with torch.no_grad():
        for name, mask in masks.items():
            layer = model.get_submodule(name)
            weight: Tensor = layer.weight  # type: ignore[assignment]
            weight.mul_(along_inputs(layer, mask.to(weight)))
