"""The convolutions of a network that read their input channels through a mask."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.errors import ModelError
from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.flow import Consumer
from edgeprune.learned.conv import PruningConv2d, is_prunable
from edgeprune.learned.pruning_model import SIDE, multiply_adds, own_side
from edgeprune.processes.distributed import world
from edgeprune.recording.record import CALL

ModelFactory = Callable[[int], nn.Module]

COSTLY = 2.0  # times the network's own multiply-adds, from which on small maps are judged at their own size


@dataclass(frozen=True)
class MaskedConv:
    """One masked convolution: the class of each of its input channels (-1: always read)."""

    name: str
    classes: NDArray[np.int64]
    group: int
    side: int = SIDE  # of the maps that its pruning-model sees


class MaskedConvs(Sequence[MaskedConv]):
    """Turns a network's convolutions into masked ones, and back; they stay the network's own objects.

    ``probing`` is true while `probe` runs the network.
    """

    def __init__(self, graph: Graph, factory: ModelFactory | None) -> None:
        """Mask each convolution of ``graph``'s network that reads channels which may be pruned.

        Args:
            graph: of the network.
            factory: channels -> pruning-model of a convolution of its own; None where banks have them all.

        Raises:
            ModelError: there is no such convolution.
        """
        self._graph, self._model = graph, graph.model
        self.probing = False
        self._items = self._masked_convolutions(factory)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def conv(self, masked: MaskedConv) -> PruningConv2d:
        """Return the layer of one of them."""
        return self._model.get_submodule(masked.name)  # type: ignore[return-value]

    @property
    def convs(self) -> list[PruningConv2d]:
        """The layers, in order."""
        return [self.conv(masked) for masked in self._items]

    @property
    def scored(self) -> Bools:
        """(classes,) whether one of the convolutions scores a class."""
        scored = np.zeros(self._graph.classes, dtype=bool)
        for masked in self._items:
            scored[masked.classes[masked.classes >= 0]] = True
        return scored

    def _masked_convolutions(self, factory: ModelFactory | None) -> list[MaskedConv]:
        masked_convs: list[MaskedConv] = []
        shapes: list[torch.Size] = []
        for consumer in self._graph.flow.consumers:
            name = layer_of(consumer)
            if name is None or not is_prunable(self._model.get_submodule(name)):
                continue
            classes = self._graph.classes_of(consumer.labels)
            groups = np.unique(self._graph.group_of[classes[classes >= 0]])
            # A consumer of several groups (after a concat) has a mask for each class all the same; the first
            # group only names where its masks are shared.
            if len(groups) == 0 or any(r.name == name for r in masked_convs):
                continue
            conv = self._model.get_submodule(name)
            made = factory(conv.in_channels) if factory else None  # type: ignore[arg-type]
            PruningConv2d.attach(conv, made)  # type: ignore[arg-type]
            masked_convs.append(MaskedConv(name, classes, int(groups[0])))
            shapes.append(self._graph.flow.values[consumer.source].shape)
        if not masked_convs:
            raise ModelError("no convolution of this model reads channels that may be pruned")
        return masked_convs if factory else self._affordable(masked_convs, shapes)

    def _affordable(self, masked_convs: list[MaskedConv], shapes: list[torch.Size]) -> list[MaskedConv]:
        """Let pruning-models see small maps at their own size where they would take far more than the network.

        A wide network on small images, as a detector with its maps of 3x3 and 1x1, has so many channels for its size
        that enlarging each map to 16x16 would take several times what the network itself does.
        """
        cost = sum(multiply_adds(len(masked.classes)) for masked in masked_convs)
        if cost <= COSTLY * self._graph.flops() / shapes[0][0]:
            return masked_convs
        sided = [
            replace(masked, side=own_side(shape)) for masked, shape in zip(masked_convs, shapes, strict=True)
        ]
        for masked in sided:
            self.conv(masked).side = masked.side
        return sided

    def set_masks(self, masks: Sequence[Tensor]) -> None:
        """Set the mask of every convolution."""
        for conv, mask in zip(self.convs, masks, strict=True):
            conv.mask = mask

    def detach(self) -> None:
        """Make them plain convolutions again."""
        for masked in self._items:
            if isinstance(conv := self._model.get_submodule(masked.name), PruningConv2d):
                conv.detach()

    @contextlib.contextmanager
    def set_aside(self) -> Iterator[None]:
        """Make them plain convolutions in the block."""
        convs = self.convs
        parts = [(conv.pruning_model, conv.mask, conv.side) for conv in convs]
        self.detach()
        try:
            yield
        finally:
            for conv, (pruning_model, mask, side) in zip(convs, parts, strict=True):
                PruningConv2d.attach(conv, pruning_model, side)
                conv.mask = mask

    def probe(self, inputs: tuple[Any, ...], named: dict[str, Any], images: int) -> list[Tensor]:
        """Return the maps that reach each masked convolution now, for the first images of the batch.

        Convolutions that read the same stream share a mask, which needs all of their maps: this takes a separate pass.
        BatchNorm uses these images' statistics and does not update its own.

        Args:
            inputs: positional arguments of the network's forward.
            named: its keyword arguments.
            images: how many of the batch are run.

        Raises:
            ModelError: one of the convolutions did not run.
        """
        convs = self.convs
        for conv in convs:
            conv.probe = []
        self.probing = True
        try:
            with torch.no_grad(), _statistics_untouched(self._model):
                self._model(*_first(inputs, images), **_first(named, images))
            missed = next((r.name for r, c in zip(self._items, convs, strict=True) if not c.probe), None)
            if missed is not None:
                raise ModelError(
                    f"{missed} did not run in a step of training, though it did when the network was watched: "
                    "keep it whole by opaque="
                )
            return [conv.probe[0] for conv in convs]  # type: ignore[index]
        finally:
            self.probing = False
            for conv in convs:
                conv.probe = None


def columns_of(vectors: list[NDArray[np.int64]]) -> Tensor:
    """Concatenate class vectors, of which there may be none."""
    return torch.from_numpy(np.concatenate([*vectors, np.zeros(0, dtype=np.int64)]))


def layer_of(consumer: Consumer) -> str | None:
    """Return the name of the layer that reads the channels; None where other code does."""
    site = consumer.node.meta.get(CALL)
    return site.path if site is not None and site.in_layer else None


def _first(value: Any, count: int) -> Any:
    """Return the first ``count`` images of what forward is given: of each tensor, and of each list of tensors."""
    if isinstance(value, Tensor):
        return world().broadcast(value[:count]) if value.dim() else value
    if isinstance(value, dict):
        return {key: _first(item, count) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_first(item, count) for item in value)
    return value[:count] if isinstance(value, list) else value


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
