"""The layers of a network that read their input channels through a mask."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.errors import ModelError
from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.flow import Consumer
from edgeprune.learned.maps import ChannelMaps, per_image, square_shape
from edgeprune.learned.pruning_layer import PruningLayer, is_prunable
from edgeprune.learned.pruning_model import SIDE, multiply_adds, own_side
from edgeprune.processes.distributed import world
from edgeprune.recording.record import CALL

ModelFactory = Callable[[int], nn.Module]

COSTLY = 2.0  # times the network's own multiply-adds, from which on small maps are judged at their own size


@dataclass(frozen=True)
class MaskedLayer:
    """One masked layer.

    Attributes:
        name: in the network.
        channels: (C_in,) class of each of its input channels; -1 for one that is always read.
        classes: (U,) class of each channel that it judges: those of ``channels``, or each class once where several
            places hold one channel's positions; -1 where its judgement is not used.
        shape: (H, W) of what reaches it.
        side: of the maps that its pruning-model sees.
    """

    name: str
    channels: NDArray[np.int64]
    classes: NDArray[np.int64]
    shape: tuple[int, int]
    side: int = SIDE


class MaskedLayers(Sequence[MaskedLayer]):
    """Turns a network's layers into masked ones, and back; they stay the network's own objects.

    ``probing`` is true while `probe` runs the network.
    """

    def __init__(self, graph: Graph, factory: ModelFactory | None) -> None:
        """Mask each layer of ``graph``'s network that reads channels which may be pruned.

        A linear layer that reads vectors, such as a classifier, has no maps to judge by: it judges only the channels
        that no other layer does.

        Args:
            graph: of the network.
            factory: channels -> pruning-model of a layer of its own; None where banks have them all.

        Raises:
            ModelError: there is no such layer.
        """
        self._graph, self._model = graph, graph.model
        self.probing = False
        consumers = self._consumers()
        if not consumers:
            raise ModelError(
                "no convolution and no linear layer of this model reads channels that may be pruned"
            )
        elsewhere = self._groups_of(c for c in consumers.values() if not self._reads_vectors(c))
        self._items = [
            masked
            for name, consumer in consumers.items()
            if (masked := self._mask(name, consumer, elsewhere, factory)) is not None
        ]
        if factory is None:
            self._items = self._affordable(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def layer(self, masked: MaskedLayer) -> PruningLayer:
        """Return the layer of one of them."""
        return self._model.get_submodule(masked.name)  # type: ignore[return-value]

    @property
    def layers(self) -> list[PruningLayer]:
        """The layers, in order."""
        return [self.layer(masked) for masked in self._items]

    @property
    def scored(self) -> Bools:
        """(classes,) whether one of the layers scores a class."""
        scored = np.zeros(self._graph.classes, dtype=bool)
        for masked in self._items:
            scored[masked.classes[masked.classes >= 0]] = True
        return scored

    def _consumers(self) -> dict[str, Consumer]:
        """Return where each layer that can be masked reads channels that may be pruned, by its name."""
        consumers: dict[str, Consumer] = {}
        for consumer in self._graph.flow.consumers:
            name = layer_of(consumer)
            if name is None or name in consumers or not is_prunable(self._model.get_submodule(name)):
                continue
            if (self._graph.classes_of(consumer.labels) >= 0).any():
                consumers[name] = consumer
        return consumers

    def _groups_of(self, consumers: Iterable[Consumer]) -> set[int]:
        """Return the groups of coupled channels that some consumers read."""
        classes = [self._graph.classes_of(consumer.labels) for consumer in consumers]
        return {int(group) for each in classes for group in self._graph.group_of[each[each >= 0]]}

    def _shape(self, consumer: Consumer) -> torch.Size:
        shape: torch.Size = self._graph.flow.values[consumer.source].shape
        return shape

    def _reads_vectors(self, consumer: Consumer) -> bool:
        layer = self._model.get_submodule(layer_of(consumer) or "")
        return isinstance(layer, nn.Linear) and len(self._shape(consumer)) <= 2

    def _mask(
        self, name: str, consumer: Consumer, elsewhere: set[int], factory: ModelFactory | None
    ) -> MaskedLayer | None:
        """Mask a layer; None, and its channels are gated, where other layers judge all that it reads.

        Args:
            name: of the layer.
            consumer: where it reads channels.
            elsewhere: groups that layers with maps judge.
            factory: makes its pruning-model, or None.
        """
        channels, shape = self._graph.classes_of(consumer.labels), self._shape(consumer)
        classes, picks = channels, None
        if self._reads_vectors(consumer):
            groups = self._graph.group_of[np.maximum(channels, 0)]
            judged = np.where((channels < 0) | np.isin(groups, [*elsewhere]), -1, channels)
            if (judged < 0).all():
                return None
            classes, picks = _positions(judged)
        axis, positions = consumer.axis % len(shape), [*shape]
        del positions[axis]
        positions = positions if axis == 0 else positions[1:]
        if picks is not None and picks.shape[1] > 1:
            positions.append(picks.shape[1])
        masked = MaskedLayer(name, channels, classes, square_shape(tuple(positions)))
        if len(positions) != 2:
            masked = replace(masked, side=own_side(masked.shape))
        layer = self._model.get_submodule(name)
        PruningLayer.attach(
            layer, factory(len(classes)) if factory else None, ChannelMaps(axis, masked.side, picks)
        )
        return masked

    def _affordable(self, masked_layers: list[MaskedLayer]) -> list[MaskedLayer]:
        """Let pruning-models see small maps at their own size where they would take far more than the network.

        A wide network on small images, as a detector with its maps of 3x3 and 1x1, has so many channels for its size
        that enlarging each map to 16x16 would take several times what the network itself does.
        """
        cost = sum(multiply_adds(len(masked.classes), masked.side) for masked in masked_layers)
        batch = _batch(self._graph.inputs_of(self._graph.flow.module)) or 1  # type: ignore[arg-type]
        if cost <= COSTLY * self._graph.flops() / (batch):
            return masked_layers
        sided = [replace(masked, side=own_side(masked.shape)) for masked in masked_layers]
        for masked in sided:
            layer = self.layer(masked)
            layer.maps = replace(layer.maps, side=masked.side)
        return sided

    def set_masks(self, masks: Sequence[Tensor]) -> None:
        """Set the mask of every layer."""
        for layer, mask in zip(self.layers, masks, strict=True):
            layer.mask = mask

    def detach(self) -> None:
        """Make them plain layers again."""
        for masked in self._items:
            if isinstance(layer := self._model.get_submodule(masked.name), PruningLayer):
                layer.detach()

    @contextlib.contextmanager
    def set_aside(self) -> Iterator[None]:
        """Make them plain layers in the block."""
        layers = self.layers
        parts = [(layer.pruning_model, layer.mask, layer.maps) for layer in layers]
        self.detach()
        try:
            yield
        finally:
            for layer, (pruning_model, mask, maps) in zip(layers, parts, strict=True):
                PruningLayer.attach(layer, pruning_model, maps)
                layer.mask = mask

    def probe(self, inputs: tuple[Any, ...], named: dict[str, Any], images: int) -> list[Tensor]:
        """Return the maps that reach each masked layer now, for the first images of the batch.

        Layers that read the same stream share a mask, which needs all of their maps: this takes a separate pass.
        BatchNorm uses these images' statistics and does not update its own.

        Args:
            inputs: positional arguments of the network's forward.
            named: its keyword arguments.
            images: how many of the batch are run.

        Returns:
            (images, U, side, side) of each layer.

        Raises:
            ModelError: one of the layers did not run, or is another one by now.
        """
        layers = self.layers
        for masked, layer in zip(self._items, layers, strict=True):
            if not isinstance(layer, PruningLayer):
                raise ModelError(
                    f"{masked.name} was replaced while masks are learned: load weights into the layer "
                    "(load_state_dict), or change the model before"
                )
            layer.probe = []
        self.probing = True
        try:
            inputs, named = _first(inputs, images), _first(named, images)
            with torch.no_grad(), statistics_untouched(self._model):
                self._model(*inputs, **named)
            missed = next((r.name for r, x in zip(self._items, layers, strict=True) if not x.probe), None)
            if missed is not None:
                raise ModelError(
                    f"{missed} did not run in a step of training, though it did when the network was watched: "
                    "keep it whole by opaque="
                )
            count = _batch((inputs, named)) or len(layers[0].probe[0])  # type: ignore[index]
            maps = [per_image(layer.probe[0], count) for layer in layers]  # type: ignore[index]
            return _shared(maps) if _has_list((inputs, named)) else maps
        finally:
            self.probing = False
            for layer in layers:
                layer.probe = None


def columns_of(vectors: list[NDArray[np.int64]]) -> Tensor:
    """Concatenate class vectors, of which there may be none."""
    return torch.from_numpy(np.concatenate([*vectors, np.zeros(0, dtype=np.int64)]))


def layer_of(consumer: Consumer) -> str | None:
    """Return the name of the layer that reads the channels; None where other code does."""
    site = consumer.node.meta.get(CALL)
    return site.path if site is not None and site.in_layer else None


def _first(value: Any, count: int) -> Any:
    """Return the first ``count`` images of what forward is given: of each tensor, and of each list of tensors.

    Tensors are the main process's; images in a list may have other sizes on each.
    """
    if isinstance(value, Tensor):
        return world().broadcast(value[:count]) if value.dim() else value
    if isinstance(value, dict):
        return {key: _first(item, count) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_first(item, count) for item in value)
    return value[:count] if isinstance(value, list) else value


def _batch(value: Any) -> int | None:
    """Return the number of images in what forward is given; None for no batch."""
    if isinstance(value, Tensor):
        return len(value) if value.dim() else None
    if isinstance(value, list):
        return len(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return next((count for count in map(_batch, parts) if count), None)


def _has_list(value: Any) -> bool:
    """Return whether there is a list in what forward is given."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return isinstance(value, list) or any(map(_has_list, parts))


def _shared(maps: list[Tensor]) -> list[Tensor]:
    """Return the main process's maps."""
    if world().size == 1:
        return maps
    flat = world().broadcast(torch.cat([m.flatten() for m in maps]))
    parts = flat.split([m.numel() for m in maps])
    return [part.view_as(m) for part, m in zip(parts, maps, strict=True)]


def _positions(judged: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
    """Return each class that a vector holds, and where: (U,) classes, (U, P) places.

    A flattened map has P values of each channel. Where some have more than others, the first P of each are taken.

    Args:
        judged: class of each value of the vector; -1 for one that is left out.
    """
    classes, counts = np.unique(judged[judged >= 0], return_counts=True)
    order = np.argsort(judged, kind="stable")[(judged < 0).sum() :]
    starts = np.cumsum(counts) - counts
    return classes, torch.from_numpy(order[starts[:, None] + np.arange(counts.min())])


@contextlib.contextmanager
def statistics_untouched(model: nn.Module) -> Iterator[None]:
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
