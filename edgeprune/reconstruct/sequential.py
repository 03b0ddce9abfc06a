"""Fits one after the other, each on what the layers before it give now that they are pruned."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.flow import Reader
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import op_name
from edgeprune.importance.batches import Batches, Inputs, images_in, inputs_of, mapped, tensors_among
from edgeprune.importance.filters import named_tensor
from edgeprune.importance.sites import run
from edgeprune.reconstruct.layers import Layer, layers_of, weights_put_back
from edgeprune.recording.record import VALUE
from edgeprune.recording.taps import Tap

FAINT = 1e-4  # a BatchNorm's factor: what is behind it cannot be made up for in front
ROOM = 4 * 2**30  # bytes for the images' values: more images than fit are not looked at
ALIVE = 4  # values as large as the largest that live at once
MANY = 8  # samples for each unknown: with fewer, what the shortcut has lost would be learned by heart
ENOUGH = 2  # samples for each unknown: with fewer, a layer that loses nothing itself stays as it is


@dataclass(frozen=True)
class Junction:
    """What is added to a layer's output, behind its BatchNorm if it has one.

    Attributes:
        other: the node that is added; it runs before the layer does.
        scale: by which BatchNorm multiplies each output, (groups, 1, outputs of a group).
    """

    other: fx.Node
    scale: Tensor


def junction_of(graph: Graph, layer: Layer) -> Junction | None:
    """Where a layer's output goes nowhere but into a sum with what is known before it; None elsewhere."""
    node, weight = layer.reader.node, layer.parameter
    scale: Tensor | None = torch.ones(len(weight), device=weight.device)
    user = _only_user(node)
    if user is not None and op_name(user) == "batch_norm":
        scale, node = _scale_of(graph, user), user
        user = _only_user(node)
    if scale is None:
        return None
    if user is None or op_name(user) != "add" or len(user.args) != 2 or user.kwargs or weight.dim() != 4:
        return None
    (other,) = [operand for operand in user.args if operand is not node] or [None]
    order = list(graph.nodes)
    if not isinstance(other, fx.Node) or order.index(other) > order.index(layer.reader.node):
        return None
    if other.meta[VALUE].shape != node.meta[VALUE].shape:
        return None
    scale = torch.where(scale.abs() < FAINT, torch.inf, scale)
    return Junction(other, scale.reshape(layer.groups, 1, -1))


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _scale_of(graph: Graph, call: fx.Node) -> Tensor | None:
    """What a call of batch_norm multiplies each channel by; None if the batch decides, or it is computed."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    settings: dict[str, Any] = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    variance, gain = (graph.flow.attribute(settings.get(name)) for name in ("running_var", "weight"))
    if variance is None or (gain is None) != (settings.get("weight") is None):
        return None
    spread = named_tensor(graph, variance)
    scale = torch.ones_like(spread) if gain is None else named_tensor(graph, gain).detach()
    return scale / (spread + settings.get("eps", 1e-5)).sqrt()


def images_that_fit(graph: Graph) -> int:
    """So many images may pass a network together, by its largest value of one image; at least 1."""
    nodes = [node for node in graph.nodes if node.op != "get_attr"]
    values = [one for node in nodes for one in tensors_in(node.meta.get(VALUE))]
    examples = len(next(node.meta[VALUE] for node in nodes if node.op == "placeholder"))
    largest = max(one.numel() * one.element_size() for one in values) / examples
    return max(1, int(ROOM / (ALIVE * largest)))


def _within(images: int, batches: Iterator[Inputs]) -> Iterator[Inputs]:
    """The first batches that have so many images together; the last is cut."""
    for batch in batches:
        size = images_in(batch)
        yield mapped(batch, partial(_first, images, size))
        images -= size
        if images <= 0:
            return


def _first(images: int, size: int, tensor: Tensor) -> Tensor:
    """A tensor of a batch of ``size`` for its first ``images``."""
    return tensor[:images] if _by_image(tensor, size) else tensor


def _by_image(tensor: Tensor, images: int) -> bool:
    """Whether a tensor of a batch has an entry for each image."""
    return tensor.dim() > 0 and len(tensor) == images


def _joined(batches: list[Inputs]) -> Inputs:
    """All images in one batch; what is not given for each image is the first batch's."""
    sizes = [images_in(batch) for batch in batches]
    columns = iter(list(zip(*map(tensors_among, batches), strict=True)))

    def joined(first: Tensor) -> Tensor:
        parts = next(columns)
        each = all(_by_image(part, size) for part, size in zip(parts, sizes, strict=True))
        return torch.cat(parts) if each else first

    return tuple(mapped(batches[0], joined))


class Sequential:
    """What 'sequential' needs of the whole network, taken once and used for many plans: each layer's outputs.

    Where something is added to a layer's output, as in a residual block, it is the sum that is to stay what
    it was: the layer makes up for what the shortcut has lost on the way (He et al., 2017, 3.4).

    All images are held, and pass the network together, so that a layer is fitted before the next one runs;
    there are as many as `ROOM` allows.

    Args:
        graph: the traced model.
        batches: images, as criteria take them.
        positions: places of the output sampled in each image.
        limit: at most this many batches.
        seed: of that sampling.

    Raises:
        PlanError: no batches.
    """

    def __init__(
        self,
        graph: Graph,
        batches: Batches | None,
        *,
        positions: int = 10,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        self._graph = graph
        self._layers = layers_of(graph, positions, seed)
        self._inputs = _joined(
            list(_within(images_that_fit(graph), inputs_of(batches, "reconstruction", limit)))
        )
        self._outputs: dict[fx.Node, Tensor] = {}
        self._added: dict[fx.Node, Tensor] = {}  # to these outputs, behind them
        self._beside: dict[fx.Node, Tensor] = {}  # the same, in the pass that is under way
        found = {layer.reader.node: junction_of(graph, layer) for layer in self._layers}
        self._junctions = {node: junction for node, junction in found.items() if junction is not None}
        with torch.no_grad():
            before = {one.reader.node: self._keeping(one) for one in self._layers}
            run(graph, self._inputs, before=before, after=self._holding())
        self._beside.clear()

    def _keeping(self, layer: Layer) -> Tap:
        node, junction = layer.reader.node, self._junctions.get(layer.reader.node)

        def keep(value: Tensor) -> None:
            self._outputs[node] = layer.rows(value) @ layer.weight.transpose(1, 2)
            if junction is not None:
                self._added[node] = self._beside[node]

        return keep

    def _holding(self, before: Mapping[fx.Node, Tap] | None = None) -> dict[fx.Node, Tap]:
        """Taps that keep what is added to outputs; each after the one of ``before`` on the same node."""
        taps = dict(before or {})

        def hold(layer: Layer, first: Tap | None) -> Tap:
            def tap(value: Tensor) -> Tensor:
                changed = first(value) if first else None
                value = value if changed is None else changed
                self._beside[layer.reader.node] = layer.beside(value)
                return value

            return tap

        for layer in self._layers:
            if layer.reader.node in self._junctions:
                other = self._junctions[layer.reader.node].other
                taps[other] = hold(layer, taps.get(other))
        return taps

    def fit(self, keep: Bools) -> int:
        """Fit every layer that loses inputs, and those after it, in the network's order; returns how many."""
        hidden = {
            reader.source: self._hiding(reader, keep)
            for reader in self._graph.flow.readers
            if not keep[self._inside(reader.labels)].all()
        }
        with torch.no_grad():
            before = {one.reader.node: self._fitting(one, keep) for one in self._layers}
            run(self._graph, self._inputs, before=before, after=self._holding(hidden))
        self._beside.clear()
        return sum(layer.loses(keep) for layer in self._layers)

    def _inside(self, labels: Tensor) -> np.ndarray:
        classes = self._graph.classes_of(labels)
        return classes[classes >= 0]

    def _hiding(self, reader: Reader, keep: Bools) -> Tap:
        """Dropped channels are zero wherever they are read, by layers that are not fitted, too."""
        alive = torch.from_numpy(np.append(keep, True)[self._graph.classes_of(reader.labels)])

        def hide(value: Tensor) -> Tensor:
            view = [1] * value.dim()
            view[reader.axis] = -1
            return value * alive.view(view).to(value)

        return hide

    def _fitting(self, layer: Layer, keep: Bools) -> Tap:
        layer.rewind()
        alive, node = layer.alive(keep), layer.reader.node
        junction = self._junctions.get(node)

        def fit(value: Tensor) -> None:
            kept = layer.kept(keep).to(value.device)
            rows = layer.rows(value)[:, :, kept]
            if not alive.any() or (alive.all() and rows.shape[1] < ENOUGH * len(kept)):
                return
            wanted = self._outputs[node]
            if junction is not None and rows.shape[1] >= MANY * len(kept):
                wanted = wanted + (self._added[node] - self._beside[node]) / junction.scale
            rows, wanted = rows.double(), wanted.double()
            across = rows.transpose(1, 2)
            layer.put(kept, across @ rows, across @ wanted)

        return fit

    @contextmanager
    def fitted(self, keep: Bools) -> Iterator[None]:
        """Within it, the layers are fitted; then they are as before."""
        with weights_put_back(self._layers):
            self.fit(keep)
            yield
